/**
 * The route table, and the app: a function from a request to an answer.
 *
 * `keys`, `export` and `stats` are routes for GET, `clear` and `import` for POST. With any other method these names are
 * ordinary keys. `/api/storage` itself is not a route: old clients send `DELETE` there by mistake, and it must not clear
 * the data.
 *
 * Spec: docs/contract.md, 2, 3.2 and 9.3.
 */
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { Store } from '../store/store.ts';
import type { Callers } from './access/callers.ts';
import { requireScope } from './access/tokens.ts';
import type { Answer } from './answers.ts';
import { failure } from './errors.ts';
import { createCollectionHandlers } from './level0/collection.ts';
import { createEntryHandlers } from './level0/entry.ts';
import { createHealthHandler } from './level0/health.ts';
import { createBatchHandler } from './level1/batch.ts';
import { createChangesHandler } from './level1/changes.ts';
import { createExportHandler } from './level1/export.ts';
import { createImportHandler } from './level1/import.ts';
import { createListHandlers } from './level1/lists.ts';
import { createReadyHandler, live } from './probes.ts';
import type { App, IncomingRequest, Route } from './request.ts';
import { type BodyLimits, readJson } from './transport/body.ts';
import { compressed } from './transport/compression.ts';
import { limitsOf } from './transport/limits.ts';
import { KEY_PREFIX, pathOf } from './transport/target.ts';

/** The routes of one address by method. HEAD is answered as GET. */
type Methods = Readonly<Partial<Record<'GET' | 'PUT' | 'POST' | 'DELETE', Route>>>;

const LEVEL_1 = '/api/v1/';

/** What the app is made of. */
export interface AppParts {
  readonly store: Store;
  readonly config: Pick<Config, 'maxBodyBytes' | 'requiresCondition' | 'stallTime'>;
  readonly callers: Pick<Callers, 'needTokens'>;
  readonly log: Logger;
  /** Aborts when the server is asked to stop. It is not ready from then on. */
  readonly draining: AbortSignal;
  /** Aborts when the server accepts no more requests. Requests that wait for changes are then answered. */
  readonly stopping: AbortSignal;
}

export function createApp(parts: AppParts): App {
  const { key, fixed } = createRouteTable(parts);
  const { maxBodyBytes, stallTime } = parts.config;
  const bodies: BodyLimits = { maxBytes: maxBodyBytes, stallTime };
  return async (request) => {
    const { method = '', url = '' } = request.incoming;
    const path = pathOf(url);
    const methods = fixed.get(path) ?? (isKeyPath(path) ? key : undefined);
    if (methods === undefined) return failure(404, 'Not found');
    const route = methods[(method === 'HEAD' ? 'GET' : method) as keyof Methods];
    return route === undefined ? methodNotAllowed(methods) : run(route, request, bodies);
  };
}

function createRouteTable({
  store,
  config: { maxBodyBytes, requiresCondition, stallTime },
  callers,
  log,
  draining,
  stopping,
}: AppParts): {
  /** The routes of every key. */
  readonly key: Methods;
  /** The routes of all other addresses. */
  readonly fixed: ReadonlyMap<string, Methods>;
} {
  const limits = limitsOf(maxBodyBytes);
  const entry = createEntryHandlers(store, requiresCondition);
  const all = createCollectionHandlers(store);
  const lists = createListHandlers(store);

  const write: Route = { scope: 'write', readsJson: true, handle: entry.write };
  const key: Methods = {
    GET: { scope: 'read', handle: entry.read },
    PUT: write,
    POST: write,
    DELETE: { scope: 'write', handle: entry.remove },
  };
  const fixed = new Map<string, Methods>([
    [
      '/health',
      { GET: { isAlwaysServed: true, handle: createHealthHandler(store, limits, callers.needTokens) } },
    ],
    ['/live', { GET: { isAlwaysServed: true, handle: live } }],
    ['/ready', { GET: { isAlwaysServed: true, handle: createReadyHandler(store, draining) } }],

    [`${KEY_PREFIX}keys`, { ...key, GET: { scope: 'read', compress: true, handle: all.keys } }],
    [`${KEY_PREFIX}export`, { ...key, GET: { scope: 'admin', compress: true, handle: all.export } }],
    [`${KEY_PREFIX}stats`, { ...key, GET: { scope: 'read', handle: all.stats } }],
    [`${KEY_PREFIX}clear`, { ...key, POST: { scope: 'admin', handle: all.clear } }],
    [`${KEY_PREFIX}import`, { ...key, POST: { scope: 'admin', readsJson: true, handle: all.import } }],

    // A batch checks itself whether it needs a higher scope, when it knows its operations.
    [
      `${LEVEL_1}batch`,
      { POST: { scope: 'read', readsJson: true, compress: true, handle: createBatchHandler(store, limits) } },
    ],
    [`${LEVEL_1}keys`, { GET: { scope: 'read', compress: true, handle: lists.keys } }],
    [`${LEVEL_1}stats`, { GET: { scope: 'read', handle: lists.stats } }],
    [
      `${LEVEL_1}changes`,
      {
        GET: {
          scope: 'read',
          compress: true,
          handle: createChangesHandler({ store, stallTime, log, stopping }),
        },
      },
    ],
    [`${LEVEL_1}export`, { GET: { scope: 'admin', compress: true, handle: createExportHandler(store) } }],
    [
      `${LEVEL_1}import`,
      { POST: { scope: 'admin', handle: createImportHandler(store, limits, stallTime, log) } },
    ],
  ]);
  return { key, fixed };
}

async function run(
  { scope, readsJson, isAlwaysServed, compress, handle }: Route,
  request: IncomingRequest,
  bodies: BodyLimits,
): Promise<Answer> {
  if (scope !== undefined) requireScope(request.caller, scope);
  const text = readsJson ? await readJson(request.incoming, request.load, bodies) : '';
  if (!isAlwaysServed) request.load.work();
  const context = { ...request, text };
  const answer = await handle(context);
  return compress ? compressed(answer, context) : answer;
}

function methodNotAllowed(methods: Methods): Answer {
  const allowed = Object.keys(methods).flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : method));
  return failure(405, 'Method not allowed', { headers: { Allow: allowed.join(', ') } });
}

function isKeyPath(path: string): boolean {
  return path.startsWith(KEY_PREFIX) && path !== KEY_PREFIX;
}
