/**
 * How the command fails: its exit codes, and which of them an error has.
 */
import { StorageError, type StorageErrorCode } from '../../core/errors.ts';

/** The exit codes. A process that a signal ended has 128 plus the number of the signal, as in a shell. */
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
  0  success: everything was done and verified
  1  failure: the message says what was done and what was not
  2  wrong usage: an argument or option is missing or invalid
  3  the server does not answer, is not a storage server, or went away during a transfer
  4  the server refused access: check the token, its scope, or the allowed origins
  5  the backup is cut or damaged; nothing was sent
  6  success, except for invalid keys: --leave-out skipped them, and the message names them
  129, 130, 143  ended by SIGHUP, Ctrl-C or SIGTERM; "backup --every" ends with 0 instead
`;

/** A failure of the command. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;
  /** Further members of the JSON line. */
  readonly details: Readonly<Record<string, unknown>>;

  /** @param message What failed, on which file or URL, and what to do next. */
  constructor(exitCode: ExitCode, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
    this.details = details;
  }
}

const BY_CODE: Partial<Record<StorageErrorCode, ExitCode>> = {
  'invalid-option': EXIT.usage,
  unavailable: EXIT.unreachable,
  timeout: EXIT.unreachable,
  forbidden: EXIT.refused,
  'invalid-backup': EXIT.damaged,
};

/** The exit code of an error. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode;
  return (error instanceof StorageError && BY_CODE[error.code]) || EXIT.failed;
}

/** The same failure with a longer message. */
export function withAdvice(error: unknown, advice: string): CommandError {
  const { message } = error as Error;
  const details = error instanceof CommandError ? error.details : {};
  // Texts of servers often end without a full stop.
  const sentence = /[.!?]$/.test(message) ? message : `${message}.`;
  return new CommandError(exitCodeOf(error), `${sentence} ${advice}`, details);
}
