/**
 * What a server's `/health` says, and whether that is level 1 (docs/contract.md, Detection).
 */
import type { JsonObject } from '../core/json.ts';
import type { Exchange } from './http.ts';

/** What `/health` of a server of level 1 says, or nothing, and what was found in words. */
export interface Found {
  readonly health: JsonObject | undefined;
  readonly reason: string;
  /** Whether `/health` had a whole answer. */
  readonly read: boolean;
}

/** Milliseconds that each request of the detection may take. */
export const DETECTION_TIMEOUT = 2000;

/** What level 1 is spoken through: without these there is none for the SDK. */
const NEEDED = ['batch', 'keys'];

/** What `/health` says, or `undefined` where it is no storage server's whole answer. */
export async function askHealth(exchange: Exchange): Promise<JsonObject | undefined> {
  // A header of our own would cost a page a preflight, and some servers have no CORS headers here.
  const reply = await exchange({
    method: 'GET',
    path: 'health',
    timeout: DETECTION_TIMEOUT,
    anonymous: true,
  });
  return reply.ok && reply.json.status === 'ok' ? reply.json : undefined;
}

/** What a `/health` announces, where it names a contract. */
export function announced(health: JsonObject | undefined, url: string): Found | undefined {
  const contract = Number(health?.contract);
  if (!(contract >= 1)) return undefined;
  const has = health?.capabilities;
  const missing = NEEDED.filter((name) => !(Array.isArray(has) && has.includes(name)));
  const reason = `${url}health announced contract ${contract}`;
  return missing.length === 0
    ? { health, reason, read: true }
    : { health: undefined, reason: `${reason} without ${missing.join(' and ')}: level 0`, read: true };
}
