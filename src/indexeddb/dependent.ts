/**
 * Batches in which something depends on what is there: `update`, reading a revision, writing for one.
 *
 * Such an operation reads first, and what follows it waits for its read: the order of the operations is the order of the
 * requests, and a comparison and its write share a transaction.
 */
import {
  type Dependent,
  fulfilled,
  isDependent,
  isRevised,
  type Operation,
  type Outcome,
  rejected,
} from '../core/backend.ts';
import { load } from '../core/load.ts';
import { type Connection, type Requested, settled } from './connection.ts';
import { asStorageError, subjectOf } from './errors.ts';
import { issue, outcomesOf } from './requests.ts';
import type { Found } from './revision.ts';

type Revisions = typeof import('./revision.ts');

/** What has been decided of an operation, and what was requested for that. */
interface Decision {
  readonly outcome: Outcome;
  readonly request: Requested;
}

/** Run a batch in one transaction. */
export async function runInOrder(
  { write }: Connection,
  operations: readonly Operation[],
): Promise<Outcome[]> {
  const revisions = operations.some(isRevised) ? await load(import('./revision.ts')) : undefined;
  let decided = new Map<Operation, Outcome>();
  const requests = await write(async (store) => {
    // It may be the second attempt.
    decided = new Map();
    const requests: Requested[] = [];
    let from = 0;
    for (const [i, operation] of operations.entries()) {
      if (!isDependent(operation)) continue;
      requests.push(...issue(store, operations.slice(from, i)));
      const { outcome, request } = await decide(store, operation, revisions);
      decided.set(operation, outcome);
      requests.push(request);
      from = i + 1;
    }
    requests.push(...issue(store, operations.slice(from)));
    return requests;
  });
  const outcomes = outcomesOf(operations, requests);
  return operations.map((operation, i) => {
    const outcome = outcomes[i] as Outcome;
    // A write that was decided on may still have failed.
    return requests[i]?.error ? outcome : (decided.get(operation) ?? outcome);
  });
}

/** Read what is there, decide, and request what was decided on. */
async function decide(
  store: IDBObjectStore,
  operation: Dependent,
  revisions: Revisions | undefined,
): Promise<Decision> {
  const { type, key } = operation;
  // A cursor tells a key that is missing from one whose value is undefined.
  const [read] = await settled([type === 'update' ? store.get(key) : store.openCursor(key)]);
  const unchanged = (outcome: Outcome): Decision => ({ outcome, request: read });
  if (read.error) return unchanged(fulfilled());
  if (type === 'update') {
    try {
      const changed = operation.change(read.result);
      return {
        outcome: fulfilled(changed.value),
        request: issueOne(store, { type: 'put', key, ...changed }),
      };
    } catch (error) {
      // The app's own error, as it is.
      return unchanged(rejected(error));
    }
  }
  try {
    const outcome = revisions?.outcomeOf(operation, read.result as Found);
    return outcome ? unchanged(outcome) : { outcome: fulfilled(), request: issueOne(store, operation) };
  } catch (error) {
    return unchanged(rejected(asStorageError(error, subjectOf(operation))));
  }
}

const issueOne = (store: IDBObjectStore, operation: Operation): Requested =>
  issue(store, [operation])[0] as Requested;
