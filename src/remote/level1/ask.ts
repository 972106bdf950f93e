/**
 * One request of level 1, and what is done when its answer is lost (docs/contract.md, 12.4).
 *
 * What a lost answer needs is loaded as soon as a server has answered once, so that it is there when the network is not. Where it
 * is not there the answer stays lost: what was sent is in doubt, and nothing else changes.
 */
import type { StorageError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import { type Exchange, type Failure, type HttpRequest, strange, within } from '../http.ts';

/** What a request came to, all its resends included. */
export type Sent<T> = { readonly answer: T; readonly error?: undefined } | Unanswered;

/** A request without the answer that was asked for. */
export interface Unanswered {
  readonly answer?: undefined;
  readonly error: StorageError;
  /** The status of a refusal that the server itself gave; `undefined` where the answer was lost. */
  readonly refused: number | undefined;
  /** The `type` of a refusal (9.2). */
  readonly type: unknown;
  /** Whether the server may have carried it out, or may still do so. */
  readonly inDoubt: boolean;
}

/** What one attempt came to. */
export type Attempt<T> = { readonly answer: T; readonly error?: undefined } | Failure;

/** Sends requests of level 1. `check` returns what an answer holds, or `undefined` when it is not a whole one. */
export type Ask = <T>(request: HttpRequest, check: (json: JsonObject) => T | undefined) => Promise<Sent<T>>;

/** Milliseconds for which that is waited for at least, since without it a refusal is not told from a lost answer. */
const LOADING = 1000;

/** A sender that gives each request `timeout` ms, all its resends, pauses and bodies included. */
export function createAsk(exchange: Exchange, timeout: number, signal: AbortSignal): Ask {
  const recovery = () => import('../recovery.ts').catch(() => undefined);
  let atHand = false;
  return async (request, check) => {
    const deadline = performance.now() + timeout;
    const attempt = async (limit: number): Promise<Attempt<NonNullable<ReturnType<typeof check>>>> => {
      const reply = await exchange({ ...request, timeout: limit });
      if (!reply.ok) return reply;
      const answer = check(reply.json);
      return answer === undefined || answer === null
        ? strange(`${request.method} ${request.path}`, 'JSON that is no answer to it')
        : { answer };
    };
    const first = await attempt(timeout);
    if ('ok' in first) {
      const loaded = await within(Math.max(LOADING, deadline - performance.now()), recovery(), signal);
      return loaded
        ? loaded.resend(attempt, first, deadline, signal)
        : { error: await first.error(), refused: undefined, type: undefined, inDoubt: first.sent };
    }
    if (!atHand) void recovery();
    atHand = true;
    return first;
  };
}
