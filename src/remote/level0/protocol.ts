/**
 * The level-0 protocol: the nine endpoints, a function each (docs/contract.md, Endpoints).
 *
 * Every answer is checked for the shape that the contract gives it: anything else is not this server's.
 */
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { compareKeys } from '../../core/order.ts';
import { ofStranger } from '../messages.ts';
import { type Answer, type Http, RETRIED } from './http.ts';

const API = 'api/storage/';
const MAX_PATH = 4000;
/** GET of these is a route of its own: their values are read through `/export`. */
const SHADOWED: ReadonlySet<string> = new Set(['keys', 'export', 'stats']);

/** What was found under a key, as parsed JSON. */
export interface Read {
  readonly value: unknown;
}

/** A key and the JSON text of its value. */
export interface Text {
  readonly key: string;
  readonly text: string;
}

/** What a level-0 server can be asked. */
export interface Level0 {
  get(key: string): Promise<Read | undefined>;
  put(entry: Text): Promise<void>;
  /** All of them in one request and one transaction. */
  import(entries: readonly Text[]): Promise<void>;
  delete(key: string): Promise<void>;
  clear(): Promise<void>;
  /** All keys that begin with `prefix`, in byte order. */
  keys(prefix: string): Promise<string[]>;
  /** The whole data set as one object. */
  export(): Promise<JsonObject>;
  stats(): Promise<StorageStats>;
}

/** Speak level 0 over `http`. */
export function createLevel0(http: Http): Level0 {
  const read = async (path: string): Promise<JsonObject> =>
    found(await http({ method: 'GET', path, retry: RETRIED }), path);

  const level0: Level0 = {
    async get(key) {
      if (onlyExported(key)) {
        const found = member(await level0.export(), key);
        // That an export does not hold it is no proof: an answer of something else holds nothing either.
        if (found === undefined && (await level0.keys(key)).includes(key)) {
          throw notOurs(`GET ${API}export`, 'JSON without a key that is listed');
        }
        return found;
      }
      const path = pathOf(key);
      const answer = await http({ method: 'GET', path, retry: RETRIED });
      if (answer.missing) return undefined;
      const value = member(answer.json, 'value');
      if (value === undefined) throw notOurs(`GET ${path}`, 'JSON without a value');
      return value;
    },
    async put({ key, text }) {
      const path = pathOf(key);
      checkSuccess(await http({ method: 'PUT', path, body: `{"value":${text}}`, retry: RETRIED }), path);
    },
    async import(entries) {
      const path = `${API}import`;
      const body = `{${entries.map(({ key, text }) => `${JSON.stringify(key)}:${text}`).join()}}`;
      const { imported } = checkSuccess(await http({ method: 'POST', path, body, retry: RETRIED }), path);
      if (imported !== entries.length) {
        throw notOurs(`POST ${path}`, `imported ${imported} of ${entries.length}`);
      }
    },
    async delete(key) {
      const path = pathOf(key);
      const answer = await http({ method: 'DELETE', path, retry: RETRIED });
      // A key that is gone is what was asked for.
      if (!answer.missing) checkSuccess(answer, path);
    },
    async clear() {
      const path = `${API}clear`;
      checkSuccess(await http({ method: 'POST', path }), path);
    },
    async keys(prefix) {
      const path = `${API}keys`;
      const { keys } = await read(path);
      if (!Array.isArray(keys) || keys.some((key) => typeof key !== 'string')) {
        throw notOurs(`GET ${path}`, 'JSON without a list of keys');
      }
      return keys.filter((key) => key.startsWith(prefix)).sort(compareKeys);
    },
    export: () => read(`${API}export`),
    async stats() {
      const path = `${API}stats`;
      const { total_keys: keys, total_size_bytes: sizeBytes } = await read(path);
      if (typeof keys !== 'number' || typeof sizeBytes !== 'number') {
        throw notOurs(`GET ${path}`, 'JSON without counts');
      }
      return { keys, sizeBytes };
    },
  };
  return level0;
}

/** Whether only `export()` can read this key. */
export const onlyExported = (key: string): boolean => SHADOWED.has(key) || unaddressable(key) !== undefined;

/** Refuse a key that no level-0 path names. */
export function refusalOfKey(key: string): StorageError | undefined {
  const reason = unaddressable(key);
  if (reason === undefined) return undefined;
  const shown = JSON.stringify(key.slice(0, 64));
  return new StorageError(
    'invalid-key',
    `The key ${shown} ${reason}, which this server (level 0) cannot address: choose another key.`,
  );
}

function unaddressable(key: string): string | undefined {
  if (key === '') return 'is empty';
  if (key.includes('/')) return 'holds a slash';
  if (key === '.' || key === '..') return 'is a dot segment';
  if (encodeURIComponent(key).length > MAX_PATH) return 'is too long for a path';
  return undefined;
}

/** An own member of a parsed object, whatever its name. */
export const member = (json: JsonObject, name: string): Read | undefined =>
  Object.hasOwn(json, name) ? { value: json[name] } : undefined;

const pathOf = (key: string): string => API + encodeURIComponent(key);

function found(answer: Answer, path: string): JsonObject {
  if (answer.missing) throw notOurs(path, '404');
  return answer.json;
}

function checkSuccess(answer: Answer, path: string): JsonObject {
  const json = found(answer, path);
  if (json.success !== true) throw notOurs(path, 'JSON without success');
  return json;
}

/** Why an answer is not this server's. */
const notOurs = (subject: string, answered: string): StorageError =>
  new StorageError('unavailable', ofStranger(subject, answered));
