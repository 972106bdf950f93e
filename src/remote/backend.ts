/**
 * Flask backend: a storage server over HTTP.
 *
 * The first call detects the server, and the highest level of the contract that both sides speak (docs/contract.md, section 4).
 */
import {
  type Backend,
  outcomeOfClear,
  type Protocol,
  runWithClears,
  type Snapshot,
} from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import type { Token } from '../core/options.ts';
import { isUnbounded } from '../core/order.ts';
import { detect, type Found } from './detection.ts';
import { createExchange, type Exchange } from './http.ts';
import { createLevel0Protocol } from './level0/batches.ts';
import { createLevel1Protocol } from './level1/operations.ts';
import type { Level1, Observer } from './level1/protocol.ts';

/** A server that was detected. */
export interface Detected {
  readonly level: 0 | 1;
  /** Why, in words for people. */
  readonly reason: string;
  /** Whether `/health` had a whole answer: otherwise the server may speak a higher level. */
  readonly isHealthRead: boolean;
}

/** A storage server. */
export interface FlaskBackend extends Backend, Pick<Protocol, 'deletesOf'> {
  check(key: string, value: Snapshot): Promise<void>;
  /** What the last successful detection found. */
  readonly detected: () => Detected | undefined;
  /** The requests of level 1, if the server speaks it. */
  readonly level1: () => Level1 | undefined;
  /** Gives up a write of level 1 that may still arrive. @throws {StorageError} if the server does not answer. */
  settle(): Promise<void>;
  /** How long the server has asked to wait, in milliseconds from now (`Retry-After`). */
  readonly askedToWaitMs: () => number;
}

/**
 * A backend over the server at `url`.
 *
 * @param url Its base URL, as `checkServerUrl` returned it: with a trailing slash.
 * @param timeout Milliseconds for each request.
 * @param observer Is told what the server answers on level 1.
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
  let settle = async (): Promise<void> => {};
  let protocol: Promise<Protocol> | undefined;

  function use({ level, health, reason, isHealthRead }: Found): Protocol {
    if (level === undefined) throw new StorageError('unavailable', reason);
    detected = { level, reason, isHealthRead };
    level1 = undefined;
    settle = async () => {};
    if (health === undefined) return createLevel0Protocol(exchange, url);
    const created = createLevel1Protocol(exchange, timeout, health, observer);
    level1 = created.level1;
    settle = created.settle;
    return created;
  }
  /** Detects the server once. A detection that failed is repeated by the next call. */
  const opened = (): Promise<Protocol> => {
    protocol ??= detect(exchange, url, timeout)
      .then(use)
      .catch((error) => {
        protocol = undefined;
        throw error;
      });
    return protocol;
  };

  return {
    type: 'flask',
    detected: () => detected,
    level1: () => level1,
    settle: () => settle(),
    askedToWaitMs: () => Math.max(0, askedToWaitUntil - performance.now()),
    async open() {
      const isFirst = protocol === undefined;
      await opened();
      if (isFirst) return;
      // A second open() asks whether the server answers now. It may have been upgraded meanwhile. Only a whole answer of /health
      // changes the level, because the other protocol does not know which writes of this one are in doubt.
      const found = await detect(exchange, url, timeout);
      if (!found.isHealthRead) return;
      if (found.level === undefined || found.level === detected?.level)
        detected = detected && { ...detected, reason: found.reason, isHealthRead: true };
      else protocol = Promise.resolve(use(found));
    },
    async run(operations) {
      const protocol = await opened();
      return runWithClears(operations, protocol.run, async (prefix) =>
        outcomeOfClear(await protocol.run(await protocol.deletesOf(prefix))),
      );
    },
    async atomic(parts) {
      const { atomic } = await opened();
      if (!atomic)
        throw new StorageError(
          'unsupported',
          'This server has no revisions (level 0), so atomic() cannot work there: use set() and delete().',
        );
      await atomic(parts);
    },
    deletesOf: async (prefix) => (await opened()).deletesOf(prefix),
    keys: async (range) => (await opened()).keys(range),
    async *entries(range) {
      yield* (await opened()).entries(range);
    },
    stats: async () => (await opened()).stats(),
    async count(range) {
      const protocol = await opened();
      return isUnbounded(range) ? (await protocol.stats()).keys : (await protocol.keys(range)).length;
    },
    check: async (key, value) => (await opened()).check(key, value),
    async close() {
      controller.abort();
    },
  };
}
