/**
 * The connection to one IndexedDB database, and transactions over it.
 *
 * The version is never raised: older tabs of the same app would fail.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { createStore, type UseStore } from 'idb-keyval';
import { closedError, StorageError } from '../core/errors.ts';
import { findIndexedDb } from '../core/platform.ts';
import { asStorageError } from './errors.ts';

const STORE = 'storage';
/** Reads that may follow each other in one transaction, so that no writer waits for long. */
const MAX_READINGS = 64;

/** A request, or why there is none. */
export type Requested = Pick<IDBRequest, 'result' | 'error'>;

type Work<T> = (store: IDBObjectStore) => T;

/** A connection, opened when it is first needed, and again when it was lost. */
export interface Connection {
  /** Resolves when the database is open. */
  open(): Promise<void>;
  /**
   * One transaction. Resolves on `complete`. A request that fails fails alone. `work` goes on after waiting for `settled`, and
   * for nothing else. It returns all of its requests, or none where some of them come later.
   */
  write<T extends readonly Requested[]>(
    work: Work<T | Promise<T>>,
    options?: IDBTransactionOptions,
  ): Promise<T>;
  /**
   * Reads; resolves when they are done. Where the success of one read has led to this one, they share a transaction. Nothing
   * was written in between: a writer waits for its end.
   */
  read<T extends readonly Requested[]>(work: Work<T>): Promise<T>;
  /** Reads in one transaction of their own; `work` goes on after waiting for `settled`, and for nothing else. */
  readInSteps<T>(work: Work<Promise<T>>): Promise<T>;
  /** Let go of the database. What waits for it is rejected. */
  close(): void;
}

/**
 * A connection to a database of this origin.
 *
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 */
export function createConnection(database: string, timeout: number): Connection {
  let connection: Promise<IDBDatabase> | undefined;
  let closed = false;
  let use: UseStore | undefined;
  /** Rejects each write that is under way. */
  const writing = new Set<(reason: unknown) => void>();
  /** Ends the opening that is under way. */
  let giveUp = (_reason: StorageError): void => {};
  /** Where the last read took place, and how many were there. */
  let reading: IDBObjectStore | undefined;
  let readings = 0;

  const drop = (): void => {
    connection?.then((db) => db.close(), ignore);
    connection = reading = use = undefined;
  };

  /** Open the database. Everything shares one connection, until another tab wants to upgrade or delete the database. */
  const open = (): Promise<IDBDatabase> => {
    if (connection !== undefined) return connection;
    const opening = new Promise<IDBDatabase>((resolve, reject) => {
      if (closed) throw closedError();
      if (!findIndexedDb()) throw missing();
      use ??= createStore(database, STORE);
      const opened = use('readonly', async ({ transaction }) => transaction.db);
      const timer = setTimeout(() => giveUp(blocked(database, timeout)), timeout);
      giveUp = (reason) => {
        use = undefined;
        reject(reason);
        // It may still open.
        opened.then((db) => db.close(), ignore);
      };
      opened.then(resolve, reject).finally(() => clearTimeout(timer));
    });
    connection = opening;
    const forget = (): void => {
      if (connection === opening) connection = reading = undefined;
    };
    opening.then((db) => {
      const lost = (): void => {
        // idb-keyval would hand out the closed one. Where opening failed it keeps what it has, and one connection is enough.
        if (connection === opening) use = undefined;
        forget();
      };
      db.onclose = () => {
        lost();
        // The engine says nothing more about them.
        for (const reject of writing) reject(inDoubt(database));
      };
      db.onversionchange = () => {
        db.close();
        lost();
      };
    }, forget);
    return opening;
  };

  async function attempt<T>(transact: (db: IDBDatabase) => Promise<T>): Promise<T> {
    for (let again = false; ; again = true) {
      const opening = open();
      try {
        return await transact(await opening);
      } catch (error) {
        // An aborted transaction has changed nothing, so it may be tried on a fresh connection.
        if (again || !CONNECTION_LOST.test((error as Error)?.name))
          throw asStorageError(error, `IndexedDB database ${database}`);
        if (connection === opening) drop();
      }
    }
  }

  /** What `work` requests in the last reading transaction while that is active, and in a new one after that. */
  const requestIn = <T>(db: IDBDatabase, work: Work<T>): T => {
    readings += 1;
    if (reading && readings < MAX_READINGS) {
      try {
        return work(reading);
      } catch {
        // It is over.
      }
    }
    readings = 0;
    reading = begin(db, 'readonly');
    return work(reading);
  };

  return {
    open: () => attempt(async () => {}),
    write: <T extends readonly Requested[]>(work: Work<T | Promise<T>>, options?: IDBTransactionOptions) =>
      attempt((db) => {
        let fail = (_reason: unknown): void => {};
        return new Promise<T>((resolve, reject) => {
          fail = reject;
          writing.add(fail);
          const store = begin(db, 'readwrite', options);
          const { transaction } = store;
          let failure: unknown;
          const working = (async () => work(store))();
          working.then(
            // Nothing more comes: the engine would wait to see.
            (requests) => requests.length > 0 && end(transaction, 'commit'),
            (error: Error) => {
              failure = error;
              // Where it is over, the engine is about to say why.
              if (!OVER.test(error.name)) end(transaction, 'abort');
            },
          );
          transaction.oncomplete = () => resolve(working);
          // The engine's own reason, where it has one, is what made the work fail.
          transaction.onabort = () =>
            reject(
              transaction.error ?? failure ?? new DOMException('The transaction was aborted.', 'AbortError'),
            );
        }).finally(() => writing.delete(fail));
      }),
    read: (work) => attempt((db) => settled(requestIn(db, work))),
    readInSteps: (work) => attempt((db) => work(begin(db, 'readonly'))),
    close() {
      closed = true;
      giveUp(closedError());
      drop();
    },
  };
}

