/** The log: JSON lines on stdout. Only the log contains the text and the stack of an error. */
import { type Logger, pino, stdTimeFunctions } from 'pino';

export type { Logger };

/** @param level The least severe level that is written. */
export function createLog(level: string): Logger {
  return pino({
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}
