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
import type { Exchange, HttpRequest } from '../http.ts';

const API = 'api/storage/';
const MAX_PATH = 4000;
/** GET of these keys is a route of its own. Their values are read through `/export`. */
const SHADOWED: ReadonlySet<string> = new Set(['keys', 'export', 'stats']);
const KEY_NOT_FOUND = 'Key not found';

/**
 * How a request is repeated that may be sent twice (RFC 9110 §9.2.2): after a status that says that the server did not carry it out.
 * An old server answers 500 when it loses a race on INSERT.
 */
const REPEATED: NonNullable<HttpRequest['retry']> = {
  limit: 2,
  methods: ['get', 'put', 'post', 'delete'],
  statusCodes: [429, 500, 503],
  maxRetryAfter: 5000,
  shouldRetry: ({ error }) => ('response' in error ? undefined : false),
};

/** An answer: 2xx with its object, or `isMissing`, the 404 for a key that does not exist. */
export type Answer = { readonly isMissing: false; readonly json: JsonObject } | { readonly isMissing: true };

/**
 * Sends one request.
 *
 * @throws {StorageError} `unavailable` (with `cause` only when there was no answer at all), `timeout`, `too-large`, `quota`,
 *   `forbidden`, `refused`, `closed`.
 */
export async function sendLevel0(exchange: Exchange, request: HttpRequest): Promise<Answer> {
  const reply = await exchange(request);
  if (reply.ok) return { isMissing: false, json: reply.json };
  if (reply.status === 404 && reply.json?.error === KEY_NOT_FOUND) return { isMissing: true };
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
  const notOurs = (path: string, answered: string): StorageError => strangerError(`${url}${path}`, answered);
  const found = (answer: Answer, path: string): JsonObject => {
    if (answer.isMissing) throw notOurs(path, '404');
    return answer.json;
  };
  const checkSuccess = (answer: Answer, path: string): JsonObject => {
    const json = found(answer, path);
    if (json.success !== true) throw notOurs(path, 'JSON without success');
    return json;
  };
  const sendRepeated = (method: HttpRequest['method'], path: string, body?: string): Promise<Answer> =>
    sendLevel0(exchange, { method, path, retry: REPEATED, ...(body !== undefined && { body }) });
  const read = async (path: string): Promise<JsonObject> => found(await sendRepeated('GET', path), path);

  const level0: Level0 = {
    async get(key) {
      if (onlyExported(key)) {
        const found = member(await level0.export(), key);
        // An export without the key proves nothing: an answer that is not the server's holds no key either.
        if (found === undefined && (await level0.keys({ prefix: key })).includes(key)) {
          throw notOurs(`${API}export`, 'JSON without a key that is listed');
        }
        return found;
      }
      const path = pathOf(key);
      const answer = await sendRepeated('GET', path);
      if (answer.isMissing) return undefined;
      const value = member(answer.json, 'value');
      if (value === undefined) throw notOurs(path, 'JSON without a value');
      return value;
    },
    async put({ key, text }) {
      const path = pathOf(key);
      checkSuccess(await sendRepeated('PUT', path, `{"value":${text}}`), path);
    },
    async import(entries) {
      const path = `${API}import`;
      const body = `{${entries.map(({ key, text }) => `${JSON.stringify(key)}:${text}`).join()}}`;
      const { imported } = checkSuccess(await sendRepeated('POST', path, body), path);
      if (imported !== entries.length) {
        throw notOurs(path, `imported ${imported} of ${entries.length}`);
      }
    },
    async delete(key) {
      const path = pathOf(key);
      const answer = await sendRepeated('DELETE', path);
      // A key that does not exist is what was asked for.
      if (!answer.isMissing) checkSuccess(answer, path);
    },
    async clear() {
      const path = `${API}clear`;
      // Never repeated: it would delete what others have stored after it.
      checkSuccess(await sendLevel0(exchange, { method: 'POST', path }), path);
    },
    async keys(range) {
      const path = `${API}keys`;
      const { keys } = await read(path);
      if (!Array.isArray(keys) || keys.some((key) => typeof key !== 'string')) {
        throw notOurs(path, 'JSON without a list of keys');
      }
      return select(keys.sort(compareKeys), range);
    },
    export: () => read(`${API}export`),
    async stats() {
      const path = `${API}stats`;
      const { total_keys: keys, total_size_bytes: sizeBytes } = await read(path);
      if (typeof keys !== 'number' || typeof sizeBytes !== 'number') {
        throw notOurs(path, 'JSON without counts');
      }
      return { keys, sizeBytes };
    },
  };
  return level0;
}

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

const pathOf = (key: string): string => API + encodeURIComponent(key);
