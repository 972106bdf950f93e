/**
 * The connection to one IndexedDB database, and transactions over it.
 *
 * Every wait is watched: opening, and each transaction. If the engine reports no progress within the time limit, the wait
 * ends with an error, and the next call opens a new connection. The version of the database is never raised, because older
 * tabs of the same app would fail.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { createStore, type UseStore } from 'idb-keyval';
import type { Durability } from '../core/backend.ts';
import { closedError, StorageError } from '../core/errors.ts';
import { findIndexedDb } from '../core/platform.ts';
import { withTimeLimit } from '../core/time.ts';
import { asStorageError } from './errors.ts';

const STORE = 'storage';
/** Reads that may share one transaction, one after the other. More would make a writer wait. */
const MAX_SHARED_READS = 64;
/** How often each wait is checked within its time limit. A page that was suspended for long counts one check, not the time. */
const CHECKS = 4;

/** A request, or the error that took its place. */
export type Requested = Pick<IDBRequest, 'result' | 'error'>;

type Work<T> = (store: IDBObjectStore) => T;

/** A connection that opens when it is first needed, and again after it was lost. */
export interface Connection {
  /** Resolves when the database is open. */
  open(): Promise<void>;
  /**
   * Runs one transaction and resolves on `complete`. A request that fails fails alone. `work` may await `settled` and nothing
   * else. It returns all of its requests, or none where more follow later.
   */
  write<T extends readonly Requested[]>(work: Work<T | Promise<T>>, durability?: Durability): Promise<T>;
  /**
   * Reads, and resolves when the requests are done. A read that follows the success of another one shares its transaction. A
   * writer waits for the end of that transaction, so nothing was written in between.
   */
  read<T extends readonly Requested[]>(work: Work<T>): Promise<T>;
  /** Reads in a transaction of its own. `work` may await `settled` and nothing else. */
  readInSteps<T>(work: Work<Promise<T>>): Promise<T>;
  /** Closes the database. Calls that wait for it to open reject with `closed`. */
  close(): void;
}

/** Something that the engine has to answer. */
interface Wait {
  /** The open database, unless that is what is waited for. */
  readonly db?: IDBDatabase;
  /** Whether the engine did anything since the last check. */
  hasProgressed(): boolean;
  /** The time limit is over, or the browser has closed the database. */
  fail(reason: 'timeout' | 'lost'): void;
}

/** A transaction under way. */
interface Running {
  /** The requests of its last step. */
  requests: readonly Requested[];
  /** Rejects the promises that depend on it. */
  readonly dependents: Array<(reason: unknown) => void>;
}

const running = new WeakMap<IDBTransaction, Running>();

/**
 * A connection to a database of this origin.
 *
 * @param timeout Milliseconds that opening may take, and that a transaction may take without progress.
 * @param usualDurability Of write transactions, unless one asks for another.
 * @param onLost Called when the browser, or another tab, has closed the open database: it may be deleted then.
 */
