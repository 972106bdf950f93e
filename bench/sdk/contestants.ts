/**
 * Ways for a page to keep values on a server, each as its documentation shows it.
 */
import { createStorage as createUnstorage } from 'unstorage';
import httpDriver from 'unstorage/drivers/http';
import { createStorage } from '../../src/index.ts';
import type { Value } from './data.ts';

/** What every contestant can do. */
export interface KeyValue {
  get(key: string): Promise<unknown>;
  set(key: string, value: Value): Promise<unknown>;
  getMany(keys: readonly string[]): Promise<readonly unknown[]>;
  setMany(entries: ReadonlyArray<readonly [string, Value]>): Promise<unknown>;
}

export type ContestantName = 'ours' | 'ours, level 0' | 'fetch' | 'unstorage';

/** Each connects to the server at a URL without a trailing slash. */
export const CONNECT: Readonly<Record<ContestantName, (url: string) => Promise<KeyValue>>> = {
  ours: (url) => connectOurs(url, 1),
  'ours, level 0': (url) => withoutContract(() => connectOurs(url, 0)),
  fetch: async (url) => fetchEach(url),
  unstorage: async (url) => overUnstorage(url),
};

async function connectOurs(flaskUrl: string, level: number): Promise<KeyValue> {
  const storage = createStorage({ useFlask: true, flaskUrl, logger: false, timeout: 60_000 });
  await storage.ready();
  const status = storage.status();
  if (status.level !== level) throw new Error(`level ${level} was meant, not ${JSON.stringify(status)}`);
  return storage;
}

/** The server as one of level 0: its answer to `/health` says nothing of a contract while the SDK connects. */
async function withoutContract<T>(connect: () => Promise<T>): Promise<T> {
  const real = globalThis.fetch;
  globalThis.fetch = async (...request) => {
    const answer = await real(...request);
    if (!answer.url.endsWith('/health')) return answer;
    const { status } = await answer.json();
    return Response.json({ status });
  };
  try {
    return await connect();
  } finally {
    globalThis.fetch = real;
  }
}

/** What an app without a library does: a request a call. */
function fetchEach(url: string): KeyValue {
  const address = (key: string): string => `${url}/api/storage/${encodeURIComponent(key)}`;
  const get = async (key: string): Promise<unknown> => {
    const answer = await fetch(address(key));
    if (answer.status === 404) return undefined;
    if (!answer.ok) throw new Error(`GET of ${key}: ${answer.status}`);
    return (await answer.json()).value;
  };
  const set = async (key: string, value: Value): Promise<void> => {
    const answer = await fetch(address(key), {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value }),
    });
    if (!answer.ok) throw new Error(`PUT of ${key}: ${answer.status}`);
    await answer.json();
  };
  return {
    get,
    set,
    getMany: (keys) => Promise.all(keys.map(get)),
    setMany: (entries) => Promise.all(entries.map(([key, value]) => set(key, value))),
  };
}

function overUnstorage(base: string): KeyValue {
  const storage = createUnstorage({ driver: httpDriver({ base }) });
  return {
    get: (key) => storage.getItem(key),
    set: (key, value) => storage.setItem(key, value),
    async getMany(keys) {
      const items = await storage.getItems([...keys]);
      return items.map(({ value }) => value);
    },
    setMany: (entries) => storage.setItems(entries.map(([key, value]) => ({ key, value }))),
  };
}
