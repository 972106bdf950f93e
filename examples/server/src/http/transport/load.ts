/**
 * Limits on what callers use at once: requests that are worked on, requests that wait for changes, and memory for bodies.
 *
 * One tenant and one address use at most half of a limit, so none of them can lock out all others. On a server without
 * tokens all callers are one tenant, and only the address counts. A body is received before its request counts as worked on:
 * a client that sends slowly uses some memory, and nothing that other requests need.
 *
 * Spec: docs/contract.md, 9 (503).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../access/tokens.ts';
import { tooManyRequests } from '../errors.ts';
import type { RateLimit } from './rate.ts';

/** Bytes of a body that counts as small. Small bodies have their own memory, so that large ones cannot use it up. */
const SMALL_BODY = 64 * 1024;

const MEBIBYTE = 1024 * 1024;

/** Whom a request counts for. */
interface User {
  /** `undefined` on a server without tokens. */
  readonly tenant: string | undefined;
  readonly network: string;
}

/** What one request uses of a limit. */
interface Usage {
  /** Uses `amount` more. Returns `false`, and changes nothing, if that is over the limit. */
  add(amount: number): boolean;
  /** Gives everything back. */
  release(): void;
}

/** One limit. */
interface Quota {
  use(user: User): Usage;
}

/** What a request uses. Everything is given back when the answer is sent or the caller is gone. */
export interface RequestLoad {
  /** Counts the request as worked on. @throws {HttpError} 503 at the limit; 429 if the caller makes too many requests. */
  work(): void;
  /** Counts the request as waiting for changes, and no longer as worked on. @throws {HttpError} 503 at the limit. */
  wait(): void;
  /**
   * Takes memory for a body, or for another part of it.
   *
   * @param announced Bytes of the whole body, if the client has said so.
   * @throws {HttpError} 503 at the limit.
   */
  receive(bytes: number, announced?: number): void;
}

/** Starts to count for a request. */
export type LoadLimits = (
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  caller: Caller | undefined,
) => RequestLoad;

/**
 * @param maxRequests Requests that are worked on at once.
 * @param maxWaiting Requests that wait for changes at once.
 * @param maxBodyBytes Bytes of one body. One caller can always send one.
 * @param rate Requests of one caller in a second.
 */
export function createLoadLimits(
  maxRequests: number,
  maxWaiting: number,
  maxBodyBytes: number,
  rate?: RateLimit,
): LoadLimits {
  const working = createQuota(maxRequests);
  const waiting = createQuota(maxWaiting);
  const smallBodies = createQuota(64 * MEBIBYTE);
  const largeBodies = createQuota(Math.max(128 * MEBIBYTE, 2 * maxBodyBytes));

  return (incoming, outgoing, caller) => {
    const user: User = { tenant: caller?.account, network: networkOf(incoming.socket.remoteAddress ?? '') };
    const used = new Map<Quota, Usage>();
    outgoing.once('close', () => {
      for (const usage of used.values()) usage.release();
    });
    const add = (quota: Quota, amount: number): void => {
      let usage = used.get(quota);
      if (usage === undefined) {
        // The caller is gone, and nothing would give it back.
        if (outgoing.closed) return;
        usage = quota.use(user);
        used.set(quota, usage);
      }
      if (!usage.add(amount)) throw tooManyRequests();
    };
    return {
      work() {
        rate?.(user.tenant ?? user.network);
        add(working, 1);
      },
      wait() {
        add(waiting, 1);
        used.get(working)?.release();
      },
      receive(bytes, announced = Number.POSITIVE_INFINITY) {
        add(announced <= SMALL_BODY ? smallBodies : largeBodies, bytes);
      },
    };
  };
}

function createQuota(total: number): Quota {
  const share = Math.ceil(total / 2);
  let used = 0;
  const byUser = new Map<string, number>();
  const count = (name: string, amount: number): void => {
    const now = (byUser.get(name) ?? 0) + amount;
    if (now === 0) byUser.delete(name);
    else byUser.set(name, now);
  };

  return {
    use({ tenant, network }) {
      const names =
        tenant === undefined ? [`address ${network}`] : [`address ${network}`, `tenant ${tenant}`];
      let own = 0;
      const change = (amount: number): void => {
        own += amount;
        used += amount;
        for (const name of names) count(name, amount);
      };
      return {
        add(amount) {
          const fits = (name: string): boolean => (byUser.get(name) ?? 0) + amount <= share;
          if (used + amount > total || !names.every(fits)) return false;
          change(amount);
          return true;
        },
        release: () => change(-own),
      };
    },
  };
}

/** An IPv4 address, or the first 64 bits of an IPv6 address: one machine usually has all addresses that begin with them. */
function networkOf(address: string): string {
  const ipv4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (ipv4 !== undefined || !address.includes(':')) return ipv4 ?? address;
  const [start = '', end] = address.replace(/%.*$/, '').split('::');
  const before = start === '' ? [] : start.split(':');
  const after = end ? end.split(':') : [];
  const zeros = end === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array.from({ length: zeros }, () => '0'), ...after].slice(0, 4).join(':');
}
