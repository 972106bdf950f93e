/**
 * Detection of a server that announces nothing: by its answer to a key (docs/contract.md, 12.1). With it comes what speaks level 0.
 */
import { StorageError } from '../core/errors.ts';
import { announced, askHealth, DETECTION_TIMEOUT, type Found } from './health.ts';
import type { Exchange } from './http.ts';
import { createHttp, isConnectionFailure } from './level0/http.ts';
import { ofStranger } from './messages.ts';

/**
 * Ask a server for a key.
 *
 * @param read Whether its `/health` had a whole answer.
 * @throws {StorageError} when it is no storage server, or does not answer.
 */
export async function probe(exchange: Exchange, url: string, read: boolean): Promise<Found> {
  const path = 'api/storage/_health_check';
  try {
    const probe = await createHttp(exchange)({ method: 'GET', path, timeout: DETECTION_TIMEOUT });
    if (!probe.missing && !Object.hasOwn(probe.json, 'value'))
      throw new StorageError('unavailable', ofStranger(`GET ${url}${path}`, 'JSON without a value'));
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
  // The server is there. If it was only that answer that was lost, the level must not depend on it.
  const health = read ? undefined : await askHealth(exchange);
  const found = announced(health, url);
  if (found) return found;
  const reason =
    read || health
      ? `${url}health announced no contract: level 0`
      : `${url}health could not be read, and ${url}${path} answered as level 0 does`;
  return { health: undefined, reason, read: read || health !== undefined };
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
