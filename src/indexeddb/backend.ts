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
  type Durability,
  holdsBlob,
  isDependent,
  isRead,
  type Operation,
  type Outcome,
  type RunOptions,
  rejected,
} from '../core/backend.ts';
import { chunksOf, createBisection } from '../core/chunks.ts';
import { runAtomic, runConditional } from './conditional.ts';
import { type Connection, createConnection } from './connection.ts';
import { asStorageError, subjectOf } from './errors.ts';
import { countOf, entriesOf, keysOf, type LoadCodec, statsOf } from './listing.ts';
import { hasManyGets, issue, outcomesOf, runMany } from './requests.ts';

/**
 * A backend over one database of this origin. Nothing is opened before the first call.
 *
 * @param database The database's name.
 * @param timeout Milliseconds that opening may take, and that a transaction may take without progress.
 * @param durability Of writes, unless a batch asks for another.
 * @param codec Loaded by `stats()` for values that JSON has no form for.
 */
export function createIndexedDbBackend(
  database: string,
  timeout: number,
  durability: Durability,
  codec: LoadCodec,
): Backend {
  const connection = createConnection(database, timeout, durability);
  const { read } = connection;

  async function runTogether(operations: readonly Operation[], options?: RunOptions): Promise<Outcome[]> {
    const write: Connection['write'] = (work) => connection.write(work, options?.durability);
    const transactions = { ...connection, write };
    if (operations.some(isDependent)) return runConditional(transactions, operations);
    if (hasManyGets(operations)) return runMany(transactions, operations);
    const requests = await (operations.every(isRead) ? read : write)((store) => issue(store, operations));
    return outcomesOf(operations, requests);
  }

  return {
    type: 'indexeddb',
    open: () => connection.open(),
    async run(operations, options) {
      const outcomes: Outcome[] = [];
      const runPart = createBisection<Operation>({
        attempt: async (part) => void outcomes.push(...(await runTogether(part, options))),
        isDivisible: isEngineFailure,
        fail(part, error) {
          if (!isEngineFailure(error)) throw error;
          const { cause } = error as Error;
          for (const operation of part) outcomes.push(rejected(asStorageError(cause, subjectOf(operation))));
        },
      });
      try {
        for (const part of partsOf(operations)) await runPart(part);
      } catch (error) {
        if (outcomes.length === 0) throw error;
        // What is left would fail as well.
        while (outcomes.length < operations.length) outcomes.push(rejected(error));
      }
      return outcomes;
    },
    atomic: (parts) => runAtomic(connection, parts),
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

/**
 * The parts of a batch that are transactions of their own. Writes of Blobs are kept apart from everything else: WebKit refuses
 * Blobs in private windows, and if another request is under way then, the transaction and the database hang for ever.
 */
function partsOf(operations: readonly Operation[]): Iterable<readonly Operation[]> {
  if (!operations.some(holdsBlob)) return [operations];
  return chunksOf(operations, {
    startsChunk: (operation, [first]) => first !== undefined && holdsBlob(operation) !== holdsBlob(first),
  });
}
