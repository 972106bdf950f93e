/**
 * A batch over the level-0 protocol, which has a request for each key, and one request for many puts.
 *
 * A batch is cut into waves. A wave never writes a key that it uses twice, so the requests of one wave run in parallel, and the waves
 * keep the program's order. After a request without an answer no other request is started.
 */
import type { Outcome, Protocol, ProtocolOperation } from '../../core/backend.ts';
import { fulfilled, isRead, isRevised, rejected } from '../../core/backend.ts';
import { chunksOf, createBisection } from '../../core/chunks.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, encodeAt, type JsonObject } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import type { KeyRange } from '../../core/order.ts';
import type { Deadline } from '../../core/time.ts';
import { type Exchange, exchangeBy } from '../http.ts';
import {
  createLevel0,
  isConnectionFailure,
  type KeyText,
  type Level0,
  member,
  onlyExported,
  type Read,
  refusalOfKey,
} from './protocol.ts';

/** The most requests that run at the same time. */
const PARALLEL = 6;
/** The largest body of `/import`: half of the usual limit of servers. */
const IMPORT_BYTES = 4 * 1024 * 1024;
/** One `/export` replaces a GET for each key if the data set has at most so many bytes … */
const EXPORT_BYTES = 32 * 1024 * 1024;
/** … and at least so many keys are wanted … */
const EXPORT_KEYS = 50;
/** … and it has at most so many bytes for each of them: about what can be sent in the time of one request. */
const EXPORT_BYTES_PER_KEY = 16 * 1024;
const PAGE = 500;

type Task = () => Promise<void>;

/** An entry to store, and where its outcome goes. */
type Put = KeyText & { readonly i: number };

/**
 * Level 0 over `exchange`.
 *
 * @param url The server's base URL.
 */
export function createLevel0Protocol(exchange: Exchange, url: string): Protocol {
  const level0 = (deadline?: Deadline): Level0 => createLevel0(exchangeBy(exchange, deadline), url);
  return {
    run: (operations, deadline) => runOnLevel0(level0(deadline), operations),
    keys: (range, deadline) => level0(deadline).keys(range),
    deletesOf: async (prefix, deadline) =>
      (await level0(deadline).keys({ prefix })).map((key) => ({ type: 'delete', key })),
    entries: (range) => entriesOnLevel0(level0(), range),
    stats: (deadline) => level0(deadline).stats(),
    async check(key, value) {
      const refusal = refusalOfKey(key);
      if (refusal) throw refusal;
      await encodeAt(key, value);
    },
  };
}

/** Carries out a batch. */
async function runOnLevel0(level0: Level0, operations: readonly ProtocolOperation[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const wave of waves(operations, outcomes)) {
    const lost = await parallel(await requestsOf(level0, wave, operations, outcomes));
    if (lost === undefined) continue;
    operations.forEach((_, i) => {
      outcomes[i] ??= rejected(lost);
    });
    break;
  }
  return outcomes;
}

/** The entries of a range in pages: a small data set in one request, a large one with a request a key. */
async function* entriesOnLevel0(
  level0: Level0,
  range: KeyRange,
): AsyncGenerator<Array<readonly [string, unknown]>> {
  const keys = await level0.keys(range);
  const read = await readerOf(level0, keys);
  for (let from = 0; from < keys.length; from += PAGE) {
    const page = keys.slice(from, from + PAGE);
    const reads = await readAll(read, page);
    const entries: Array<readonly [string, unknown]> = [];
    for (const [i, key] of page.entries()) {
      const read = reads[i];
      // It was deleted after it was listed.
      if (read) entries.push([key, await decodeAt(key, read.value)]);
    }
    yield entries;
  }
}

type ReadKey = Level0['get'];

/** How to read these keys: from one export if that costs less, or by a request each. */
async function readerOf(level0: Level0, keys: readonly string[]): Promise<ReadKey> {
  const all = await exportIfUseful(level0, keys);
  if (all === undefined) return level0.get;
  let listed: Promise<ReadonlySet<string>> | undefined;
  return async (key) => {
    const read = member(all, key);
    if (read) return read;
    // An export without a key proves nothing: an answer that is not the server's lacks all keys. The list of keys is the proof.
    listed ??= level0.keys({}).then((all) => new Set(all));
    return (await listed).has(key) ? level0.get(key) : undefined;
  };
}

/** The whole data set, where a key can be read in no other way, or where it costs less than a request a key. */
async function exportIfUseful(level0: Level0, keys: readonly string[]): Promise<JsonObject | undefined> {
  try {
    if (keys.some(onlyExported)) return await level0.export();
    if (keys.length < EXPORT_KEYS) return undefined;
    const { sizeBytes } = await level0.stats();
    const most = Math.min(EXPORT_BYTES, keys.length * EXPORT_BYTES_PER_KEY);
    return sizeBytes <= most ? await level0.export() : undefined;
  } catch {
    // This was an optimization. If the server fails, the requests for the keys will report it.
    return undefined;
  }
}

async function readAll(read: ReadKey, keys: readonly string[]): Promise<Array<Read | undefined>> {
  const reads: Array<Read | undefined> = [];
  const lost = await parallel(
    keys.map((key, i) => async () => {
      reads[i] = await read(key);
    }),
  );
  if (lost !== undefined) throw lost;
  return reads;
}

