/**
 * What the command says: results on stdout, everything else on stderr. Where stdout carries data, all of it on stderr.
 *
 * With `--json` there is one line of JSON a result and nothing else on that stream; with `--quiet` only errors.
 */
import cliProgress from 'cli-progress';
import type { ExitCode } from './exit-codes.ts';

/** Milliseconds between two plain lines of progress. */
const BETWEEN_LINES = 5000;

/** Whether stdout carries a backup: nothing else may come between its bytes. */
let carriesData = false;

/** From now on stdout carries data, and results go to stderr. */
export function takeStdout(): void {
  carriesData = true;
}

/**
 * Have failures of stdout and stderr heard of: unheard, one ends the process in the middle of what it does.
 *
 * Whoever reads them may go at any time, as `head` does, and what is done goes on. What could not be printed for another
 * reason, such as a full disk, makes the exit code of what would have been a success that of a failure.
 */
export function heedStreams(failed: ExitCode): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      // Data has a sink of its own, which fails.
      if (code === 'EPIPE' || (carriesData && stream === process.stdout)) return;
      process.once('exit', () => {
        process.exitCode ||= failed;
      });
      if (stream === process.stdout)
        process.stderr.write(`codeforge-storage: The result could not be printed: ${message}.\n`);
    });
}

const results = (): NodeJS.WriteStream => (carriesData ? process.stderr : process.stdout);

/** How far something is. */
export interface Progress {
  /** So much is done. */
  at(done: number): void;
  /** There is no more. */
  end(): void;
}

/** Where the command's words go. */
export interface Terminal {
  /** A result: words for a person, or the same as JSON. */
  result(words: string, json: object): void;
  /** A failure, as JSON, where that is asked for. */
  failure(json: object): void;
  /** Something that is good to know. */
  note(words: string): void;
  /** Something that went wrong. */
  complain(words: string): void;
  /** Show how far something is: a bar on a terminal, lines every few seconds elsewhere. */
  progress(label: string, total: number | undefined): Progress;
}

/** A terminal over this process's streams. */
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
    result(words, object) {
      if (json) write(results(), JSON.stringify(object));
      else if (!quiet) write(results(), words);
    },
    failure: (object) => {
      if (json) write(results(), JSON.stringify(object));
    },
    note: (words) => {
      if (!silent) write(process.stderr, words);
    },
    complain: (words) => {
      // Where stderr has the lines of JSON, those say it.
      if (!(json && carriesData)) write(process.stderr, `codeforge-storage: ${words}`);
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
      // Signals end the command in an order of its own.
      gracefulExit: false,
    },
    cliProgress.Presets.shades_classic,
  );
  shown.start(known ? total : 1, 0);
  return {
    at(done) {
      // Keys may have come since they were counted.
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
      if (now - last < BETWEEN_LINES) return;
      last = now;
      process.stderr.write(`${label}: ${done}${total === undefined ? '' : ` of ${total}`} keys\n`);
    },
    end() {},
  };
}
