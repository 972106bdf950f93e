/**
 * IndexedDB backend: one database, one object store, string keys outside the values.
 *
 * A write resolves on its transaction's `complete`, never on a request's `success`: a request may succeed inside a
 * transaction that then aborts. The version is never raised: older tabs of the same app would fail.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { createStore, type UseStore } from 'idb-keyval';
import type { Backend, Operation, Outcome, Snapshot } from '../core/backend.ts';
import { fulfilled, isRead, isRevised, rejected } from '../core/backend.ts';
import { closedError } from '../core/batch.ts';
import { StorageError } from '../core/errors.ts';
import { compareKeys, utf8Length } from '../core/keys.ts';
import { snapshot } from '../core/values.ts';
import { rangeOf, scan } from './indexeddb-order.ts';
import type { Found } from './indexeddb-revision.ts';

const STORE = 'storage';

type Revisions = typeof import('./indexeddb-revision.ts');

/**
 * A backend over one database of this origin. Nothing is opened before the first call.
 *
 * @param database The database's name.
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 */
export function createIndexedDbBackend(database: string, timeout: number): Backend {
  let use: UseStore | undefined;
  let connection: IDBDatabase | undefined;
  let closed = false;
  /** Gives up each opening that is under way. */
  const opening = new Set<(reason: StorageError) => void>();

  const drop = (): void => {
    connection?.close();
    use = connection = undefined;
  };

  /** Keep a fresh connection, and give it up when another tab wants to upgrade or delete the database. */
  const adopt = (db: IDBDatabase): void => {
    if (db === connection) return;
    connection = db;
    const lost = () => {
      if (connection === db) drop();
    };
    db.addEventListener('versionchange', lost);
    db.addEventListener('close', lost);
  };

  /** One transaction: resolves with what `work` returned, on `complete`. */
  function once<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (closed) throw closedError();
      if (typeof indexedDB === 'undefined') throw missing();
      use ??= createStore(database, STORE);
      let late = false;
      const giveUp = (reason: StorageError): void => {
        late = true;
        use = undefined;
        settleOpening();
        reject(reason);
      };
      const settleOpening = (): void => {
        clearTimeout(timer);
        opening.delete(giveUp);
      };
      const opened = use(mode, (store) => {
        settleOpening();
        const { transaction } = store;
        if (late || closed) {
          transaction.db.close();
          throw closedError();
        }
        adopt(transaction.db);
        transaction.oncomplete = () => resolve(result);
        transaction.onabort = () =>
          reject(transaction.error ?? new DOMException('The transaction was aborted.', 'AbortError'));
        const result = work(store);
        return Promise.resolve();
      });
      let timer: ReturnType<typeof setTimeout> | undefined;
      if (connection === undefined) {
        timer = setTimeout(() => giveUp(blocked(database, timeout)), timeout);
        opening.add(giveUp);
      }
      opened.catch((error) => {
        settleOpening();
        reject(error);
      });
    });
  }

  async function transact<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => T): Promise<T> {
    try {
      return await once(mode, work).catch((error) => {
        // An aborted transaction has changed nothing, so the batch may be tried on a fresh connection.
        if (!CONNECTION_LOST.has(error?.name)) throw error;
        drop();
        return once(mode, work);
      });
    } catch (error) {
      throw asStorageError(error, `IndexedDB database ${database}`);
    }
  }

  async function runTogether(operations: readonly Operation[]): Promise<Outcome[]> {
    const revisions = operations.some(isRevised) ? await import('./indexeddb-revision.ts') : undefined;
    return transact(operations.every(isRead) ? 'readonly' : 'readwrite', (store) => {
      const outcomes: Outcome[] = [];
      perform(store, operations, outcomes, 0, revisions);
      return outcomes;
    });
  }

  /**
   * One transaction, unless something in it breaks the engine, as a value over its limit of some 100 MB does: then the
   * batch is cut until only that fails. Where several fail alone it is not the values, and no more is tried.
   */
  async function runParts(operations: readonly Operation[], failed: { singles: number }): Promise<Outcome[]> {
    try {
      return await runTogether(operations);
    } catch (error) {
      const broken = ((error as StorageError).cause as DOMException | undefined)?.name === 'UnknownError';
      if (operations.length === 1) failed.singles += 1;
      if (operations.length === 1 || !broken || failed.singles >= 3) throw error;
      const middle = operations.length >> 1;
      const outcomes: Outcome[] = [];
      for (const part of [operations.slice(0, middle), operations.slice(middle)]) {
        const run = await runParts(part, failed).catch((reason) => part.map(() => rejected(reason)));
        outcomes.push(...run);
      }
      return outcomes;
    }
  }

  const entries = (prefix: string) => scan(transact, prefix);

  return {
    type: 'indexeddb',
    open: () => transact('readonly', () => undefined),
    run: (operations) => runParts(operations, { singles: 0 }),
    async keys(prefix) {
      const request = await transact('readonly', (store) => store.getAllKeys(rangeOf(prefix)));
      return (request.result as string[]).sort(compareKeys);
    },
    entries,
    async stats() {
      const { encode } = await import('../core/json.ts');
      let keys = 0;
      let sizeBytes = 0;
      for await (const page of entries('')) {
        keys += page.length;
        for (const [, value] of page) sizeBytes += utf8Length(await encodeHeld(value, encode));
      }
      return { keys, sizeBytes };
    },
    async close() {
      closed = true;
      for (const giveUp of opening) giveUp(closedError());
      drop();
    },
  };
}

