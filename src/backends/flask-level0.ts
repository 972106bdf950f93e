/**
 * The level-0 protocol: nine endpoints, one request a key, or one for many puts (docs/contract.md, Level 0).
 *
 * A batch is cut into waves in which no key is both written and touched again, so requests of one wave may go side by
 * side and the waves keep the program's order.
 */
import type { Operation, Outcome, StorageStats } from '../core/backend.ts';
import { fulfilled, rejected } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { decode, encode } from '../core/json.ts';
import { compareKeys, utf8Length } from '../core/keys.ts';
import { type Answer, type Http, isConnectionFailure, type JsonObject, notOurs } from './flask-http.ts';

const API = 'api/storage/';
const PARALLEL = 6;
/** Largest `/import` body that is sent: half of the usual limit of servers. */
const IMPORT_BYTES = 4 * 1024 * 1024;
/** Largest data set that is read with one `/export` instead of a GET a key. */
const EXPORT_BYTES = 32 * 1024 * 1024;
const MAX_PATH = 4000;
const PAGE = 500;
/** GET of these is a route of its own: their values are read through `/export`. */
const SHADOWED: ReadonlySet<string> = new Set(['keys', 'export', 'stats']);

type Task = () => Promise<void>;
/** One put of a batch, as JSON text. */
interface Text {
  readonly i: number;
  readonly key: string;
  readonly text: string;
}
type Put = Extract<Operation, { type: 'put' }>;

/** What a level-0 server can be asked. */
export interface Level0 {
  run(operations: readonly Operation[]): Promise<Outcome[]>;
  keys(prefix: string): Promise<string[]>;
  entries(prefix: string): AsyncGenerator<Array<readonly [string, unknown]>>;
  stats(): Promise<StorageStats>;
}

/** Speak level 0 over `http`. */
export function createLevel0(http: Http): Level0 {
  const get = async (path: string): Promise<JsonObject> =>
    found(await http({ method: 'GET', path, retry: true }), path);

  async function readKey(key: string): Promise<{ value: unknown } | undefined> {
    if (SHADOWED.has(key)) return own(await get(`${API}export`), key);
    const answer = await http({ method: 'GET', path: pathOf(key), retry: true });
    if (answer.missing) return undefined;
    const read = own(answer.json, 'value');
    if (read === undefined) throw notOurs(`GET ${pathOf(key)}`, 'JSON without a value');
    return read;
  }

  /** Store many at once; where the server refuses them together, find out which it refuses alone. */
  async function putAll(texts: readonly Text[], outcomes: Outcome[]): Promise<void> {
    try {
      await (texts.length === 1 ? putOne(texts[0] as Text) : importAll(texts));
      for (const { i } of texts) outcomes[i] = fulfilled();
    } catch (error) {
      const { code } = error as StorageError;
      if (texts.length > 1 && (code === 'too-large' || code === 'refused')) {
        const middle = texts.length >> 1;
        await putAll(texts.slice(0, middle), outcomes);
        await putAll(texts.slice(middle), outcomes);
      } else {
        for (const { i } of texts) outcomes[i] = rejected(error);
        if (isConnectionFailure(error)) throw error;
      }
    }
  }

  async function putOne({ key, text }: Text): Promise<void> {
    const path = pathOf(key);
    succeeded(await http({ method: 'PUT', path, body: `{"value":${text}}`, retry: true }), path);
  }

  async function importAll(texts: readonly Text[]): Promise<void> {
    const path = `${API}import`;
    const body = `{${texts.map(({ key, text }) => `${JSON.stringify(key)}:${text}`).join()}}`;
    const { imported } = succeeded(await http({ method: 'POST', path, body, retry: true }), path);
    if (imported !== texts.length) throw notOurs(`POST ${path}`, `imported ${imported} of ${texts.length}`);
  }

  /** The requests of one wave. Each fills in the outcomes it is about. */
  async function tasksOf(
    wave: readonly number[],
    operations: readonly Operation[],
    outcomes: Outcome[],
  ): Promise<Task[]> {
    const tasks: Task[] = [];
    const reads = new Map<string, number[]>();
    const puts: Array<[number, Put]> = [];
    const task = (
      indexes: readonly number[],
      work: () => Promise<(i: number) => Outcome | Promise<Outcome>>,
    ): void => {
      tasks.push(async () => {
        try {
          const outcome = await work();
          for (const i of indexes) outcomes[i] = await outcome(i);
        } catch (error) {
          for (const i of indexes) outcomes[i] = rejected(error);
          if (isConnectionFailure(error)) throw error;
        }
      });
    };
    for (const i of wave) {
      const operation = operations[i] as Operation;
      if (operation.type === 'put') puts.push([i, operation]);
      else if (operation.type === 'get' || operation.type === 'has') {
        const readers = reads.get(operation.key);
        if (readers) readers.push(i);
        else reads.set(operation.key, [i]);
      } else {
        const request =
          operation.type === 'clear'
            ? ({ method: 'POST', path: `${API}clear` } as const)
            : ({ method: 'DELETE', path: pathOf((operation as { key: string }).key), retry: true } as const);
        task([i], async () => {
          const answer = await http(request);
          // A key that is gone is what was asked for.
          if (request.method === 'POST' || !answer.missing) succeeded(answer, request.path);
          return () => fulfilled();
        });
      }
    }
    for (const [key, indexes] of reads) {
      task(indexes, async () => {
        const read = await readKey(key);
        return async (i) => {
          if (operations[i]?.type === 'has') return fulfilled(read !== undefined);
          // Each reader gets a copy of its own.
          return fulfilled(
            read && (await decode(i === indexes[0] ? read.value : structuredClone(read.value))),
          );
        };
      });
    }
    for (const chunk of await chunked(puts, outcomes)) tasks.push(() => putAll(chunk, outcomes));
    return tasks;
  }

  async function run(operations: readonly Operation[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const wave of waves(operations, outcomes)) {
      const lost = await parallel(await tasksOf(wave, operations, outcomes));
      if (lost === undefined) continue;
      // There is no answer any more: what was not sent yet will not be.
      operations.forEach((_, i) => {
        outcomes[i] ??= rejected(lost);
      });
      break;
    }
    return outcomes;
  }

  async function keys(prefix: string): Promise<string[]> {
    const { keys } = await get(`${API}keys`);
    if (!Array.isArray(keys) || keys.some((key) => typeof key !== 'string')) {
      throw notOurs(`GET ${API}keys`, 'JSON without a list of keys');
    }
    return keys.filter((key) => key.startsWith(prefix)).sort(compareKeys);
  }

  async function stats(): Promise<StorageStats> {
    const { total_keys: keys, total_size_bytes: sizeBytes } = await get(`${API}stats`);
    if (typeof keys !== 'number' || typeof sizeBytes !== 'number') {
      throw notOurs(`GET ${API}stats`, 'JSON without counts');
    }
    return { keys, sizeBytes };
  }

  return {
    run,
    keys,
    stats,
    async *entries(prefix) {
      const listed = await keys(prefix);
      const small = listed.length > 0 && (await stats()).sizeBytes <= EXPORT_BYTES;
      const all =
        small || listed.some((key) => SHADOWED.has(key) || unaddressable(key))
          ? await get(`${API}export`)
          : undefined;
      for (let from = 0; from < listed.length; from += PAGE) {
        const page = listed.slice(from, from + PAGE);
        const reads = page.map((key) => all && own(all, key));
        if (!all) {
          const read = (key: string, i: number) => async () => {
            reads[i] = await readKey(key);
          };
          const lost = await parallel(page.map(read));
          if (lost !== undefined) throw lost;
        }
        const entries: Array<readonly [string, unknown]> = [];
        for (const [i, key] of page.entries()) {
          const read = reads[i];
          if (read) entries.push([key, await decode(read.value)]);
        }
        yield entries;
      }
    },
  };
}

