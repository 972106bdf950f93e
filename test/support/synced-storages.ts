/** Storages over a server that may be away: opened with what they log and what their status becomes, closed when the test ends. */
import { afterEach, vi } from 'vitest';
import {
  createStorage,
  type KeyValueStorage,
  type StorageOptions,
  type StorageStatus,
} from '../../src/index.ts';
import type { Level1Server } from './level1-server.ts';

/** A storage, and what it said. */
export interface SyncedStorage extends KeyValueStorage {
  /** As `warn: text`. */
  readonly lines: string[];
  /** Each new one, in their order. */
  readonly statuses: StorageStatus[];
  /** Resolves at a status that `wanted` holds for, or whose state it names; at once where it does already. */
  reaches(wanted: StorageStatus['state'] | ((status: StorageStatus) => boolean)): Promise<StorageStatus>;
  /** Resolves when the server is there and nothing waits for it any more; it is not asked to send. */
  sent(): Promise<StorageStatus>;
  /** Resolves when everything that the server held is in the origin's copy too. */
  filled(): Promise<void>;
}

let databases = 0;

/**
 * For the tests of the block where it is called. Each storage has an origin's copy of its own, unless a `database` is named: then it
 * shares that of the storages with the same name and server.
 */
export function syncedStorages(): (flaskUrl: string, options?: StorageOptions) => SyncedStorage {
  const opened: KeyValueStorage[] = [];
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((storage) => storage.close()));
  });
  return (flaskUrl, options = {}) => {
    databases += 1;
    const database = options.database ?? `synced-${databases}`;
    const lines: string[] = [];
    const statuses: StorageStatus[] = [];
    const storage = createStorage({
      useFlask: true,
      flaskUrl,
      logger: {
        info: (line) => void lines.push(`info: ${line}`),
        warn: (line) => void lines.push(`warn: ${line}`),
      },
      ...options,
      database,
    });
    opened.push(storage);
    storage.watchStatus((status) => void statuses.push(status));
    return Object.assign(storage, {
      lines,
      statuses,
      reaches(wanted: Parameters<SyncedStorage['reaches']>[0]) {
        const holds = typeof wanted === 'function' ? wanted : ({ state }: StorageStatus) => state === wanted;
        return new Promise<StorageStatus>((resolve) => {
          const look = (status: StorageStatus): void => {
            if (!holds(status)) return;
            stop();
            resolve(status);
          };
          const stop = storage.watchStatus(look);
          look(storage.status());
        });
      },
      sent() {
        return this.reaches(({ state, pending }) => state === 'online' && pending === 0);
      },
      async filled() {
        // One that the server does not let in lists the copy alone, and only when that is whole.
        const signedOut = createStorage({ useFlask: true, flaskUrl, database, logger: false, token: fail });
        try {
          await vi.waitFor(() => signedOut.keys(), { timeout: 10_000, interval: 20 });
        } finally {
          await signedOut.close();
        }
      },
    });
  };
}

/** Let nobody in. Is found out by the first request, where a server that is gone is asked six times. */
export function shut(server: Level1Server): void {
  server.before = ({ url }, response) => {
    if (url === '/health') return false;
    response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"Nobody is let in"}');
    return true;
  };
}

/** Let everybody in again. */
export function reopen(server: Level1Server): void {
  server.before = undefined;
}

const fail = (): never => {
  throw new Error('signed out');
};
