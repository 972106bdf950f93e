/**
 * IndexedDB backend: one database, one object store, string keys outside the values.
 *
 * A write resolves on its transaction's `complete`, never on a request's `success`: a request may succeed inside a
 * transaction that then aborts.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import {
  type Backend,
  isDependent,
  isRead,
  type Operation,
  type Outcome,
  rejected,
} from '../core/backend.ts';
import { createBisection } from '../core/chunks.ts';
import { runConditional } from './conditional.ts';
import { createConnection } from './connection.ts';
import { asStorageError, subjectOf } from './errors.ts';
import { countOf, entriesOf, keysOf, type LoadCodec, statsOf } from './listing.ts';
import { hasManyGets, issue, outcomesOf, runMany } from './requests.ts';

/**
 * A backend over one database of this origin. Nothing is opened before the first call.
 *
 * @param database The database's name.
 * @param timeout Milliseconds that opening may take before it counts as blocked.
 * @param codec Loaded by `stats()` for values that JSON has no form for.
 */
export function createIndexedDbBackend(database: string, timeout: number, codec: LoadCodec): Backend {
  const connection = createConnection(database, timeout);
  const { read, write } = connection;

  async function runTogether(operations: readonly Operation[]): Promise<Outcome[]> {
    if (operations.some(isDependent)) return runConditional(connection, operations);
    if (hasManyGets(operations)) return runMany(connection, operations);
    const requests = await (operations.every(isRead) ? read : write)((store) => issue(store, operations));
    return outcomesOf(operations, requests);
  }

  return {
    type: 'indexeddb',
    open: () => connection.open(),
    async run(operations) {
      const outcomes: Outcome[] = [];
      await createBisection<Operation>({
        attempt: async (part) => void outcomes.push(...(await runTogether(part))),
        isDivisible: isEngineFailure,
        fail(part, error) {
          if (part.length === operations.length) throw error;
          const [operation] = part as [Operation];
          const isAlone = part.length === 1 && isEngineFailure(error);
          const reason = isAlone ? asStorageError((error as Error).cause, subjectOf(operation)) : error;
          outcomes.push(...part.map(() => rejected(reason)));
        },
      })(operations);
      return outcomes;
    },
    keys: (range) => keysOf(connection, range),
    entries: (range) => entriesOf(connection, range),
    stats: () => statsOf(connection, codec),
    count: (range) => countOf(connection, range),
    close: async () => connection.close(),
  };
}

/** Whether a batch may have failed because of one value: values of more than about 100 MB break the engine. */
const isEngineFailure = (error: unknown): boolean =>
  ((error as Error).cause as Error | undefined)?.name === 'UnknownError';
