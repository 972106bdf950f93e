/**
 * The parts of this package that are loaded on first use: everything else is in the main entry.
 *
 * A part is loaded once. A part that could not be loaded is asked for again by the next call that needs it.
 */
import { closedError, StorageError } from './core/errors.ts';
import { withTimeLimit } from './core/time.ts';

/** Loads the parts. `@codeforge/storage/full` contains them instead. */
export interface Parts {
  /** Everything that talks to a server: the client, the outbox, the mirror. */
  server(): Promise<typeof import('./sync/index.ts')>;
  /** The text form of values that JSON has no form for. */
  codec(): Promise<typeof import('./core/json.ts')>;
  /** Migration, backup and adoption. */
  transfer(): Promise<typeof import('./transfer/index.ts')>;
}

const LIMIT_MS = 10_000;

/** The same parts, each within a time limit and until `signal` aborts, and with errors that name the part. */
export const guarded = (parts: Parts, signal: AbortSignal): Parts => ({
  server: () => load('server (option useFlask)', parts.server, signal),
  codec: () => load('codec (values that JSON has no form for)', parts.codec, signal),
  transfer: () => load('transfer (export, import, migration, adoption)', parts.transfer, signal),
});

/**
 * @throws {StorageError} `unavailable` if the part was not loaded, `closed` if `signal` aborted before: nothing was done.
 */
async function load<T>(name: string, part: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await withTimeLimit(
      part(),
      LIMIT_MS,
      (aborted) => {
        if (aborted) throw closedError();
        throw new Error(`it took more than ${LIMIT_MS} ms`);
      },
      signal,
    );
  } catch (cause) {
    if (signal.aborted) throw closedError();
    throw new StorageError(
      'unavailable',
      `The part ${name} of @codeforge/storage could not be loaded: ${cause}. Nothing was done. Call again with a network, or import '@codeforge/storage/full', which contains every part: service workers need it.`,
      { cause },
    );
  }
}
