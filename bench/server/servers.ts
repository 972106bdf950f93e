/** Who takes part: how each server is started, and how a value is written to it and read from it. */
import { fileURLToPath } from 'node:url';
import { flaskSkipReason, startFlaskServer } from '../../test/support/flask-server.ts';
import { type RunningServer, startServer } from '../../test/support/running-server.ts';
import { startInFolder } from '../../test/support/server-database.ts';
import { startTypescriptServer } from '../../test/support/typescript-server.ts';
import { isInstalled } from './command.ts';
import type { Template } from './load.ts';
import { startRedis } from './peers/redis.ts';
import { valueFor } from './values.ts';

/** A server that takes part. Templates are made for the run whose name the values hold. */
export interface Kind {
  readonly name: string;
  /** Whether a write is on the disk before it is answered. */
  readonly durable: boolean;
  /** How many keys there are to be read and overwritten. */
  readonly keys: number;
  start(): Promise<RunningServer & { readonly pids?: readonly number[] }>;
  readonly get: Template;
  /** Write a key that exists. */
  put(run: string): Template;
  /** Write a key that does not exist yet, where that is another request. */
  create?(run: string): Template;
  /** 100 puts in one request. */
  batch?(run: string): Template;
  /** The value under a key, where it keeps any. */
  read?(url: string, key: string): Promise<unknown>;
  /** Called before a run that makes keys. */
  empty?(url: string): Promise<void>;
}

/** Operations in one batch. */
export const BATCH = 100;

const KEYS = 1000;

const contract = {
  keys: KEYS,
  get: { method: 'GET', path: '/api/storage/@NEXT@' },
  put: (run: string): Template => ({
    method: 'PUT',
    path: '/api/storage/@NEXT@',
    body: JSON.stringify({ value: valueFor('@KEY@', run) }),
  }),
  batch: (run: string): Template => ({
    method: 'POST',
    path: '/api/v1/batch',
    body: JSON.stringify({
      ops: Array.from({ length: BATCH }, () => ({ op: 'put', key: '@NEXT@', value: valueFor('@KEY@', run) })),
    }),
  }),
  read: (url: string, key: string): Promise<unknown> => memberOf(`${url}/api/storage/${key}`, 'value'),
};

export const OURS: Kind = { ...contract, name: 'ours', durable: true, start: () => startTypescriptServer() };

export const BARE: Kind = {
  name: 'bare `node:http`',
  durable: false,
  keys: KEYS,
  start: () => startPeer('bare.ts'),
  get: contract.get,
  put: contract.put,
};

export const FLASK: Kind = {
  ...contract,
  name: 'Flask',
  durable: true,
  start: () => startFlaskServer({ env: { WORKERS: '4' } }),
};

const unstorage = {
  durable: false,
  keys: KEYS,
  get: { method: 'GET', path: '/@NEXT@' },
  put: (run: string): Template => ({ method: 'PUT', path: '/@NEXT@', body: valueFor('@KEY@', run) }),
  read: (url: string, key: string): Promise<unknown> => textOf(`${url}/${key}`),
};

export const UNSTORAGE: Kind = {
  ...unstorage,
  name: 'unstorage, memory',
  start: () => startPeer('unstorage.ts', { DRIVER: 'memory' }),
};

const UNSTORAGE_FS: Kind = {
  ...unstorage,
  name: 'unstorage, fs',
  start: () => startPeer('unstorage.ts', { DRIVER: 'fs' }),
};

const JSON_SERVER: Kind = {
  name: 'json-server',
  durable: false,
  // It writes all of its file with each change.
  keys: KEYS / 10,
  start: () => startPeer('json-server.ts'),
  get: { method: 'GET', path: '/entries/@NEXT@' },
  put: (run) => ({
    method: 'PUT',
    path: '/entries/@NEXT@',
    body: JSON.stringify({ value: valueFor('@KEY@', run) }),
  }),
  create: (run) => ({
    method: 'POST',
    path: '/entries',
    body: JSON.stringify({ id: '@NEXT@', value: valueFor('@KEY@', run) }),
  }),
  read: (url, key) => memberOf(`${url}/entries/${key}`, 'value'),
  async empty(url) {
    await textOf(`${url}/reset`, 'POST');
  },
};

export const REDIS: Kind = {
  name: 'Redis, webdis',
  durable: true,
  keys: KEYS,
  start: startRedis,
  get: { method: 'GET', path: '/GET/@NEXT@' },
  put: (run) => ({ method: 'PUT', path: '/SET/@NEXT@', body: valueFor('@KEY@', run) }),
  read: (url, key) => memberOf(`${url}/GET/${key}`, 'GET'),
};

/** Everybody who can take part here, and why the others cannot. */
export async function findKinds(): Promise<{ kinds: readonly Kind[]; leftOut: readonly string[] }> {
  const flask = flaskSkipReason();
  const redis = (await isInstalled('redis-server', 'webdis')) ? undefined : 'not installed';
  return {
    kinds: [
      OURS,
      BARE,
      UNSTORAGE,
      UNSTORAGE_FS,
      JSON_SERVER,
      ...(flask === undefined ? [FLASK] : []),
      ...(redis === undefined ? [REDIS] : []),
    ],
    leftOut: [
      ...(flask === undefined ? [] : [`${FLASK.name}: ${flask}`]),
      ...(redis === undefined ? [] : [`${REDIS.name}: ${redis}`]),
    ],
  };
}

/** A server of the folder `peers`, in a process of its own, with a folder that goes with it. */
function startPeer(file: string, env: Record<string, string> = {}): Promise<RunningServer> {
  const main = fileURLToPath(new URL(`peers/${file}`, import.meta.url));
  return startInFolder((folder) =>
    startServer(process.execPath, [main], { env: { NODE_ENV: 'production', FOLDER: folder, ...env } }),
  );
}

/** A member of the object that a server answers. */
async function memberOf(url: string, name: string): Promise<unknown> {
  const text = await textOf(url);
  return text === undefined ? undefined : JSON.parse(text)[name];
}

/**
 * `undefined` for 404.
 *
 * @throws {Error} For any other answer that is no 2xx.
 */
async function textOf(url: string, method = 'GET'): Promise<string | undefined> {
  const response = await fetch(url, { method });
  const text = await response.text();
  if (response.ok) return text;
  if (response.status === 404) return undefined;
  throw new Error(`${method} ${url}: ${response.status} ${text.slice(0, 200)}`);
}
