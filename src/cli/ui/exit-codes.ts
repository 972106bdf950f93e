/**
 * How the command ends: its exit codes, and which of them an error stands for.
 */
import { StorageError, type StorageErrorCode } from '../../core/errors.ts';

/** Exit codes of the command. A process that a signal ended has 128 and the signal's number, as in a shell. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  refused: 4,
  damaged: 5,
  leftOut: 6,
} as const;

/** One of them. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** For `--help`. */
export const EXIT_HELP = `
Exit codes:
  0  done, and what was to be compared was compared
  1  failed; the message says what was done and what was not
  2  wrong usage: an argument or option that is missing or malformed
  3  the server cannot be reached, is no storage server, or went away in the middle
  4  the server refused this caller: token, scope or origin
  5  a backup that is cut or damaged; nothing of it was sent
  6  done, but for keys that no server takes; they were left out, as --leave-out asked, and are named
  129, 130, 143  ended by a hangup, Ctrl-C or SIGTERM; backup --every ends with 0 then
`;

/** A failure of the command itself. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;
  /** Members for `--json`. */
  readonly details: Readonly<Record<string, unknown>>;

  /** @param message What failed, on what, and what to do. */
  constructor(exitCode: ExitCode, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
    this.details = details;
  }
}

const OF_CODE: Partial<Record<StorageErrorCode, ExitCode>> = {
  'invalid-option': EXIT.usage,
  unavailable: EXIT.unreachable,
  timeout: EXIT.unreachable,
  forbidden: EXIT.refused,
  'invalid-backup': EXIT.damaged,
};

/** The exit code that an error stands for. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode;
  return (error instanceof StorageError && OF_CODE[error.code]) || EXIT.failed;
}

/** The same failure with more to say. Its exit code stays. */
export function withAdvice(error: unknown, advice: string): CommandError {
  const { message } = error as Error;
  const details = error instanceof CommandError ? error.details : {};
  return new CommandError(exitCodeOf(error), `${message} ${advice}`, details);
}
