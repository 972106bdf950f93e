/**
 * What the command prints: results on stdout, everything else on stderr. While stdout carries a backup, everything goes to
 * stderr.
 *
 * With `--json`, each result is one line of JSON, and nothing else is printed on that stream. With `--quiet`, only errors are
 * printed.
 */
import cliProgress from 'cli-progress';
import { EXIT } from './errors.ts';

/** Milliseconds between two plain lines of progress. */
const BETWEEN_LINES_MS = 5000;

/** The most keys that a message or a line of JSON names. */
export const KEYS_SHOWN = 20;

/** The most characters of a key in a message. A line of JSON has all of them. */
const KEY_CHARACTERS = 100;

/** Whether stdout carries a backup: nothing else may come between its bytes. */
let stdoutIsData = false;

/** From now on stdout carries a backup, and results go to stderr. */
export function reserveStdout(): void {
  stdoutIsData = true;
}

/**
 * Handles errors of stdout and stderr. Without a listener, such an error would end the process in the middle of its work.
 *
 * A reader may close its end at any time, as `head` does, and the work continues. Any other error, such as a full disk, turns
 * success into a failure.
 */
export function handleStreamErrors(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      // The sink of a backup reports its own errors.
      if (code === 'EPIPE' || (stdoutIsData && stream === process.stdout)) return;
      process.once('exit', () => {
        process.exitCode ||= EXIT.failed;
      });
      if (stream === process.stdout)
        process.stderr.write(`codeforge-storage: The result could not be printed: ${message}.\n`);
    });
}

const resultStream = (): NodeJS.WriteStream => (stdoutIsData ? process.stderr : process.stdout);

/** Shows how far a task is. */
export interface Progress {
  /** The number of keys that are done. */
  at(done: number): void;
  end(): void;
}

/** Where the command prints. */
export interface Terminal {
  /** A result, as text for people and as JSON. */
  result(text: string, json: object): void;
  /** A failure, as JSON. Prints nothing without `--json`. */
  failure(json: object): void;
  /** Information. */
  note(text: string): void;
  /** A warning or an error. */
  complain(text: string): void;
  /** Begins to show progress: a bar on a terminal, a line every few seconds elsewhere. */
  progress(label: string, total: number | undefined): Progress;
}

/** A terminal that prints on the streams of this process. */
export function createTerminal({
  json = false,
  quiet = false,
}: {
  json?: boolean;
  quiet?: boolean;
}): Terminal {
  const silent = json || quiet;
  const write = (stream: NodeJS.WriteStream, text: string): void => {
    stream.write(`${text}\n`);
  };
  return {
    result(text, object) {
      if (json) write(resultStream(), JSON.stringify(object));
      else if (!quiet) write(resultStream(), text);
    },
    failure: (object) => {
      if (json) write(resultStream(), JSON.stringify(object));
    },
    note: (text) => {
      if (!silent) write(process.stderr, text);
    },
    complain: (text) => {
      // If stderr has the lines of JSON, they contain the message.
      if (!(json && stdoutIsData)) write(process.stderr, `codeforge-storage: ${text}`);
    },
    progress(label, total) {
      if (silent) return { at() {}, end() {} };
      return process.stderr.isTTY ? bar(label, total) : lines(label, total);
    },
  };
}

function bar(label: string, total: number | undefined): Progress {
  const known = total !== undefined && total > 0;
  const shown = new cliProgress.SingleBar(
    {
      stream: process.stderr,
      format: known
        ? `${label} {bar} {percentage}% | {value} of {total} keys | {eta_formatted}`
        : `${label} | {value} keys`,
      hideCursor: true,
      clearOnComplete: true,
      // The command handles signals itself.
      gracefulExit: false,
    },
    cliProgress.Presets.shades_classic,
  );
  shown.start(known ? total : 1, 0);
  return {
    at(done) {
      // Keys may have been added since they were counted.
      if (known && done > total) shown.setTotal(done);
      shown.update(done);
    },
    end: () => shown.stop(),
  };
}

function lines(label: string, total: number | undefined): Progress {
  let last = performance.now();
  return {
    at(done) {
      const now = performance.now();
      if (now - last < BETWEEN_LINES_MS) return;
      last = now;
      process.stderr.write(`${label}: ${done}${total === undefined ? '' : ` of ${total}`} keys\n`);
    },
    end() {},
  };
}

/** `1,234 keys`, `1 key`. */
export const counted = (count: number, what: string): string =>
  `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;

/** The first of a list of keys, quoted. */
export const listed = (keys: readonly string[]): string =>
  keys
    .slice(0, KEYS_SHOWN)
    .map((key) => JSON.stringify(key.length > KEY_CHARACTERS ? `${key.slice(0, KEY_CHARACTERS)}…` : key))
    .join(', ') + (keys.length > KEYS_SHOWN ? ' …' : '');
