/**
 * Operations whose outcome depends on nothing but their own request: the requests of a batch, and what became of them.
 */
import { fulfilled, isRead, type Operation, type Outcome, rejected } from '../core/backend.ts';
import type { Requested } from './connection.ts';
import { asStorageError, subjectOf } from './errors.ts';

const DONE = fulfilled();

/** What a batch requests: for each operation its request, or that of the write that replaces it. */
export function issue(store: IDBObjectStore, operations: readonly Operation[]): Requested[] {
  const standIns = standInsOf(operations);
  const requests = operations.map((operation, i) =>
    standIns[i] === i ? request(store, operation) : undefined,
  );
  return standIns.map((i) => requests[i] as Requested);
}

/** What became of operations, once the transaction of their requests is done. */
export const outcomesOf = (operations: readonly Operation[], requests: readonly Requested[]): Outcome[] =>
  operations.map((operation, i) => {
    const { result, error } = requests[i] as Requested;
    if (error) return rejected(asStorageError(error, subjectOf(operation)));
    if (!isRead(operation)) return DONE;
    return fulfilled(operation.type === 'has' ? result !== undefined : result);
  });

/**
 * For each operation the one that stands for it: a write that is overwritten unread is not carried out by itself. Only where
 * what replaces it cannot fail alone: plain data can always be cloned.
 */
function standInsOf(operations: readonly Operation[]): number[] {
  const next = new Map<string, number>();
  const standIns: number[] = [];
  for (let i = operations.length - 1; i >= 0; i--) {
    const operation = operations[i] as Operation;
    standIns[i] = i;
    // What a clear takes away may as well not have been written.
    if (operation.type === 'clear') continue;
    if (isRead(operation)) next.delete(operation.key);
    else {
      const standIn = next.get(operation.key) ?? i;
      standIns[i] = standIn;
      if (operation.type === 'put' && !operation.plain) next.delete(operation.key);
      else next.set(operation.key, standIn);
    }
  }
  return standIns;
}

function request(store: IDBObjectStore, operation: Operation): Requested {
  const { type } = operation;
  if (type === 'clear') return store.clear();
  if (type !== 'put') return store[type === 'has' ? 'getKey' : (type as 'get' | 'delete')](operation.key);
  try {
    return store.put(operation.value, operation.key);
  } catch (error) {
    // Whatever else it is, it is not this value's alone.
    if ((error as DOMException).name !== 'DataCloneError') throw error;
    return { result: undefined, error: error as DOMException };
  }
}
