/** A reference server with the tenants `a` and `b`, behind a proxy that notes each request and can lose it. */
import { createHash } from 'node:crypto';
import type { KeyValueStorage } from '../../src/index.ts';
import type { Faults, ProxiedRequest } from './faults.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import { rejection } from './rejection.ts';
import { startTypescriptServer } from './typescript-server.ts';

/** The tokens of the tenants: `a` has two, and one that may only read. */
export const TOKENS = {
  a: 'token-a',
  'a renewed': 'token-a-renewed',
  'a reads': 'token-a-reads',
  b: 'token-b',
};

const SCOPES = { a: 'a:admin', 'a renewed': 'a:admin', 'a reads': 'a:read', b: 'b:admin' } as const;

/** A server that runs. */
export interface Tenants extends Pick<TcpProxy, 'url' | 'cut' | 'restore'> {
  /** What a storage is given as `token`: it returns `current`. */
  readonly token: () => string;
  current: string;
  /** What has reached the proxy. */
  readonly requests: ProxiedRequest[];
  /** What becomes of requests. */
  faults: Faults | undefined;
  /** What a tenant has stored. */
  data(tenant: 'a' | 'b'): Promise<Record<string, unknown>>;
  /** Empties both tenants, and forgets requests, faults and the current token. */
  reset(): Promise<void>;
  /** Stores a value for a tenant, past the proxy. */
  put(tenant: 'a' | 'b', key: string, value: unknown): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one. */
export async function startTenants(): Promise<Tenants> {
  const entries = Object.entries(SCOPES).map(
    ([name, scope]) =>
      `${scope}:${createHash('sha256')
        .update(TOKENS[name as keyof typeof TOKENS])
        .digest('hex')}`,
  );
  const server = await startTypescriptServer({ env: { TOKENS: entries.join(' ') } });
  const proxy = await startProxy(server.url, {
    faults(request) {
      tenants.requests.push(request);
      return tenants.faults?.(request);
    },
  });
  const headers = (tenant: 'a' | 'b') => ({
    authorization: `Bearer ${TOKENS[tenant]}`,
    'content-type': 'application/json',
  });
  async function write(tenant: 'a' | 'b', op: unknown): Promise<void> {
    const body = JSON.stringify({ client: crypto.randomUUID(), m: 1, ops: [op] });
    const response = await fetch(`${server.url}/api/v1/batch`, {
      method: 'POST',
      headers: headers(tenant),
      body,
    });
    if (!response.ok) throw new Error(await response.text());
  }
  const tenants: Tenants = {
    url: proxy.url,
    cut: proxy.cut,
    restore: proxy.restore,
    token: () => tenants.current,
    current: TOKENS.a,
    requests: [],
    faults: undefined,
    async data(tenant) {
      const response = await fetch(`${server.url}/api/v1/export`, { headers: headers(tenant) });
      const lines = (await response.text()).trim().split('\n').slice(1, -1);
      return Object.fromEntries(
        lines.map((line) => JSON.parse(line)).map(({ key, value }) => [key, value] as const),
      );
    },
    put: (tenant, key, value) => write(tenant, { op: 'put', key, value }),
    async reset() {
      proxy.restore();
      tenants.faults = undefined;
      tenants.current = TOKENS.a;
      for (const tenant of ['a', 'b'] as const) await write(tenant, { op: 'clear' });
      tenants.requests.length = 0;
    },
    async stop() {
      await proxy.close();
      await server.stop();
    },
  };
  return tenants;
}

/** Calls `onProgress` of a copy with this: the token becomes that of `b`, and another call is told so, once the copy has begun. */
interface AccountChange {
  readonly onProgress: (progress: { readonly phase: string; readonly done: number }) => void;
  /** Resolves when the other call has been told. */
  told(): Promise<unknown>;
}

function changeOfAccount(tenants: Tenants, storage: KeyValueStorage): AccountChange {
  const told: Array<Promise<unknown>> = [];
  return {
    onProgress({ phase, done }) {
      if (phase !== 'copy' || done === 0 || told.length > 0) return;
      tenants.current = TOKENS.b;
      told.push(rejection(storage.get('k0')).then(() => storage.get('k0')));
    },
    told: () => Promise.all(told),
  };
}

/** An import of `a`, during which the token becomes that of `b`, and another call is told so. Returns why the import rejects. */
export async function importWhileAccountChanges(
  tenants: Tenants,
  storage: KeyValueStorage,
): Promise<unknown> {
  await storage.setMany(Array.from({ length: 2000 }, (_, i) => [`k${i}`, i]));
  const backup = await storage.export({ as: 'blob' });
  await storage.clear();
  const { onProgress, told } = changeOfAccount(tenants, storage);
  const error = await rejection(storage.import(backup, { onProgress }));
  await told();
  return error;
}

/** The same for the adoption of an old database. */
export async function adoptWhileAccountChanges(tenants: Tenants, storage: KeyValueStorage): Promise<unknown> {
  const { onProgress, told } = changeOfAccount(tenants, storage);
  const error = await rejection(storage.adopt('codeforge-storage', { onProgress }));
  await told();
  return error;
}