/** What a closed or lost connection is reported as: at `transaction()`, at abort, and by Safari. */
const CONNECTION_LOST: ReadonlySet<unknown> = new Set(['InvalidStateError', 'AbortError', 'UnknownError']);

/**
 * Issue the requests of a batch from `start` on. A write that depends on what is there reads first: what follows it waits
 * for its read, so that the order of the operations is the order of the requests.
 */
function perform(
  store: IDBObjectStore,
  operations: readonly Operation[],
  outcomes: Outcome[],
  start: number,
  revisions: Revisions | undefined,
): void {
  for (let i = start; i < operations.length; i++) {
    const operation = operations[i] as Operation;
    const fail = (error: unknown): void => {
      outcomes[i] = rejected(asStorageError(error, 'key' in operation ? `Key ${operation.key}` : 'clear'));
    };
    const issue = (request: IDBRequest, done: (result: unknown) => void, next?: () => void): void => {
      if (done !== ignore) request.onsuccess = () => done(request.result);
      request.onerror = (event) => {
        // A full disk takes the whole transaction with it; any other failure is this operation's alone.
        if (request.error?.name === 'QuotaExceededError') return;
        event.preventDefault();
        fail(request.error);
        next?.();
      };
    };
    const next = (): void => perform(store, operations, outcomes, i + 1, revisions);
    outcomes[i] = DONE;
    try {
      if (revisions && isRevised(operation)) {
        const decide = (cursor: unknown): void => {
          try {
            const outcome = revisions.outcomeOf(operation, cursor as Found);
            if (outcome) outcomes[i] = outcome;
            else if (operation.type === 'put') issue(store.put(operation.value, operation.key), ignore);
            else issue(store.delete(operation.key), ignore);
          } catch (error) {
            fail(error);
          }
          next();
        };
        // A cursor tells a key that is missing from one whose value is undefined.
        issue(store.openCursor(operation.key), decide, next);
        return;
      }
      switch (operation.type) {
        case 'get':
          issue(store.get(operation.key), (value) => {
            outcomes[i] = fulfilled(value);
          });
          break;
        case 'has':
          issue(store.getKey(operation.key), (key) => {
            outcomes[i] = fulfilled(key !== undefined);
          });
          break;
        case 'put':
          issue(store.put(operation.value, operation.key), ignore);
          break;
        case 'delete':
          issue(store.delete(operation.key), ignore);
          break;
        case 'clear':
          issue(store.clear(), ignore);
          break;
        case 'update': {
          const change = (current: unknown): void => {
            let changed: Snapshot | undefined;
            try {
              changed = operation.change(current);
              outcomes[i] = fulfilled(changed.value);
            } catch (error) {
              // The app's own error, as it is.
              outcomes[i] = rejected(error);
            }
            try {
              if (changed) issue(store.put(changed.value, operation.key), ignore);
            } catch (error) {
              fail(error);
            }
            next();
          };
          issue(store.get(operation.key), change, next);
          return;
        }
      }
    } catch (error) {
      fail(error);
    }
  }
}

const DONE = fulfilled();
const ignore = (): void => {};

async function encodeHeld(value: unknown, encode: typeof import('../core/json.ts').encode): Promise<string> {
  try {
    return await encode(snapshot(value));
  } catch (error) {
    if (error instanceof StorageError && error.code === 'unsupported-value') return '';
    throw error;
  }
}

const missing = (): StorageError =>
  new StorageError(
    'unavailable',
    'There is no IndexedDB here (server-side rendering, or a runtime without it): call storage methods in the browser only, or configure a server with useFlask.',
  );

const blocked = (database: string, timeout: number): StorageError =>
  new StorageError(
    'blocked',
    `IndexedDB database ${database} did not open within ${timeout} ms: another tab holds it; close the other tabs and try again.`,
  );

function asStorageError(error: unknown, subject: string): StorageError {
  if (error instanceof StorageError) return error;
  const { name } = error as DOMException;
  if (name === 'NotFoundError') {
    return new StorageError(
      'unavailable',
      `${subject} holds no object store named ${STORE}: another program made it. Choose another name with the option database.`,
      { cause: error },
    );
  }
  if (name === 'DataCloneError') {
    return new StorageError('unsupported-value', `${subject}: the value cannot be cloned: ${error}`, {
      cause: error,
    });
  }
  if (name === 'QuotaExceededError') {
    return new StorageError(
      'quota',
      `${subject}: the disk or this origin's quota is full; nothing of this batch was stored. Delete entries or free space.`,
      { cause: error },
    );
  }
  return new StorageError('unavailable', `${subject} failed: ${error}`, { cause: error });
}
