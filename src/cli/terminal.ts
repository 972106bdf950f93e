/**
 * What the command says: results on stdout, everything else on stderr. Where stdout carries data, all of it on stderr.
 *
 * With `--json` there is one line of JSON a result and nothing else on that stream; with `--quiet` only errors.
 */
import cliProgress from 'cli-progress';

/** Milliseconds between two plain lines of progress. */
const BETWEEN_LINES = 5000;

/** Whether stdout carries a backup: nothing else may come between its bytes. */
let carriesData = false;

/** From now on stdout carries data, and results go to stderr. */
export function takeStdout(): void {
  carriesData = true;
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
    complain: (words) => write(process.stderr, `codeforge-storage: ${words}`),
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