/** What a closed or lost connection is reported as: at `transaction()`, at abort, and by Safari. */
const CONNECTION_LOST = /^(InvalidState|Abort|Unknown)Error$/;

/** What a request in a transaction that has ended throws. */
const OVER = /^(TransactionInactive|InvalidState)Error$/;

const ignore = (): void => {};

function begin(db: IDBDatabase, mode: IDBTransactionMode, options?: IDBTransactionOptions): IDBObjectStore {
  const transaction = db.transaction(STORE, mode, options);
  // A failure is its own request's alone; but a full disk takes the whole transaction with it.
  transaction.onerror = (event) => {
    if ((event.target as IDBRequest).error?.name !== 'QuotaExceededError') event.preventDefault();
  };
  return transaction.objectStore(STORE);
}

function end(transaction: IDBTransaction, how: 'commit' | 'abort'): void {
  try {
    transaction[how]?.();
  } catch {
    // A request has broken it: it is being aborted.
  }
}

/**
 * Resolves, while the transaction is active, when requests are done, each as it ended. The last one is a request. Rejects where
 * the last one was aborted: then nothing is known of the others.
 */
export const settled = <T extends readonly Requested[]>(requests: T): Promise<T> =>
  new Promise((resolve, reject) => {
    const last = requests.at(-1) as IDBRequest | undefined;
    if (last === undefined) return resolve(requests);
    last.onsuccess = () => resolve(requests);
    last.onerror = () => (last.error?.name === 'AbortError' ? reject(last.error) : resolve(requests));
  });

const inDoubt = (database: string): StorageError =>
  new StorageError(
    'unavailable',
    `The browser closed IndexedDB database ${database}: whether this write arrived is not known.`,
  );

const missing = (): StorageError =>
  new StorageError(
    'unavailable',
    'There is no IndexedDB here: call storage methods in the browser, or configure a server with useFlask.',
  );

const blocked = (database: string, timeout: number): StorageError =>
  new StorageError(
    'blocked',
    `IndexedDB database ${database} did not open within ${timeout} ms: close the other tabs that hold it.`,
  );
