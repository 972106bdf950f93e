/**
 * The connection to one IndexedDB database, and transactions over it.
 *
 * The version is never raised: older tabs of the same app would fail.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { createStore } from 'idb-keyval';
import { closedError } from '../core/batch.ts';
import { StorageError } from '../core/errors.ts';
import { asStorageError } from './indexeddb-errors.ts';

const STORE = 'storage';

/** One transaction over what `work` requests. Resolves on `complete`; one that only reads, when the last request is done. */
export type Transact = <T extends readonly Requested[]>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => T,
) => Promise<T>;

/** A request, or why there is none. */
type Requested = Pick<IDBRequest, 'result' | 'error'>;

/** A connection, opened when it is first needed, and again when it was lost. */
export interface Connection {
  readonly transact: Transact;
  /** Let go of the database. What is waiting for it is rejected. */
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
  /** Ends the opening that is under way. */
  let giveUp = (_reason: StorageError): void => {};

  /** Open the database. Everything shares one connection, until another tab wants to upgrade or delete the database. */
  const open = (): Promise<IDBDatabase> =>
    new Promise((resolve, reject) => {
      if (closed) throw closedError();
      if (typeof indexedDB === 'undefined') throw missing();
      const opened = createStore(database, STORE)('readonly', async (store) => store.transaction.db);
      const timer = setTimeout(() => giveUp(blocked(database, timeout)), timeout);
      giveUp = (reason) => {
        reject(reason);
        // It may still open.
        opened.then((db) => db.close(), ignore);
      };
      opened.then(resolve, reject).finally(() => clearTimeout(timer));
    });

  const connect = (): Promise<IDBDatabase> => {
    if (connection !== undefined) return connection;
    const opening = open();
    connection = opening;
    const lost = (): void => {
      if (connection === opening) connection = undefined;
    };
    opening.then((db) => {
      for (const event of ['versionchange', 'close'])
        db.addEventListener(event, () => {
          db.close();
          lost();
        });
    }, lost);
    return opening;
  };

  const drop = (): void => {
    connection?.then((db) => db.close(), ignore);
    connection = undefined;
  };

  const transact: Transact = async (mode, work) => {
    for (let again = false; ; again = true) {
      const opening = connect();
      try {
        const db = await opening;
        return await new Promise((resolve, reject) => {
          const transaction = db.transaction(STORE, mode);
          const requests = work(transaction.objectStore(STORE));
          const done = (): void => resolve(requests);
          transaction.oncomplete = done;
          transaction.onabort = () =>
            reject(transaction.error ?? new DOMException('The transaction was aborted.', 'AbortError'));
          const last = requests.at(-1);
          if (mode === 'readonly' && last) (last as IDBRequest).onsuccess = done;
        });
      } catch (error) {
        // An aborted transaction has changed nothing, so it may be tried on a fresh connection.
        if (again || !CONNECTION_LOST.test((error as Error)?.name))
          throw asStorageError(error, `IndexedDB database ${database}`);
        if (connection === opening) drop();
      }
    }
  };

  return {
    transact,
    close() {
      closed = true;
      giveUp(closedError());
      drop();
    },
  };
}

/** What a closed or lost connection is reported as: at `transaction()`, at abort, and by Safari. */
const CONNECTION_LOST = /^(InvalidState|Abort|Unknown)Error$/;

const ignore = (): void => {};

/** A failure is its own request's alone; but a full disk takes the whole transaction with it. */
export function keepOthers(transaction: IDBTransaction): void {
  transaction.onerror = (event) => {
    if ((event.target as IDBRequest).error?.name !== 'QuotaExceededError') event.preventDefault();
  };
}

const missing = (): StorageError =>
  new StorageError(
    'unavailable',
    'There is no IndexedDB here: call storage methods in the browser only, or configure a server with useFlask.',
  );

const blocked = (database: string, timeout: number): StorageError =>
  new StorageError(
    'blocked',
    `IndexedDB database ${database} did not open within ${timeout} ms: another tab holds it; close the other tabs and try again.`,
  );
