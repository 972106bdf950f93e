/**
 * The routes, and what becomes of an error.
 *
 * `keys`, `export` and `stats` are routes of GET, `clear` and `import` of POST; with any other method these names are
 * keys like all others. `/api/storage` itself is no route: an old client sends DELETE there by mistake.
 */
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { type Store, StoreError, type StoreErrorCode } from '../store/store.ts';
import { answer, failure, Refusal } from './answers.ts';
import { createCollectionRoutes } from './collection-routes.ts';
import { createEntryRoutes } from './entry-routes.ts';
import { KEY_PREFIX, pathOf } from './keys.ts';

const KEY = `${KEY_PREFIX}:key{.+}`;

/** The server as a function of a request. */
export function createApp(store: Store, { maxBodyBytes }: Pick<Config, 'maxBodyBytes'>, log: Logger) {
  const entry = createEntryRoutes(store, maxBodyBytes);
  const collection = createCollectionRoutes(store, maxBodyBytes, log);
  const app = new Hono<{ Bindings: HttpBindings }>({
    getPath: (request, options) => pathOf(options?.env?.incoming.url ?? request.url),
  });

  app.get('/health', () => answer(JSON.stringify({ status: 'ok', timestamp: new Date().toISOString() })));
  app.get(`${KEY_PREFIX}keys`, collection.keys);
  app.get(`${KEY_PREFIX}export`, collection.export);
  app.get(`${KEY_PREFIX}stats`, collection.stats);
  app.post(`${KEY_PREFIX}clear`, collection.clear);
  app.post(`${KEY_PREFIX}import`, collection.import);
  app.get(KEY, entry.read);
  app.put(KEY, entry.write);
  app.post(KEY, entry.write);
  app.delete(KEY, entry.remove);

  app.notFound((c) => notRouted(pathOf(c.env.incoming.url ?? '')));
  app.onError((error) => errorAnswer(error, log));
  return app;
}

/** The answer to what was thrown. */
export function errorAnswer(error: unknown, log: Logger): Response {
  if (error instanceof Refusal) return failure(error.status, error.message);
  log.error({ err: error }, 'request failed');
  return error instanceof StoreError
    ? STORE_FAILURES[error.code]()
    : failure(500, 'The server failed; its log says why');
}

const STORE_FAILURES: Record<StoreErrorCode, () => Response> = {
  full: () => failure(507, 'The disk is full'),
  busy: () => failure(503, 'The database is busy', { 'Retry-After': '1' }),
  failed: () => failure(500, 'The database failed; the log of the server says why'),
};

function notRouted(path: string): Response {
  const allowed = allowedMethods(path);
  return allowed === undefined
    ? failure(404, 'Not found')
    : failure(405, 'Method not allowed', { Allow: allowed });
}

function allowedMethods(path: string): string | undefined {
  if (path === '/health') return 'GET, HEAD';
  return path.startsWith(KEY_PREFIX) && path !== KEY_PREFIX ? 'GET, HEAD, PUT, POST, DELETE' : undefined;
}
