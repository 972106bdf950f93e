/**
 * Detection: whether a storage server answers, and which level it speaks (docs/contract.md, section 4 and 12.1).
 *
 * `/health` of a server of level 1 announces a contract. Any other server is recognised by its answer to a key.
 */

import { StorageError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { findLocation } from '../core/platform.ts';
import type { Exchange } from './http.ts';
import { isConnectionFailure, sendLevel0 } from './level0/protocol.ts';

/** What was found. */
export interface Found {
  /** What `/health` of a server of level 1 says; `undefined` for a server of level 0. */
  readonly health: JsonObject | undefined;
  /** Why, in words for people. */
  readonly reason: string;
  /** Whether `/health` had a whole answer: otherwise the server may speak a higher level. */
  readonly isHealthRead: boolean;
}

/** The time limit of each request of the detection, in milliseconds. */
const TIMEOUT_MS = 2000;

/** The capabilities that the SDK needs to speak level 1. */
const NEEDED = ['batch', 'keys'];

/**
 * Asks a server which level it speaks.
 *
 * @throws {StorageError} when it is not a storage server, or does not answer.
 */
export async function detect(exchange: Exchange, url: string): Promise<Found> {
  const health = await askHealth(exchange);
  return announced(health, url) ?? probe(exchange, url, health !== undefined);
}

/** What `/health` says, or `undefined` where the answer is not a storage server's, or not whole. */
async function askHealth(exchange: Exchange): Promise<JsonObject | undefined> {
  const reply = await exchange({
    method: 'GET',
    path: 'health',
    timeoutMs: TIMEOUT_MS,
    // A header of our own would cost a page a preflight, and some servers have no CORS headers here.
    isAnonymous: true,
    answerOf: (json) => (json.status === 'ok' ? json : undefined),
  });
  return reply.ok ? reply.answer : undefined;
}

/** What a `/health` announces, if it names a contract. */
function announced(health: JsonObject | undefined, url: string): Found | undefined {
  const contract = Number(health?.contract);
  if (!(contract >= 1)) return undefined;
  const capabilities = health?.capabilities;
  const missing = NEEDED.filter((name) => !(Array.isArray(capabilities) && capabilities.includes(name)));
  const reason = `${url}health announced contract ${contract}`;
  return missing.length === 0
    ? { health, reason, isHealthRead: true }
    : {
        health: undefined,
        reason: `${reason} without ${missing.join(' and ')}: level 0`,
        isHealthRead: true,
      };
}

/** Asks a server that announced nothing for a key. */
async function probe(exchange: Exchange, url: string, isHealthRead: boolean): Promise<Found> {
  const path = 'api/storage/_health_check';
  try {
    await sendLevel0(exchange, {
      method: 'GET',
      path,
      timeoutMs: TIMEOUT_MS,
      answerOf: (json) => Object.hasOwn(json, 'value') || undefined,
    });
  } catch (error) {
    if (isConnectionFailure(error) && (await answersOpaquely(url))) {
      throw new StorageError(
        'unavailable',
        `${url} answers, but this page may not read the answer, which is usually CORS. Allow the origin ${findLocation()?.origin} at the server (ALLOWED_ORIGINS).`,
        { cause: error },
      );
    }
    throw error;
  }
  // The server is there. If only the answer of /health was lost, the level must not depend on that.
  const health = isHealthRead ? undefined : await askHealth(exchange);
  const reason =
    isHealthRead || health
      ? `${url}health announced no contract: level 0`
      : `${url}health could not be read, and the server answers as level 0 does`;
  return (
    announced(health, url) ?? {
      health: undefined,
      reason,
      isHealthRead: isHealthRead || health !== undefined,
    }
  );
}

/** Whether a server answers a request whose answer a page may not read: then CORS is in the way. */
async function answersOpaquely(url: string): Promise<boolean> {
  if (findLocation() === undefined) return false;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return fetch(`${url}health`, { mode: 'no-cors', credentials: 'omit', signal }).then(
    () => true,
    () => false,
  );
}
