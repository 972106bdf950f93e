/**
 * A batch over the level-0 protocol, which knows one request a key, or one for many puts.
 *
 * A batch is cut into waves in which no key is both written and touched again, so requests of one wave may go side by
 * side and the waves keep the program's order. After a request without an answer no other is started.
 */
import type { Operation, Outcome, Protocol } from '../../core/backend.ts';
import { fulfilled, isRead, isRevised, rejected } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, encodeAt, type JsonObject } from '../../core/json.ts';
import { utf8Length } from '../../core/keys.ts';
import { compareKeys } from '../../core/order.ts';
import type { Exchange } from '../http.ts';
import { createHttp, isConnectionFailure } from './http.ts';
import {
  createLevel0,
  type Level0,
  member,
  onlyExported,
  type Read,
  refusalOfKey,
  type Text,
} from './protocol.ts';

export { probe } from '../detection.ts';

const PARALLEL = 6;
/** Largest `/import` body that is sent: half of the usual limit of servers. */
const IMPORT_BYTES = 4 * 1024 * 1024;
/** Largest data set that is read with one `/export` instead of a GET a key … */
const EXPORT_BYTES = 32 * 1024 * 1024;
/** … by at least so many keys … */
const EXPORT_KEYS = 50;
/** … of at most so many bytes for each: about what can be sent in the time that a request takes. */
const EXPORT_BYTES_PER_KEY = 16 * 1024;
const PAGE = 500;
/** So many puts may fail alone at the server before the rest of a batch is not tried in parts any more. */
const FAILED_ALONE = 3;

type Task = () => Promise<void>;

/** Level 0 over `exchange`. */
export function createProtocol(exchange: Exchange): Protocol {
  const level0 = createLevel0(createHttp(exchange));
  return {
    run: (operations) => runOnLevel0(level0, operations),
    keys: level0.keys,
    entries: (prefix, after) => entriesOnLevel0(level0, prefix, after),
    stats: level0.stats,
    async check(key, value) {
      const refusal = refusalOfKey(key);
      if (refusal) throw refusal;
      await encodeAt(key, value);
    },
  };
}

/** Carry out a batch. */
async function runOnLevel0(level0: Level0, operations: readonly Operation[]): Promise<Outcome[]> {
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

/** All entries under `prefix` in pages: a small data set in one request, a large one with a request a key. */
async function* entriesOnLevel0(
  level0: Level0,
  prefix: string,
  after = '',
): AsyncGenerator<Array<readonly [string, unknown]>> {
  const keys = (await level0.keys(prefix)).filter((key) => after === '' || compareKeys(key, after) > 0);
  const read = await readerOf(level0, keys);
  for (let from = 0; from < keys.length; from += PAGE) {
    const page = keys.slice(from, from + PAGE);
    const reads = await readAll(read, page);
    const entries: Array<readonly [string, unknown]> = [];
    for (const [i, key] of page.entries()) {
      const read = reads[i];
      // Deleted since it was listed.
      if (read) entries.push([key, await decodeAt(key, read.value)]);
    }
    yield entries;
  }
}

type ReadKey = Level0['get'];

/** How to read these keys: from one export where that costs less, or else by a request each. */
async function readerOf(level0: Level0, keys: readonly string[]): Promise<ReadKey> {
  const all = await exportIfUseful(level0, keys);
  if (all === undefined) return level0.get;
  let listed: Promise<ReadonlySet<string>> | undefined;
  return async (key) => {
    const read = member(all, key);
    if (read) return read;
    // That an export lacks a key is no proof: an answer of something else lacks all of them. The list of keys is.
    listed ??= level0.keys('').then((all) => new Set(all));
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
    // It was a shortcut only: whatever is wrong, the requests for the keys themselves will tell.
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

/** Cut a batch where the order of two operations matters. What cannot be sent at all is settled here. */
function* waves(operations: readonly Operation[], outcomes: Outcome[]): Iterable<number[]> {
  let wave: number[] = [];
  /** Keys of the wave, and whether they are written. */
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

function refusalOf(operation: Operation): StorageError | undefined {
  if (operation.type === 'clear') return undefined;
  if (operation.type === 'update' || isRevised(operation))
    return new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so update(), getEntry() and ifRevision cannot work there: use get() and set().',
    );
  return refusalOfKey(operation.key);
}

/** The requests of one wave. Each fills in the outcomes it is about, and throws only when there was no answer. */
async function requestsOf(
  level0: Level0,
  wave: readonly number[],
  operations: readonly Operation[],
  outcomes: Outcome[],
): Promise<Task[]> {
  const tasks: Task[] = [];
  const reads = new Map<string, number[]>();
  const texts: Array<Text & { readonly i: number }> = [];
  let failedAlone = 0;
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

  /** Store many at once; where the server refuses them together, find out which it refuses alone. */
  async function put(entries: ReadonlyArray<Text & { readonly i: number }>): Promise<void> {
    try {
      await (entries.length === 1 ? level0.put(entries[0] as Text) : level0.import(entries));
      for (const { i } of entries) outcomes[i] = fulfilled();
    } catch (error) {
      if (entries.length > 1 && isRefusedTogether(error)) {
        const middle = entries.length >> 1;
        await put(entries.slice(0, middle));
        await put(entries.slice(middle));
      } else {
        if ((error as StorageError).code === 'unavailable') failedAlone += 1;
        for (const { i } of entries) outcomes[i] = rejected(error);
        if (isConnectionFailure(error)) throw error;
      }
    }
  }

  /** Whether parts may fare better. To an old server everything is a 500; a few alone, and it is the server itself. */
  function isRefusedTogether(error: unknown): boolean {
    const { code } = error as StorageError;
    if (code === 'too-large' || code === 'refused') return true;
    return code === 'unavailable' && !isConnectionFailure(error) && failedAlone < FAILED_ALONE;
  }

  for (const i of wave) {
    const operation = operations[i] as Operation;
    switch (operation.type) {
      case 'put':
        try {
          texts.push({ i, key: operation.key, text: await encodeAt(operation.key, operation) });
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
  for (const chunk of chunks(texts)) tasks.push(() => put(chunk));
  // Last, because they may all wait for one export.
  for (const [key, indexes] of reads) task(indexes, () => read(key, indexes));
  return tasks;
}

/** Texts together as long as they fit in one import. */
function chunks<T extends Text>(texts: readonly T[]): T[][] {
  const chunks: T[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const entry of texts) {
    const size = utf8Length(JSON.stringify(entry.key)) + utf8Length(entry.text) + 2;
    if (bytes + size > IMPORT_BYTES) {
      chunks.push([]);
      bytes = 2;
    }
    chunks.at(-1)?.push(entry);
    bytes += size;
  }
  return chunks;
}

/** Run tasks, a few at a time. After the first that throws no other is started, and its error is returned. */
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
