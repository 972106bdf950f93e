/**
 * The routes, and what becomes of an error.
 *
 * `keys`, `export` and `stats` are routes of GET, `clear` and `import` of POST; with any other method these names are
 * keys like all others. `/api/storage` itself is no route: an old client sends DELETE there by mistake.
 */
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { type Store, StoreError, type StoreErrorCode } from '../store/store.ts';
import { type Answer, failure, Refusal } from './answers.ts';
import { KEY_PREFIX, pathOf } from './keys.ts';
import { createCollectionRoutes } from './level0/collection.ts';
import { createEntryRoutes } from './level0/entry.ts';
import { createHealthRoute } from './level0/health.ts';
import { createBatchRoute } from './level1/batch.ts';
import { createChangesRoute } from './level1/changes.ts';
import { createExportRoute } from './level1/export.ts';
import { createImportRoute } from './level1/import.ts';
import { createListRoutes } from './level1/keys.ts';
import { needs, type Route } from './request.ts';
import { compressed } from './transport/compression.ts';
import { limitsOf } from './transport/limits.ts';

/** Of one address: a route for each method. HEAD is answered as GET. */
type Methods = Readonly<Partial<Record<'GET' | 'PUT' | 'POST' | 'DELETE', Route>>>;

const LEVEL_1 = '/api/v1/';

/** What the server is made of. */
export interface Parts {
  readonly store: Store;
  readonly config: Pick<Config, 'maxBodyBytes' | 'tokens'>;
  readonly log: Logger;
  /** Aborts when the server is asked to stop: nothing waits any longer then. */
  readonly stopping: AbortSignal;
}

/** The server as a function of a request. */
export function createApp({ store, config: { maxBodyBytes, tokens }, log, stopping }: Parts): Route {
  const limits = limitsOf(maxBodyBytes);
  const entry = createEntryRoutes(store, maxBodyBytes);
  const collection = createCollectionRoutes(store, maxBodyBytes);
  const lists = createListRoutes(store);
  const importRoute = createImportRoute(store, limits, (error) => refusalOf(error, log));
  const write = needs('write', entry.write);
  const key: Methods = {
    GET: needs('read', entry.read),
    PUT: write,
    POST: write,
    DELETE: needs('write', entry.remove),
  };
  const routes: ReadonlyMap<string, Methods> = new Map<string, Methods>([
    ['/health', { GET: createHealthRoute(store, limits, tokens.length > 0) }],

    [`${KEY_PREFIX}keys`, { ...key, GET: compressed(needs('read', collection.keys)) }],
    [`${KEY_PREFIX}export`, { ...key, GET: compressed(needs('admin', collection.export)) }],
    [`${KEY_PREFIX}stats`, { ...key, GET: needs('read', collection.stats) }],
    [`${KEY_PREFIX}clear`, { ...key, POST: needs('admin', collection.clear) }],
    [`${KEY_PREFIX}import`, { ...key, POST: needs('admin', collection.import) }],

    // The scope that a batch needs is known when it has been read.
    [`${LEVEL_1}batch`, { POST: compressed(createBatchRoute(store, limits)) }],
    [`${LEVEL_1}keys`, { GET: compressed(needs('read', lists.keys)) }],
    [`${LEVEL_1}stats`, { GET: needs('read', lists.stats) }],
    [`${LEVEL_1}changes`, { GET: compressed(needs('read', createChangesRoute(store, stopping))) }],
    [`${LEVEL_1}export`, { GET: compressed(needs('admin', createExportRoute(store))) }],
    [`${LEVEL_1}import`, { POST: needs('admin', importRoute) }],
  ]);

  return async (c) => {
    const { method = '', url = '' } = c.incoming;
    const path = pathOf(url);
    const methods = routes.get(path) ?? (isKeyPath(path) ? key : undefined);
    if (methods === undefined) return failure(404, 'Not found');
    const route = methods[(method === 'HEAD' ? 'GET' : method) as keyof Methods];
    return route === undefined ? methodNotAllowed(methods) : route(c);
  };
}

/** The answer to what was thrown. */
export function errorAnswer(error: unknown, log: Logger): Answer {
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

function methodNotAllowed(methods: Methods): Answer {
  const allowed = Object.keys(methods).flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : method));
  return failure(405, 'Method not allowed', { headers: { Allow: allowed.join(', ') } });
}

function isKeyPath(path: string): boolean {
  return path.startsWith(KEY_PREFIX) && path !== KEY_PREFIX;
}
