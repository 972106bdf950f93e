/**
 * Flask backend: a storage server over HTTP.
 *
 * It is recognised by the bodies of its answers, never by a status alone, and spoken to at the highest level that both know
 * (docs/contract.md, Detection). The code of a level is loaded when a server turns out to speak it.
 */
import type { Backend, Protocol, Snapshot } from '../core/backend.ts';
import { load } from '../core/load.ts';
import type { Token } from '../core/token.ts';
import { announced, askHealth, type Found } from './health.ts';
import { createExchange, type Exchange } from './http.ts';
import type { Level1, Observer } from './level1/protocol.ts';

/** What the detection found. */
export interface Detected {
  readonly level: 0 | 1;
  /** Why, in words. */
  readonly reason: string;
  /** Whether `/health` had a whole answer: else the level may be a higher one. */
  readonly read: boolean;
}

/** A storage server. */
export interface FlaskBackend extends Backend {
  check(key: string, value: Snapshot): Promise<void>;
  /** What the last detection that succeeded found. */
  readonly detected: () => Detected | undefined;
  /** The requests of level 1, while that is spoken. */
  readonly level1: () => Level1 | undefined;
  /** Milliseconds that the server has asked to be left alone for. */
  readonly askedToWaitMs: () => number;
}

/**
 * A backend over the server at `url`.
 *
 * @param url Its base URL, as `checkServerUrl` returned it: with a trailing slash.
 * @param timeout Milliseconds a request.
 * @param observer Told what the server answers on level 1.
 */
export function createFlaskBackend(
  url: string,
  timeout: number,
  token?: Token,
  observer?: Observer,
): FlaskBackend {
  const controller = new AbortController();
  const { signal } = controller;
  let askedToWaitUntil = 0;
  const send = createExchange(url, timeout, signal, token);
  const exchange: Exchange = async (request) => {
    const reply = await send(request);
    askedToWaitUntil = reply.ok ? 0 : performance.now() + reply.retryAfterMs;
    return reply;
  };
  let detected: Detected | undefined;
  let level1: Level1 | undefined;
  let protocol: Promise<Protocol> | undefined;

  async function use({ health, reason, read }: Found): Promise<Protocol> {
    detected = { level: health === undefined ? 0 : 1, reason, read };
    level1 = undefined;
    if (health === undefined) {
      const { createProtocol } = await load(import('./level0/batch.ts'));
      return createProtocol(exchange);
    }
    const { createProtocol } = await load(import('./level1/batch.ts'));
    const made = createProtocol(exchange, timeout, signal, health, observer);
    level1 = made.level1;
    return made;
  }
  /** Asks the server once, unless that failed. */
  const opened = (): Promise<Protocol> => {
    protocol ??= retryable(detect(exchange, url).then(use));
    return protocol;
  };
  /** What failed is not remembered. */
  const retryable = (using: Promise<Protocol>): Promise<Protocol> =>
    using.catch((error) => {
      protocol = undefined;
      throw error;
    });

  return {
    type: 'flask',
    detected: () => detected,
    level1: () => level1,
    askedToWaitMs: () => Math.max(0, askedToWaitUntil - performance.now()),
    async open() {
      const known = protocol !== undefined;
      await opened();
      if (!known) return;
      // Whoever asks again wants to know whether it answers now, and it may have been upgraded since. Only /health itself says
      // that: another protocol knows nothing of the writes that this one has in doubt.
      const found = await detect(exchange, url);
      const other = (found.health !== undefined) !== (detected?.level === 1);
      if (found.read && other) protocol = retryable(use(found));
      await protocol;
    },
    run: async (operations) => (await opened()).run(operations),
    keys: async (prefix) => (await opened()).keys(prefix),
    async *entries(prefix, after) {
      yield* (await opened()).entries(prefix, after);
    },
    stats: async () => (await opened()).stats(),
    count: async () => (await (await opened()).stats()).keys,
    check: async (key, value) => (await opened()).check(key, value),
    async close() {
      controller.abort();
    },
  };
}

/**
 * Ask a server who it is.
 *
 * @throws {StorageError} when it is no storage server, or does not answer.
 */
async function detect(exchange: Exchange, url: string): Promise<Found> {
  const health = await askHealth(exchange);
  const found = announced(health, url);
  if (found) return found;
  const { probe } = await load(import('./level0/batch.ts'));
  return probe(exchange, url, health !== undefined);
}