export function createConnection(
  database: string,
  timeout: number,
  usualDurability: Durability = 'relaxed',
  onLost: () => void = ignore,
): Connection {
  let connection: Promise<IDBDatabase> | undefined;
  let closed = false;
  let use: UseStore | undefined;
  /** Ends the opening that is under way. */
  let giveUp = (_reason: StorageError): void => {};
  /** The store of the last read, and how many reads have shared its transaction. */
  let reading: IDBObjectStore | undefined;
  let sharedReads = 0;

  /** What is waited for, and how many checks in a row found no progress. */
  const waits = new Map<Wait, number>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const schedule = (): void => {
    timer = setTimeout(check, timeout / CHECKS);
    // Node.js need not stay alive for it.
    (timer as { unref?(): void }).unref?.();
  };
  const check = (): void => {
    timer = undefined;
    for (const [wait, silentChecks] of waits) {
      waits.set(wait, wait.hasProgressed() ? 0 : silentChecks + 1);
      if (waits.get(wait) === CHECKS) end(wait, 'timeout');
    }
    if (waits.size > 0) schedule();
  };
  const watch = (wait: Wait): Wait => {
    waits.set(wait, 0);
    if (timer === undefined) schedule();
    return wait;
  };
  const end = (wait: Wait, reason: 'timeout' | 'lost'): void => {
    waits.delete(wait);
    wait.fail(reason);
  };

  const drop = (): void => {
    connection?.then((db) => db.close(), ignore);
    connection = reading = use = undefined;
  };

  /** Opens the database. All calls share one connection, until another tab wants to upgrade or delete the database. */
  const open = (): Promise<IDBDatabase> => {
    if (connection !== undefined) return connection;
    const opening = new Promise<IDBDatabase>((resolve, reject) => {
      if (closed) throw closedError();
      if (!findIndexedDb()) throw missing();
      use ??= createStore(database, STORE);
      const opened = use('readonly', async ({ transaction }) => transaction.db);
      giveUp = (reason) => {
        use = undefined;
        reject(reason);
        // It may still open later.
        opened.then((db) => db.close(), ignore);
      };
      const wait = watch({ hasProgressed: () => false, fail: () => giveUp(blocked(database, timeout)) });
      opened.then(resolve, reject).finally(() => waits.delete(wait));
    });
    connection = opening;
    const forget = (): void => {
      if (connection === opening) connection = reading = undefined;
    };
    opening.then((db) => {
      const lost = (): void => {
        // idb-keyval would return the closed connection. After a failed opening `use` stays: idb-keyval opens once.
        if (connection === opening) use = undefined;
        forget();
      };
      db.onclose = () => {
        lost();
        // The engine reports nothing more about its transactions.
        for (const wait of waits.keys()) if (wait.db === db) end(wait, 'lost');
        onLost();
      };
      db.onversionchange = () => {
        db.close();
        lost();
        onLost();
      };
    }, forget);
    return opening;
  };

  async function attempt<T>(transact: (db: IDBDatabase) => Promise<T>): Promise<T> {
    for (let isRetry = false; ; isRetry = true) {
      const opening = open();
      try {
        return await transact(await opening);
      } catch (error) {
        const isLost = CONNECTION_LOST.test((error as Error)?.name);
        // A connection over which the engine stopped answering is not used again.
        if ((isLost || (error as StorageError)?.code === 'timeout') && connection === opening) drop();
        // An aborted transaction has changed nothing, so it may be tried once on a new connection.
        if (isRetry || !isLost) throw asStorageError(error, `IndexedDB database ${database}`);
      }
    }
  }

  /** Begins a transaction that ends its dependents when the engine stops answering. */
  const begin = (
    db: IDBDatabase,
    mode: IDBTransactionMode,
    options?: IDBTransactionOptions,
    ended?: (isComplete: boolean) => void,
  ): IDBObjectStore => {
    const transaction = db.transaction(STORE, mode, options);
    const run: Running = { requests: [], dependents: [] };
    running.set(transaction, run);
    let checked = run.requests;
    let done = 0;
    const hasProgressed = (): boolean => {
      // Another step is progress, the first one is not.
      const before = checked === run.requests || checked.length === 0 ? done : -1;
      checked = run.requests;
      done = checked.filter((request) => (request as IDBRequest).readyState === 'done').length;
      return done !== before;
    };
    const fail = (reason: 'timeout' | 'lost'): void => {
      const isAborted = finish(transaction, 'abort');
      // As the engine reports it, so that a read is tried on a new connection.
      let error: unknown = new DOMException('The connection was lost.', 'AbortError');
      const isWrite = mode === 'readwrite';
      if (reason === 'timeout') error = silent(database, timeout, isWrite ? !isAborted : undefined);
      else if (isWrite) error = inDoubt(database);
      for (const reject of run.dependents) reject(error);
    };
    const wait = watch({ db, hasProgressed, fail });
    transaction.oncomplete = () => {
      waits.delete(wait);
      ended?.(true);
    };
    transaction.onabort = () => {
      waits.delete(wait);
      ended?.(false);
    };
    // A request fails alone. A full disk fails the whole transaction.
    transaction.onerror = (event) => {
      if ((event.target as IDBRequest).error?.name !== 'QuotaExceededError') event.preventDefault();
    };
    return transaction.objectStore(STORE);
  };

  /** Requests in the last reading transaction if that is still active, and in a new one otherwise. */
  const requestIn = <T>(db: IDBDatabase, work: Work<T>): T => {
    sharedReads += 1;
    if (reading && sharedReads < MAX_SHARED_READS) {
      try {
        return work(reading);
      } catch {
        // That transaction has ended.
      }
    }
    sharedReads = 0;
    reading = begin(db, 'readonly');
    return work(reading);
  };

  return {
    open: () => attempt(async () => {}),
    write: <T extends readonly Requested[]>(work: Work<T | Promise<T>>, durability = usualDurability) =>
      attempt(
        (db) =>
          new Promise<T>((resolve, reject) => {
            let failure: unknown;
            const store = begin(db, 'readwrite', { durability }, (isComplete) =>
              isComplete
                ? resolve(working)
                : // The engine's own reason, if it has one, is what made the work fail.
                  reject(
                    transaction.error ??
                      failure ??
                      new DOMException('The transaction was aborted.', 'AbortError'),
                  ),
            );
            const { transaction } = store;
            const run = running.get(transaction) as Running;
            run.dependents.push(reject);
            const working = (async () => work(store))();
            working.then(
              (requests) => {
                if (requests.length === 0) return;
                run.requests = requests;
                // No more requests follow. The engine need not wait to find out.
                finish(transaction, 'commit');
              },
              (error: Error) => {
                failure = error;
                // If the transaction has ended, the engine is about to report why.
                if (!TRANSACTION_ENDED.test(error.name)) finish(transaction, 'abort');
              },
            );
          }),
      ),
    read: (work) => attempt((db) => settled(requestIn(db, work))),
    readInSteps: (work) => attempt((db) => work(begin(db, 'readonly'))),
    close() {
      closed = true;
      giveUp(closedError());
      drop();
    },
  };
}

