/**
 * Batches in which something depends on what is there: `update`, reading a revision, writing for one.
 *
 * Such an operation reads first, and what follows it waits for its read: the order of the operations is the order of the
 * requests, and a comparison and its write share a transaction.
 */
import {
  fulfilled,
  isRevised,
  type Operation,
  type Outcome,
  rejected,
  type Snapshot,
} from '../core/backend.ts';
import { load } from '../core/load.ts';
import type { Connection } from './indexeddb-connection.ts';
import { asStorageError, subjectOf } from './indexeddb-errors.ts';
import type { Found } from './indexeddb-revision.ts';

type Revisions = typeof import('./indexeddb-revision.ts');

/** Run a batch in one transaction. */
export async function runInOrder(
  write: Connection['write'],
  operations: readonly Operation[],
): Promise<Outcome[]> {
  const revisions = operations.some(isRevised) ? await load(import('./indexeddb-revision.ts')) : undefined;
  let outcomes: Outcome[] = [];
  await write((store) => {
    outcomes = [];
    perform(store, operations, outcomes, 0, revisions);
    return [];
  });
  return outcomes;
}

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
      outcomes[i] = rejected(asStorageError(error, subjectOf(operation)));
    };
    const issue = (request: IDBRequest, done: (result: unknown) => void, next?: () => void): void => {
      if (done !== ignore) request.onsuccess = () => done(request.result);
      request.onerror = () => {
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