/** Cuts a batch where the order of two operations matters. Operations that cannot be sent at all are settled here. */
function* waves(operations: readonly ProtocolOperation[], outcomes: Outcome[]): Iterable<number[]> {
  let wave: number[] = [];
  /** The keys of the wave, and whether it writes them. */
  let touched = new Map<string, boolean>();
  for (const [i, operation] of operations.entries()) {
    const refusal = refusalOf(operation);
    if (refusal) {
      outcomes[i] = rejected(refusal);
      continue;
    }
    const writes = !isRead(operation);
    const before = operation.type === 'clear' || touched.get(operation.key);
    if (wave.length > 0 && (before === true || (writes && before === false))) {
      yield wave;
      wave = [];
      touched = new Map();
    }
    if (operation.type === 'clear') yield [i];
    else {
      wave.push(i);
      touched.set(operation.key, writes);
    }
  }
  if (wave.length > 0) yield wave;
}

function refusalOf(operation: ProtocolOperation): StorageError | undefined {
  if (operation.type === 'clear') return undefined;
  if (operation.type === 'update' || isRevised(operation))
    return new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so it supports neither update() nor getEntry() nor ifRevision. Use get() and set().',
    );
  return refusalOfKey(operation.key);
}

/** The requests of one wave. Each sets the outcomes of its operations, and rejects only when there was no answer. */
async function requestsOf(
  level0: Level0,
  wave: readonly number[],
  operations: readonly ProtocolOperation[],
  outcomes: Outcome[],
): Promise<Task[]> {
  const tasks: Task[] = [];
  const reads = new Map<string, number[]>();
  const puts: Put[] = [];
  let reader: Promise<ReadKey> | undefined;

  const task = (indexes: readonly number[], work: Task): void => {
    tasks.push(async () => {
      try {
        await work();
      } catch (error) {
        for (const i of indexes) outcomes[i] = rejected(error);
        if (isConnectionFailure(error)) throw error;
      }
    });
  };

  async function read(key: string, indexes: readonly number[]): Promise<void> {
    reader ??= readerOf(level0, [...reads.keys()]);
    const found = await (await reader)(key);
    for (const i of indexes) {
      if (operations[i]?.type === 'has') outcomes[i] = fulfilled(found !== undefined);
      else if (found === undefined) outcomes[i] = fulfilled();
      // Each reader gets a copy of its own.
      else outcomes[i] = await decoded(key, i === indexes[0] ? found.value : structuredClone(found.value));
    }
  }

  /** Stores many entries at once. Where the server refuses them together, it finds out which ones it refuses alone. */
  const put = createBisection<Put>({
    async attempt(part) {
      await (part.length === 1 ? level0.put(part[0] as Put) : level0.import(part));
      for (const { i } of part) outcomes[i] = fulfilled();
    },
    isDivisible: (error) => /^(too-large|refused)$/.test(codeOf(error)) || isFailedAtServer(error),
    // An old server answers 500 to everything that it refuses. If entries fail alone as well, the server itself fails.
    counts: isFailedAtServer,
    fail(part, error) {
      for (const { i } of part) outcomes[i] = rejected(error);
      if (isConnectionFailure(error)) throw error;
    },
  });

  for (const i of wave) {
    const operation = operations[i] as ProtocolOperation;
    switch (operation.type) {
      case 'put':
        try {
          puts.push({ i, key: operation.key, text: await encodeAt(operation.key, operation) });
        } catch (error) {
          outcomes[i] = rejected(error);
        }
        break;
      case 'get':
      case 'has':
        reads.get(operation.key)?.push(i) ?? reads.set(operation.key, [i]);
        break;
      default: {
        const request = operation.type === 'clear' ? level0.clear : () => level0.delete(operation.key);
        task([i], async () => {
          await request();
          outcomes[i] = fulfilled();
        });
      }
    }
  }
  for (const chunk of chunksOf<Put>(puts, { bytes: IMPORT_BYTES - 2, sizeOf: bytesOf }))
    tasks.push(() => put(chunk));
  // The reads come last, because they may all wait for one export.
  for (const [key, indexes] of reads) task(indexes, () => read(key, indexes));
  return tasks;
}

/** The bytes of an entry in the body of `/import`. */
const bytesOf = ({ key, text }: KeyText): number => utf8Length(JSON.stringify(key)) + utf8Length(text) + 2;

const codeOf = (error: unknown): string => (error as StorageError).code;

/** Whether the server answered that it failed. */
const isFailedAtServer = (error: unknown): boolean =>
  codeOf(error) === 'unavailable' && !isConnectionFailure(error);

/** Runs tasks, a few at a time. After the first that rejects no other is started, and its error is returned. */
async function parallel(tasks: readonly Task[]): Promise<unknown> {
  let next = 0;
  let lost: { readonly error: unknown } | undefined;
  const work = async (): Promise<void> => {
    for (let task = tasks[next++]; task && !lost; task = tasks[next++]) {
      await task().catch((error) => {
        lost ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return lost?.error;
}

const decoded = (key: string, json: unknown): Promise<Outcome> =>
  decodeAt(key, json).then(fulfilled, rejected);