/** The names of the errors for a closed or lost connection: from `transaction()`, from an abort, and from Safari. */
const CONNECTION_LOST = /^(InvalidState|Abort|Unknown)Error$/;

/** The names of the errors that a request in a transaction that has ended throws. */
const TRANSACTION_ENDED = /^(TransactionInactive|InvalidState)Error$/;

const ignore = (): void => {};

/** Ends a transaction. Returns whether the engine has accepted that. */
function finish(transaction: IDBTransaction, how: 'commit' | 'abort'): boolean {
  try {
    transaction[how]?.();
    return true;
  } catch {
    // It has ended, or is about to.
    return false;
  }
}

/**
 * Resolves, while the transaction is still active, when requests are done, whether they succeeded or failed. The last one must
 * be a request. Rejects if the last one was aborted: then the results of the others mean nothing.
 */
export const settled = <T extends readonly Requested[]>(requests: T): Promise<T> =>
  new Promise((resolve, reject) => {
    const last = requests.at(-1) as IDBRequest | undefined;
    if (last === undefined) return resolve(requests);
    const run = running.get(last.transaction as IDBTransaction);
    if (run) {
      run.requests = requests;
      run.dependents.push(reject);
    }
    last.onsuccess = () => resolve(requests);
    last.onerror = () => (last.error?.name === 'AbortError' ? reject(last.error) : resolve(requests));
  });

/** Deletes a database. Resolves when it is gone, or after `limitMs`: then it is deleted when the last tab has closed it. Never rejects. */
export function deleteDatabase(database: string, limitMs: number): Promise<void> {
  const deleted = new Promise<void>((resolve) => {
    const request = findIndexedDb()?.deleteDatabase(database);
    if (!request) return resolve();
    request.onsuccess = request.onerror = () => resolve();
  });
  return withTimeLimit(deleted, limitMs, () => undefined).then(() => undefined);
}

const inDoubt = (database: string): StorageError =>
  new StorageError(
    'unavailable',
    `The browser closed IndexedDB database ${database}. Whether this write was stored is not known: read the key before you write it again.`,
  );

const silent = (database: string, timeout: number, mayBeStored: boolean | undefined): StorageError => {
  const written =
    mayBeStored === undefined
      ? ''
      : mayBeStored
        ? ' Whether this write was stored is not known: read the key before you write it again.'
        : ' Nothing was stored.';
  return new StorageError(
    'timeout',
    `IndexedDB database ${database} did not answer for ${timeout} ms.${written} Another tab may be in a long transaction: close the other tabs of this app, or reload the page.`,
  );
};

const missing = (): StorageError =>
  new StorageError(
    'unavailable',
    'There is no IndexedDB here: call storage methods in the browser, or configure a server with useFlask.',
  );

const blocked = (database: string, timeout: number): StorageError =>
  new StorageError(
    'blocked',
    `IndexedDB database ${database} did not open within ${timeout} ms: close the other tabs that use it.`,
  );