/** Cut a batch where the order of two operations matters. Operations that cannot be sent are settled here. */
function* waves(operations: readonly Operation[], outcomes: Outcome[]): Iterable<number[]> {
  let wave: number[] = [];
  let touched = new Map<string, boolean>();
  for (const [i, operation] of operations.entries()) {
    const refusal = refusalOf(operation);
    if (refusal) {
      outcomes[i] = rejected(refusal);
      continue;
    }
    const key = operation.type === 'clear' ? undefined : operation.key;
    const writes = operation.type !== 'get' && operation.type !== 'has';
    const before = key === undefined ? true : touched.get(key);
    if (before === true || (writes && before !== undefined)) {
      if (wave.length > 0) yield wave;
      wave = [];
      touched = new Map();
    }
    wave.push(i);
    if (key !== undefined) touched.set(key, writes);
    else {
      yield wave;
      wave = [];
    }
  }
  if (wave.length > 0) yield wave;
}

function refusalOf(operation: Operation): StorageError | undefined {
  if (operation.type === 'clear') return undefined;
  if (operation.type === 'update') {
    return new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so update() cannot be atomic: use a newer server, or get() and set().',
    );
  }
  const reason = unaddressable(operation.key);
  if (reason === undefined) return undefined;
  const shown = JSON.stringify(operation.key.slice(0, 64));
  return new StorageError(
    'invalid-key',
    `The key ${shown} ${reason}, which this server (level 0) cannot address: choose another key, or use a newer server.`,
  );
}

/** Why no level-0 path names this key, if so. */
function unaddressable(key: string): string | undefined {
  if (key.includes('/')) return 'holds a slash';
  if (key === '.' || key === '..') return 'is a dot segment';
  if (encodeURIComponent(key).length > MAX_PATH) return 'is too long for a path';
  return undefined;
}

const pathOf = (key: string): string => API + encodeURIComponent(key);

const own = (json: JsonObject, key: string): { value: unknown } | undefined =>
  Object.hasOwn(json, key) ? { value: json[key] } : undefined;

function found(answer: Answer, path: string): JsonObject {
  if (answer.missing) throw notOurs(path, '404');
  return answer.json;
}

function succeeded(answer: Answer, path: string): JsonObject {
  const json = found(answer, path);
  if (json.success !== true) throw notOurs(path, 'JSON without success');
  return json;
}

/** Puts as JSON texts, together as long as they fit in one import. */
async function chunked(puts: ReadonlyArray<[number, Put]>, outcomes: Outcome[]): Promise<Text[][]> {
  const chunks: Text[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const [i, operation] of puts) {
    try {
      const text = await encode(operation);
      const size = utf8Length(operation.key) + utf8Length(text) + 4;
      if (bytes + size > IMPORT_BYTES) {
        chunks.push([]);
        bytes = 0;
      }
      chunks.at(-1)?.push({ i, key: operation.key, text });
      bytes += size;
    } catch (cause) {
      // A File that changed on the disk since it was picked, for one.
      const message = `The value of ${operation.key} cannot be read: ${cause}`;
      outcomes[i] = rejected(new StorageError('unsupported-value', message, { cause }));
    }
  }
  return chunks;
}

/** Run tasks, a few at a time. After the first that throws no other is started, and its error is returned. */
async function parallel(tasks: readonly Task[]): Promise<unknown> {
  let next = 0;
  let lost: { error: unknown } | undefined;
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
