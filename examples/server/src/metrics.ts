/**
 * What the server measures: requests, batches, calls of the database, and the process. Served in the text format of Prometheus on a port
 * of its own, which needs no token: keep it away from strangers.
 *
 * No label has a key, a value, a token or the name of a tenant.
 */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DatabaseLocation } from './database-url.ts';
import { KEY_PREFIX, pathOf } from './http/transport/target.ts';
import type { Store } from './store/store.ts';

/** What is measured of one request. */
export interface RequestMetrics {
  /** To be called when a request arrives. Returns what is to be called when its answer is sent or cut off. */
  begin(incoming: IncomingMessage): (status: number) => void;
}

/** The measurements of a server. */
export interface Metrics extends RequestMetrics {
  /** The same store, measured. */
  measured(store: Store): Store;
  /** Counts a backup. */
  backupDone(outcome: 'ok' | 'failed'): void;
  /** Notes when the newest backup of the folder was made, in milliseconds since 1970. */
  newestBackup(time: number): void;
  /** Serves them. Resolves with the address. Rejects with the system's error, such as `EADDRINUSE`. */
  listen(port: number, host: string): Promise<string>;
  close(): void;
}

/** The addresses that have a label of their own. All keys have one label together, and unknown addresses another. */
const ROUTES = new Set([
  '/health',
  '/live',
  '/ready',
  ...['keys', 'export', 'import', 'clear', 'stats'].map((name) => KEY_PREFIX + name),
  ...['batch', 'keys', 'stats', 'changes', 'export', 'import'].map((name) => `/api/v1/${name}`),
]);

const METHODS = new Set(['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']);

function routeOf(url: string): string {
  const path = pathOf(url);
  if (ROUTES.has(path)) return path;
  return path.startsWith(KEY_PREFIX) ? `${KEY_PREFIX}{key}` : 'other';
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** @param database Where the store is: of SQLite, the size of its write-ahead log is measured. */
export function createMetrics(database: DatabaseLocation): Metrics {
  const registers = [new Registry()];
  const [registry] = registers as [Registry];
  collectDefaultMetrics({ register: registry });
  const requests = new Counter({
    name: 'storage_http_requests_total',
    help: 'Requests that were answered or cut off.',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const duration = new Histogram({
    name: 'storage_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer. Long polls and event streams wait meanwhile.',
    labelNames: ['method', 'route'],
    buckets: SECONDS,
    registers,
  });
  const inProgress = new Gauge({
    name: 'storage_http_requests_in_progress',
    help: 'Requests whose answers are not sent yet. On /api/v1/changes: long polls and event streams.',
    labelNames: ['route'],
    registers,
  });
  const batchOperations = new Histogram({
    name: 'storage_batch_operations',
    help: 'Operations of a batch; a single write is a batch of one.',
    buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000],
    registers,
  });
  const storeDuration = new Histogram({
    name: 'storage_database_duration_seconds',
    help: 'Time of a call of the database, with the wait for its turn.',
    labelNames: ['call', 'outcome'],
    buckets: SECONDS,
    registers,
  });
  const overQuota = new Counter({
    name: 'storage_quota_exceeded_total',
    help: 'Writes that a quota of their tenant had no room for.',
    registers,
  });
  const backups = new Counter({
    name: 'storage_backups_total',
    help: 'Backups of BACKUP_EVERY.',
    labelNames: ['outcome'],
    registers,
  });
  const lastBackup = new Gauge({
    name: 'storage_backup_last_success_timestamp_seconds',
    help: 'When the newest backup in BACKUP_DIR was begun; 0 if there is none.',
    registers,
  });
  if (database.kind === 'sqlite')
    new Gauge({
      name: 'storage_sqlite_wal_bytes',
      help: "Bytes of SQLite's write-ahead log.",
      registers,
      collect() {
        this.set(statSync(`${database.path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
      },
    });

  function timed<Arguments extends unknown[], Result>(
    call: string,
    work: (...given: Arguments) => Promise<Result>,
  ): (...given: Arguments) => Promise<Result> {
    return async (...given) => {
      const end = storeDuration.startTimer({ call });
      try {
        const result = await work(...given);
        end({ outcome: 'ok' });
        return result;
      } catch (error) {
        end({ outcome: 'failed' });
        throw error;
      }
    };
  }

  const server = createServer((incoming, outgoing) => {
    if (pathOf(incoming.url ?? '') !== '/metrics') {
      outgoing.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => outgoing.writeHead(200, { 'Content-Type': registry.contentType }).end(text),
      () => outgoing.writeHead(500).end(),
    );
  });

  return {
    begin({ method = '', url = '' }) {
      const labels = { method: METHODS.has(method) ? method : 'other', route: routeOf(url) };
      const { route } = labels;
      inProgress.inc({ route });
      const end = duration.startTimer(labels);
      return (status) => {
        end();
        inProgress.dec({ route });
        requests.inc({ ...labels, status });
      };
    },
    measured: (store) => ({
      ...store,
      seq: timed('seq', store.seq),
      read: timed('read', store.read),
      run: timed('run', async (tenant, batch) => {
        batchOperations.observe(batch.operations.length);
        const outcome = await store.run(tenant, batch);
        for (const { outcome: one } of 'results' in outcome ? outcome.results : [])
          if (one === 'quota-exceeded') overQuota.inc();
        return outcome;
      }),
      list: timed('list', store.list),
      stats: timed('stats', store.stats),
      changes: timed('changes', store.changes),
      snapshot: timed('snapshot', store.snapshot),
      expire: timed('expire', store.expire),
    }),
    backupDone(outcome) {
      backups.inc({ outcome });
    },
    newestBackup(time) {
      lastBackup.set(time / 1000);
    },
    async listen(port, host) {
      server.listen(port, host);
      await once(server, 'listening');
      const { port: actualPort } = server.address() as AddressInfo;
      return `http://${host.includes(':') ? `[${host}]` : host}:${actualPort}/metrics`;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
