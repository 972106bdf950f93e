/**
 * Flask backend: a storage server over HTTP.
 *
 * It is recognised by the bodies of its answers, never by a status alone (docs/contract.md, Detection).
 */
import type { Backend } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { createHttp, type Http, isConnectionFailure, notOurs } from './flask-http.ts';
import { createLevel0 } from './flask-level0.ts';
import { entriesOnLevel0, runOnLevel0 } from './flask-level0-batch.ts';

/** Milliseconds that each request of the detection may take. */
const DETECTION_TIMEOUT = 2000;

/**
 * A backend over the server at `url`.
 *
 * @param url Its base URL, as `checkServerUrl` returned it: with a trailing slash.
 * @param timeout Milliseconds a request.
 */
export function createFlaskBackend(url: string, timeout: number): Backend {
  const controller = new AbortController();
  const http = createHttp(url, timeout, controller.signal);
  const level0 = createLevel0(http);
  return {
    type: 'flask',
    open: () => detect(http, url),
    run: (operations) => runOnLevel0(level0, operations),
    keys: level0.keys,
    entries: (prefix) => entriesOnLevel0(level0, prefix),
    stats: level0.stats,
    async close() {
      controller.abort();
    },
  };
}

/** Resolves when a storage server has answered. */
async function detect(http: Http, url: string): Promise<void> {
  const timeout = DETECTION_TIMEOUT;
  const health = await http({ method: 'GET', path: 'health', timeout }).catch(() => undefined);
  // A server of level 1 or more speaks level 0 too.
  if (health?.missing === false && health.json.status === 'ok' && Number(health.json.contract) >= 1) return;
  const path = 'api/storage/_health_check';
  try {
    const probe = await http({ method: 'GET', path, timeout });
    if (!probe.missing && !Object.hasOwn(probe.json, 'value'))
      throw notOurs(`GET ${url}${path}`, 'JSON without a value');
  } catch (error) {
    if (isConnectionFailure(error) && (await answersOpaquely(url))) {
      throw new StorageError(
        'unavailable',
        `${url} answers, but not to this page: likely CORS. Allow the origin ${globalThis.location?.origin} at the server (ALLOWED_ORIGINS).`,
        { cause: error },
      );
    }
    throw error;
  }
}

/** Whether something answers a request whose answer a page may not read: then it is CORS that stands between. */
async function answersOpaquely(url: string): Promise<boolean> {
  if (globalThis.location === undefined) return false;
  const options = {
    mode: 'no-cors',
    credentials: 'omit',
    signal: AbortSignal.timeout(DETECTION_TIMEOUT),
  } as const;
  return fetch(`${url}health`, options).then(
    () => true,
    () => false,
  );
}
