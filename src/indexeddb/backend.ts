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
  fulfilled,
  holdsBlob,
  isDependent,
  isRead,
  type Operation,
  type Outcome,
  type RunOptions,
  rejected,
} from '../core/backend.ts';
import { createChangeFeed } from '../core/change-feed.ts';
import {
  type ChangeSource,
  changesOf,
  type KeySnapshot,
  type SessionChange,
  type StoredChange,
  sourceOf,
  type Watched,
  type WatchedKeys,
} from '../core/changes.ts';
import { chunksOf, createBisection } from '../core/chunks.ts';
import { existingKeys, lastNumberIn, takingNumber } from './commits.ts';
import { revisionOf, runAtomic, runConditional } from './conditional.ts';
import { type Connection, createConnection, settled } from './connection.ts';
import { asStorageError, subjectOf } from './errors.ts';
import { countOf, entriesOf, keysOf, type LoadCodec, prefixRange, statsOf } from './listing.ts';
import { hasManyGets, issue, outcomesOf, runMany } from './requests.ts';
import { fromStored, toStored } from './stored-value.ts';

/** A backend that tells what is changed in its database. */
export interface WatchedBackend extends Backend, Watched {}

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
): WatchedBackend {
  const connection = createConnection(database, timeout, durability);
  const { read } = connection;
  const feed = createChangeFeed(database, () => connection.readInSteps(lastNumberIn));

  /** Runs operations in transactions of `transactions`, and tells what they have changed. */
  async function runTogether(operations: readonly Operation[], options?: RunOptions): Promise<Outcome[]> {
    const isTold = operations.some((operation) => !isRead(operation)) && feed.isWatched();
    if (!isTold) return runIn({ ...connection, write: writeWith(options) }, operations);
    const told = telling(operations, writeWith(options));
    const outcomes = await runIn({ ...connection, write: told.write }, operations);
    told.publish(outcomes);
    return outcomes;
  }

  /** A `write` whose transaction takes a number, and what publishes what `operations` have changed in it. */
  function telling(operations: readonly Operation[], write: Connection['write']) {
    const prefixes = operations.flatMap((one) => (one.type === 'clear-prefix' ? [one.prefix] : []));
    let commit: number | undefined;
    let existing: string[] = [];
    const numbered: Connection['write'] = (work) =>
      write(async (store) => {
        const { number, result } = await takingNumber(store, async () => {
          existing = await existingKeys(store, prefixes);
          return work(store);
        });
        commit = number;
        return result;
      });
    return {
      write: numbered,
      publish: (outcomes: readonly Outcome[]): void =>
        feed.publish(commit, changesOf(operations, outcomes, toStored, existing)),
    };
  }

  const writeWith =
    (options: RunOptions | undefined): Connection['write'] =>
    (work) =>
      connection.write(work, options?.durability);

  async function runIn(transactions: Connection, operations: readonly Operation[]): Promise<Outcome[]> {
    const { write } = transactions;
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
    async atomic(parts) {
      const writes = parts.filter((part) => part.type !== 'check');
      if (writes.length === 0 || !feed.isWatched()) return runAtomic(connection, parts);
      const told = telling(writes, connection.write);
      await runAtomic(told, parts);
      told.publish(writes.map(() => fulfilled()));
    },
    keys: (range) => keysOf(connection, range),
    entries: (range) => entriesOf(connection, range),
    stats: () => statsOf(connection, codec),
    count: (range) => countOf(connection, range),
    watch: (listener) =>
      feed.subscribe((heard) => {
        const toSession = (change: StoredChange): SessionChange =>
          sessionChangeOf(change, sourceOf(change, heard?.isOwn ?? false));
        listener(heard && { number: heard.number, changes: heard.changes.map(toSession) });
      }),
    snapshot: (keys) => snapshotOf(connection, keys),
    hearsOthers: feed.hearsOthers,
    async close() {
      feed.close();
      connection.close();
    },
  };
}

function sessionChangeOf(change: StoredChange, source: ChangeSource): SessionChange {
  if (change.type === 'clear') return { type: 'clear', source };
  const { type, key } = change;
  return type === 'delete' ? { type, key, source } : { type, ...entryOf(key, change.stored), source };
}

/** An entry that is told. A value of another program may have no revision. */
function entryOf(key: string, stored: unknown): KeySnapshot['entries'][number] {
  const value = fromStored(stored);
  try {
    return { key, value, revision: revisionOf(value) };
  } catch {
    return { key, value, revision: undefined };
  }
}

async function snapshotOf({ readInSteps }: Connection, keys: WatchedKeys): Promise<KeySnapshot> {
  return readInSteps(async (store) => {
    const range = 'key' in keys ? IDBKeyRange.only(keys.key) : prefixRange(keys.prefix);
    const number = await lastNumberIn(store);
    const [names, values] = await settled([store.getAllKeys(range), store.getAll(range)] as const);
    for (const { error } of [names, values]) if (error) throw error;
    return {
      number,
      entries: names.result.map((key, i) => entryOf(String(key), values.result[i])),
    };
  });
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
