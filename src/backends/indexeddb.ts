/**
 * IndexedDB backend: one database, one object store, string keys outside the values.
 *
 * A write resolves on its transaction's `complete`, never on a request's `success`: a request may succeed inside a
 * transaction that then aborts.
 *
 * What not every app needs is loaded when it is used: listing, operations that depend on what is there, and the rescue of a
 * batch that breaks the engine.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import type { Backend, Operation, Outcome } from '../core/backend.ts';
import { fulfilled, isRead, isRevised, rejected } from '../core/backend.ts';
import { load } from '../core/load.ts';
import { createConnection, type Requested } from './indexeddb-connection.ts';
import { asStorageError, resultOf, subjectOf } from './indexeddb-errors.ts';
import { rangeOf } from './indexeddb-range.ts';

/**
 * A backend over one database of this origin. Nothing is opened before the first call.
 *
 * @param database The database's name.
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 */
export function createIndexedDbBackend(database: string, timeout: number): Backend {
  const { open, read, write, close } = createConnection(database, timeout);

  /** Reads that may come first do so, by ranges; then the rest. */
  async function runMany(operations: readonly Operation[]): Promise<Outcome[]> {
    // Where it cannot be loaded, all goes on without it.
    const many = await import('./indexeddb-many.ts').catch(() => undefined);
    const early = many?.earlyReads(operations) ?? new Set();
    const keys = [...early].map((operation) => (operation as Keyed).key);
    const held = keys.length < MANY ? undefined : await many?.readMany(read, keys);
    if (held === undefined) return runTogether(operations);
    const others = operations.filter((operation) => !early.has(operation));
    const outcomes = others.length > 0 ? await runTogether(others) : [];
    let next = 0;
    return operations.map((operation) =>
      early.has(operation) ? fulfilled(held.get((operation as Keyed).key)) : (outcomes[next++] as Outcome),
    );
  }

  async function runTogether(operations: readonly Operation[]): Promise<Outcome[]> {
    if (operations.some(isDependent)) {
      const { runInOrder } = await load(import('./indexeddb-dependent.ts'));
      return runInOrder(write, operations);
    }
    if (operations.every(isRead)) {
      const requests = await read((store) => operations.map((operation) => request(store, operation)));
      return requests.map((request, i) => outcomeOf(operations[i] as Operation, request));
    }
    const standIns = standInsOf(operations);
    const requests = await write((store) => {
      const issued = operations.map((operation, i) => {
        if (standIns[i] !== i) return NONE;
        try {
          return request(store, operation);
        } catch (error) {
          return { result: undefined, error: error as DOMException };
        }
      });
      return issued;
    });
    return operations.map((operation, i) =>
      outcomeOf(operation, requests[standIns[i] as number] as Requested),
    );
  }

  return {
    type: 'indexeddb',
    open: async () => {
      await open();
    },
    run: (operations) =>
      (operations.length < MANY ? runTogether : runMany)(operations).catch((error) => {
        if (operations.length === 1 || error.cause?.name !== 'UnknownError') throw error;
        return import('./indexeddb-rescue.ts').then(
          ({ runApart }) => runApart(operations, runTogether),
          () => {
            throw error;
          },
        );
      }),
    async keys(prefix) {
      const [request] = await read((store) => [store.getAllKeys(rangeOf(prefix))] as const);
      const keys = resultOf(request, 'keys') as string[];
      // IndexedDB sorts by UTF-16 code units: another order only from U+D800 up.
      if (keys.some((key) => /[\ud800-\uffff]/.test(key)))
        keys.sort((await load(import('../core/order.ts'))).compareKeys);
      return keys;
    },
    async *entries(prefix) {
      yield* (await load(import('./indexeddb-order.ts'))).scan(read, prefix);
    },
    async stats() {
      return (await load(import('./indexeddb-stats.ts'))).statsOf(this.entries(''));
    },
    close: async () => close(),
  };
}

/** From so many reads on a range pays. */
const MANY = 32;

const DONE = fulfilled();

type Keyed = Extract<Operation, { key: string }>;

/** Whether what becomes of an operation depends on what is there. */
const isDependent = (operation: Operation): boolean => operation.type === 'update' || isRevised(operation);

/** For each operation the one that stands for it: a write that is overwritten unread is not carried out by itself. */
function standInsOf(operations: readonly Operation[]): number[] {
  const next = new Map<string, number>();
  const standIns: number[] = [];
  for (let i = operations.length - 1; i >= 0; i--) {
    const operation = operations[i] as Operation;
    standIns[i] = i;
    if (operation.type === 'clear') next.clear();
    else if (isRead(operation)) next.delete(operation.key);
    else {
      const standIn = next.get(operation.key) ?? i;
      standIns[i] = standIn;
      next.set(operation.key, standIn);
    }
  }
  return standIns;
}

const NONE: Requested = { result: undefined, error: null };

function request(store: IDBObjectStore, operation: Operation): IDBRequest {
  const { type } = operation;
  if (type === 'put') return store.put(operation.value, operation.key);
  if (type === 'clear') return store.clear();
  return store[type === 'has' ? 'getKey' : (type as 'get' | 'delete')](operation.key);
}

function outcomeOf(operation: Operation, { result, error }: Requested): Outcome {
  if (error) return rejected(asStorageError(error, subjectOf(operation)));
  if (!isRead(operation)) return DONE;
  return fulfilled(operation.type === 'has' ? result !== undefined : result);
}
