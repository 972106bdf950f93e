/**
 * The level-0 protocol: one function for each endpoint (docs/contract.md, section 2).
 *
 * Every answer is checked for the shape that the contract defines. Any other answer is not this server's.
 */
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { compareKeys, type KeyRange, select } from '../../core/order.ts';
import { strangerError } from '../errors.ts';
import type { Exchange, HttpRequest, Repeats } from '../http.ts';

const API = 'api/storage/';
const MAX_PATH = 4000;
/** GET of these keys is a route of its own. Their values are read through `/export`. */
const SHADOWED: ReadonlySet<string> = new Set(['keys', 'export', 'stats']);
const KEY_NOT_FOUND = 'Key not found';

/**
 * A request that may be sent twice (RFC 9110 §9.2.2) is repeated after a status that says that the server did not carry it out.
 * An old server answers 500 when it loses a race on INSERT.
 */
const REPEATS: Repeats = {
  limit: 2,
  pauses: { firstMs: 300, longestMs: 600, jitter: 'equal' },
  after: ({ status }) => status === 429 || status === 500 || status === 503,
};

/**
 * Sends one request. Returns `undefined` for the 404 of a key that does not exist.
 *
 * @throws {StorageError} `unavailable` (with `cause` only when there was no answer at all), `timeout`, `too-large`, `quota`,
 *   `forbidden`, `refused`, `closed`.
 */
export async function sendLevel0<T>(exchange: Exchange, request: HttpRequest<T>): Promise<T | undefined> {
  const reply = await exchange(request);
  if (reply.ok) return reply.answer;
  if (reply.status === 404 && reply.json?.error === KEY_NOT_FOUND) return undefined;
  throw reply.error;
}

/** Whether there was no answer at all: other requests will fail in the same way now. */
export const isConnectionFailure = (error: unknown): boolean =>
  error instanceof StorageError &&
  (error.code === 'timeout' ||
    error.code === 'closed' ||
    (error.code === 'unavailable' && error.cause !== undefined));

/** The value of a key, as parsed JSON. */
export interface Read {
  readonly value: unknown;
}

/** A key and the JSON text of its value. */
export interface KeyText {
  readonly key: string;
  readonly text: string;
}

/** The requests of level 0. */
export interface Level0 {
  get(key: string): Promise<Read | undefined>;
  put(entry: KeyText): Promise<void>;
  /** Stores all entries in one request and one transaction. */
  import(entries: readonly KeyText[]): Promise<void>;
  delete(key: string): Promise<void>;
  clear(): Promise<void>;
  /** The keys of a range. The server lists all of its keys. */
  keys(range: KeyRange): Promise<string[]>;
  /** The whole data set as one object. */
  export(): Promise<JsonObject>;
  stats(): Promise<StorageStats>;
}

/**
 * Level 0 over `exchange`.
 *
 * @param url The server's base URL, for messages.
 */
export function createLevel0(exchange: Exchange, url: string): Level0 {
  type Sending<T> = Pick<HttpRequest<T>, 'method' | 'body' | 'answerOf'>;
  const send = <T>(path: string, request: Sending<T>): Promise<T | undefined> =>
    sendLevel0(exchange, { repeats: REPEATS, ...request, path: API + path });
  /** A request that does not name a key, or a key that must exist. */
  const demand = async <T>(path: string, request: Sending<T>): Promise<T> => {
    const answer = await send(path, request);
    if (answer === undefined) throw notOurs(request.method, path, 'that a key does not exist');
    return answer;
  };
  const notOurs = (method: string, path: string, answered: string): StorageError =>
    strangerError(`${method} ${url}${API}${path}`, answered);

  const level0: Level0 = {
    async get(key) {
      if (onlyExported(key)) {
        const found = member(await level0.export(), key);
        // An export without the key proves nothing: an answer that is not the server's holds no key either.
        if (found === undefined && (await level0.keys({ prefix: key })).includes(key))
          throw notOurs('GET', 'export', 'JSON without a key that is listed');
        return found;
      }
      return send(encodeURIComponent(key), { method: 'GET', answerOf: (json) => member(json, 'value') });
    },
    async put({ key, text }) {
      const body = `{"value":${text}}`;
      await demand(encodeURIComponent(key), { method: 'PUT', body, answerOf: success });
    },
    async import(entries) {
      const body = `{${entries.map(({ key, text }) => `${JSON.stringify(key)}:${text}`).join()}}`;
      const { imported } = await demand('import', { method: 'POST', body, answerOf: success });
      if (imported !== entries.length)
        throw notOurs('POST', 'import', `imported ${imported} of ${entries.length}`);
    },
    async delete(key) {
      // A key that does not exist is what was asked for.
      await send(encodeURIComponent(key), { method: 'DELETE', answerOf: success });
    },
    async clear() {
      // Never repeated: it would delete what others have stored meanwhile.
      const request = { method: 'POST', path: `${API}clear`, answerOf: success } as const;
      if (!(await sendLevel0(exchange, request))) throw notOurs('POST', 'clear', 'that a key does not exist');
    },
    async keys(range) {
      const keys = await demand('keys', {
        method: 'GET',
        answerOf: ({ keys }) =>
          Array.isArray(keys) && keys.every((key) => typeof key === 'string')
            ? (keys as string[])
            : undefined,
      });
      return select(keys.sort(compareKeys), range);
    },
    export: () => demand('export', { method: 'GET', answerOf: (json) => json }),
    stats: () =>
      demand('stats', {
        method: 'GET',
        answerOf: ({ total_keys: keys, total_size_bytes: sizeBytes }) =>
          typeof keys === 'number' && typeof sizeBytes === 'number' ? { keys, sizeBytes } : undefined,
      }),
  };
  return level0;
}

const success = (json: JsonObject): JsonObject | undefined => (json.success === true ? json : undefined);

/** Whether only `export()` can read this key. */
export const onlyExported = (key: string): boolean => SHADOWED.has(key) || unaddressable(key) !== undefined;

/** Why a key cannot be part of a level-0 path, or `undefined` where it can. */
export function refusalOfKey(key: string): StorageError | undefined {
  const reason = unaddressable(key);
  if (reason === undefined) return undefined;
  const shown = JSON.stringify(key.slice(0, 64));
  return new StorageError(
    'invalid-key',
    `Key ${shown}: it ${reason}, and this server (level 0) has no path for such a key. Choose another key.`,
  );
}

function unaddressable(key: string): string | undefined {
  if (key === '') return 'is empty';
  if (key.includes('/')) return 'contains a slash';
  if (key === '.' || key === '..') return 'is a dot segment';
  if (encodeURIComponent(key).length > MAX_PATH) return 'is too long for a path';
  return undefined;
}

/** An own member of a parsed object, also one named like a member of `Object.prototype`. */
export const member = (json: JsonObject, name: string): Read | undefined =>
  Object.hasOwn(json, name) ? { value: json[name] } : undefined;
