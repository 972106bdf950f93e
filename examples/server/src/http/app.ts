/**
 * The routes, and what becomes of an error.
 *
 * `keys`, `export` and `stats` are routes of GET, `clear` and `import` of POST; with any other method these names are
 * keys like all others. `/api/storage` itself is no route: an old client sends DELETE there by mistake.
 */
import { Hono } from 'hono';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { type Store, StoreError, type StoreErrorCode } from '../store/store.ts';
import { failure, Refusal } from './answers.ts';
import { createCollectionRoutes } from './collection-routes.ts';
import { compressed } from './compression.ts';
import { type Bindings, needs, type RequestContext } from './context.ts';
import { createEntryRoutes } from './entry-routes.ts';
import { createHealthRoute } from './health.ts';
import { KEY_PREFIX, pathOf } from './keys.ts';
import { createBatchRoute } from './level1/batch.ts';
import { createChangesRoute } from './level1/changes.ts';
import { createExportRoute } from './level1/export.ts';
import { createImportRoute } from './level1/import.ts';
import { createListRoutes } from './level1/lists.ts';
import { limitsOf } from './limits.ts';

const KEY = `${KEY_PREFIX}:key{.+}`;
const LEVEL_1 = '/api/v1/';

/** Methods of the routes of level 1. */
const METHODS: Readonly<Record<string, string>> = {
  '/health': 'GET, HEAD',
  [`${LEVEL_1}batch`]: 'POST',
  [`${LEVEL_1}keys`]: 'GET, HEAD',
  [`${LEVEL_1}stats`]: 'GET, HEAD',
  [`${LEVEL_1}changes`]: 'GET, HEAD',
  [`${LEVEL_1}export`]: 'GET, HEAD',
  [`${LEVEL_1}import`]: 'POST',
};

/** What the server is made of. */
export interface Parts {
  readonly store: Store;
  readonly config: Pick<Config, 'maxBodyBytes' | 'tokens'>;
  readonly log: Logger;
  /** Aborts when the server is asked to stop: nothing waits any longer then. */
  readonly stopping: AbortSignal;
}

/** The server as a function of a request. */
export function createApp({ store, config: { maxBodyBytes, tokens }, log, stopping }: Parts) {
  const limits = limitsOf(maxBodyBytes);
  const cut = (c: RequestContext, error: unknown): void => {
    log.error({ err: error }, 'export failed');
    // The answer has begun: only a broken connection tells the caller that it is incomplete.
    c.env.outgoing.destroy();
  };
  const entry = createEntryRoutes(store, maxBodyBytes);
  const collection = createCollectionRoutes(store, maxBodyBytes, cut);
  const lists = createListRoutes(store);
  const importRoute = createImportRoute(store, limits, (error) => refusalOf(error, log));
  const app = new Hono<{ Bindings: Bindings }>({
    getPath: (request, options) => pathOf(options?.env?.incoming.url ?? request.url),
  });

  app.get('/health', createHealthRoute(store, limits, tokens.length > 0));

  app.get(`${KEY_PREFIX}keys`, compressed, needs('read', collection.keys));
  app.get(`${KEY_PREFIX}export`, compressed, needs('admin', collection.export));
  app.get(`${KEY_PREFIX}stats`, needs('read', collection.stats));
  app.post(`${KEY_PREFIX}clear`, needs('admin', collection.clear));
  app.post(`${KEY_PREFIX}import`, needs('admin', collection.import));
  app.get(KEY, needs('read', entry.read));
  app.put(KEY, needs('write', entry.write));
  app.post(KEY, needs('write', entry.write));
  app.delete(KEY, needs('write', entry.remove));

  // The scope that a batch needs is known when it has been read.
  app.post(`${LEVEL_1}batch`, compressed, createBatchRoute(store, limits));
  app.get(`${LEVEL_1}keys`, compressed, needs('read', lists.keys));
  app.get(`${LEVEL_1}stats`, needs('read', lists.stats));
  app.get(`${LEVEL_1}changes`, compressed, needs('read', createChangesRoute(store, stopping)));
  app.get(`${LEVEL_1}export`, compressed, needs('admin', createExportRoute(store, cut)));
  app.post(`${LEVEL_1}import`, needs('admin', importRoute));

  app.notFound((c) => notRouted(pathOf(c.env.incoming.url ?? '')));
  app.onError((error) => errorAnswer(error, log));
  return app;
}

/** The answer to what was thrown. */
export function errorAnswer(error: unknown, log: Logger): Response {
  const { status, message, details } = refusalOf(error, log);
  return failure(status, message, details);
}

/** What the caller is told of what was thrown; the rest is for the log. */
function refusalOf(error: unknown, log: Logger): Refusal {
  if (error instanceof Refusal) return error;
  log.error({ err: error }, 'request failed');
  if (error instanceof StoreError) return STORE_FAILURES[error.code];
  return new Refusal(500, 'The server failed; its log says why');
}

const AGAIN = { headers: { 'Retry-After': '1' } };

const STORE_FAILURES: Record<StoreErrorCode, Refusal> = {
  full: new Refusal(507, 'The disk is full'),
  busy: new Refusal(503, 'The database is busy', AGAIN),
  failed: new Refusal(503, 'The database failed; the log of the server says why', AGAIN),
};

function notRouted(path: string): Response {
  const allowed = METHODS[path] ?? (isKeyPath(path) ? 'GET, HEAD, PUT, POST, DELETE' : undefined);
  return allowed === undefined
    ? failure(404, 'Not found')
    : failure(405, 'Method not allowed', { headers: { Allow: allowed } });
}

function isKeyPath(path: string): boolean {
  return path.startsWith(KEY_PREFIX) && path !== KEY_PREFIX;
}
