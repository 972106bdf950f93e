/**
 * Detection: whether a storage server answers, and which level it speaks (docs/contract.md, section 4 and 12.1).
 *
 * A level is concluded only from answers that only a server of that level gives. `/health` of a server of level 1 announces a contract.
 * A server of level 0 answers to a key, and has an answer of its own to `/health`: one without a contract, a page, or a 404. An error
 * of a proxy says nothing of the level.
 */

import { StorageError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import { findLocation } from '../core/platform.ts';
import type { Exchange, Failure, Reply } from './http.ts';
import { isConnectionFailure, sendLevel0 } from './level0/protocol.ts';

/** What was found. */
export interface Found {
  /** `undefined` where a storage server answers, but not with its level. */
  readonly level: 0 | 1 | undefined;
  /** What `/health` of a server of level 1 says; `undefined` for a server of level 0. */
  readonly health: JsonObject | undefined;
  /** Why, in words for people. */
  readonly reason: string;
  /** Whether `/health` had a whole answer: otherwise the server may speak a higher level. */
  readonly isHealthRead: boolean;
}

/** The time limit of each request of the detection, in milliseconds. */
const TIMEOUT_MS = 2000;
/** A route of level 1. A server of level 0 answers it with 404, and its answers to routes may be readable where `/health` is not. */
const LEVEL1_ROUTE = 'api/v1/keys?limit=1';

/** The capabilities that the SDK needs to speak level 1. */
const NEEDED = ['batch', 'keys'];

/**
 * Asks a server which level it speaks.
 *
 * @param limitMs Milliseconds for all requests together.
 * @throws {StorageError} when it is not a storage server, or does not answer.
 */
export async function detect(send: Exchange, url: string, limitMs: number): Promise<Found> {
  const deadline = performance.now() + limitMs;
  const exchange: Exchange = (request) =>
    send({
      ...request,
      timeoutMs: Math.min(TIMEOUT_MS, deadline - performance.now()),
      sharedLimitMs: Math.min(TIMEOUT_MS, limitMs),
    });
  const health = await askHealth(exchange);
  const found = health.ok ? announced(health.answer, url) : undefined;
  if (found) return found;
  await askKey(exchange, url);
  return health.ok ? level0(`${url}health announced no contract: level 0`, true) : askAgain(exchange, url);
}

/** What `/health` says, if the answer is a storage server's and whole. */
const askHealth = (exchange: Exchange): Promise<Reply<JsonObject>> =>
  exchange({
    method: 'GET',
    path: 'health',
    // A header of our own would cost a page a preflight, and some servers have no CORS headers here.
    isAnonymous: true,
    answerOf: (json) => (json.status === 'ok' ? json : undefined),
  });

const level0 = (reason: string, isHealthRead: boolean): Found => ({
  level: 0,
  health: undefined,
  reason,
  isHealthRead,
});

/** What a `/health` announces, if it names a contract. */
function announced(health: JsonObject, url: string): Found | undefined {
  const contract = Number(health.contract);
  if (!(contract >= 1)) return undefined;
  const { capabilities } = health;
  const missing = NEEDED.filter((name) => !(Array.isArray(capabilities) && capabilities.includes(name)));
  const reason = `${url}health announced contract ${contract}`;
  return missing.length === 0
    ? { level: 1, health, reason, isHealthRead: true }
    : level0(`${reason} without ${missing.join(' and ')}: level 0`, true);
}

/**
 * Asks a server that announced nothing for a key.
 *
 * @throws {StorageError} if the answer is not a storage server's.
 */
async function askKey(exchange: Exchange, url: string): Promise<void> {
  try {
    await sendLevel0(exchange, {
      method: 'GET',
      path: 'api/storage/_health_check',
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
}

/** Asks a storage server once more whose `/health` was not read. */
async function askAgain(exchange: Exchange, url: string): Promise<Found> {
  const health = await askHealth(exchange);
  if (health.ok)
    return announced(health.answer, url) ?? level0(`${url}health announced no contract: level 0`, true);
  if (isForeign(health) || (await lacksLevel1(exchange, health)))
    return level0(`${url}health is not a storage server's, and the server answers as level 0 does`, false);
  return {
    level: undefined,
    health: undefined,
    reason: `${url} is a storage server, but it does not say of which level: ${health.error.message}`,
    isHealthRead: false,
  };
}

/** Whether an answer to `/health` is a whole one of something that is not a storage server's `/health`. */
const isForeign = (health: Failure): boolean => health.status === 404 || health.isForeign;

/** Whether a server whose `/health` cannot be read, as where it has no CORS headers, knows no route of level 1. */
async function lacksLevel1(exchange: Exchange, health: Failure): Promise<boolean> {
  if (health.status !== undefined && health.status >= 400) return false;
  const reply = await exchange({
    method: 'GET',
    path: LEVEL1_ROUTE,
    isAnonymous: true,
    answerOf: (json) => json,
  });
  return !reply.ok && reply.status === 404;
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
