/**
 * A client as deployed long ago, written plainly from docs/contract.md, section 2: a `fetch` a call, errors told apart by
 * their text, and the fallback of `clear` that asks for a route which does not exist (2.10).
 */

/** The server did not do what it was asked for. */
export class OldClientError extends Error {
  override readonly name = 'OldClientError';
}

export interface OldClient {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  /** As `set`, by POST. */
  add(key: string, value: unknown): Promise<void>;
  /** Whether there was something to delete. */
  delete(key: string): Promise<boolean>;
  keys(): Promise<string[]>;
  clear(): Promise<void>;
  /** What `clear` does where its POST fails. */
  clearFallback(): Promise<void>;
  export(): Promise<Record<string, unknown>>;
  import(data: Record<string, unknown>): Promise<number>;
  stats(): Promise<{ total_keys: number; total_size_bytes: number; database_path: string }>;
  isAlive(): Promise<boolean>;
}

export function createOldClient(url: string): OldClient {
  async function ask(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body !== undefined && {
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      }),
    });
    if (response.headers.get('Content-Type') !== 'application/json') {
      throw new OldClientError(`${method} ${path}: ${response.status} is not application/json`);
    }
    const json = await response.json();
    if (!response.ok) throw new OldClientError(json.error);
    return json;
  }

  const pathOf = (key: string): string => `/api/storage/${encodeURIComponent(key)}`;

  /** What `found` resolves with, or `missing` where the server says so. */
  async function unlessMissing<Found, Missing>(found: Promise<Found>, missing: Missing) {
    try {
      return await found;
    } catch (error) {
      if (error instanceof OldClientError && error.message === 'Key not found') return missing;
      throw error;
    }
  }

  const client: OldClient = {
    async get(key) {
      const found = await unlessMissing(ask('GET', pathOf(key)), undefined);
      return found?.value;
    },
    async set(key, value) {
      await ask('PUT', pathOf(key), { value });
    },
    async add(key, value) {
      await ask('POST', pathOf(key), { value });
    },
    async delete(key) {
      return (await unlessMissing(ask('DELETE', pathOf(key)), undefined)) !== undefined;
    },
    async keys() {
      return (await ask('GET', '/api/storage/keys')).keys as string[];
    },
    async clear() {
      try {
        await ask('POST', '/api/storage/clear');
      } catch {
        await client.clearFallback();
      }
    },
    async clearFallback() {
      await ask('DELETE', '/api/storage');
    },
    export: () => ask('GET', '/api/storage/export'),
    async import(data) {
      return (await ask('POST', '/api/storage/import', data)).imported as number;
    },
    async stats() {
      return (await ask('GET', '/api/storage/stats')) as Awaited<ReturnType<OldClient['stats']>>;
    },
    async isAlive() {
      return (await ask('GET', '/health')).status === 'ok';
    },
  };
  return client;
}
