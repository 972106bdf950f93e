/**
 * Flask backend: a storage server over HTTP.
 *
 * The first call detects the server, and the highest level of the contract that both sides speak (docs/contract.md, section 4).
 */
import {
  type AtomicPart,
  type Backend,
  type Outcome,
  outcomeOfClear,
  type Protocol,
  runWithClears,
  type Snapshot,
} from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import type { Token } from '../core/options.ts';
import { isUnbounded } from '../core/order.ts';
import { type Deadline, remainingMs } from '../core/time.ts';
import { detect, type Found } from './detection.ts';
import { askToken, createExchange, type Exchange } from './http.ts';
import { createLevel0Protocol } from './level0/batches.ts';
import { createLevel1Protocol, type Protocol1 } from './level1/operations.ts';
import type {
  BatchAnswer,
  KnownAccount,
  Level1,
  Mutation,
  Observer,
  Result,
  Settled,
} from './level1/protocol.ts';

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
  /** As `atomic`, with one outcome for each part: all are fulfilled or all are rejected. */
  runAtomic(parts: readonly AtomicPart[], deadline?: Deadline): Promise<Outcome[]>;
  check(key: string, value: Snapshot): Promise<void>;
  /** What the last successful detection found. */
  readonly detected: () => Detected | undefined;
  /** The requests of level 1, if the server speaks it. */
  readonly level1: () => Level1 | undefined;
  /**
   * Asks a server of level 1 for its state and for the account of the token, and goes on with the data of that account.
   *
   * The calls under way stay calls for the data of the account before, and reject if the server does not carry them out for it. What
   * was in doubt then stays in doubt until the token is for that account again.
   *
   * @returns `undefined` on level 0.
   */
  handshake(limitMs?: number): Promise<Settled<BatchAnswer>> | undefined;
  /**
   * Gives up a mutation of level 1 that may still arrive.
   *
   * @returns Its results, if it was applied.
   * @throws {StorageError} if the server does not answer.
   */
  settle(): Promise<readonly Result[]>;
  /** Says that the outbox holds the writes of a mutation in doubt, and voids it. */
  release(mutation: Mutation): void;
  /** When the server has last stored a value, in milliseconds since 1970; 0 if it has stored none. */
  readonly storedAtMs: () => number;
  /** How long the server has asked to wait, in milliseconds from now (`Retry-After`). */
  readonly askedToWaitMs: () => number;
}

/** A key that apps do not use. */
const PROBE = '_health_check';

/** Asks a server of level 0 something that changes nothing. Returns why it does not answer, or `undefined` if it does. */
export const probeLevel0 = ({ run }: FlaskBackend, limitMs: number): Promise<StorageError | undefined> =>
  run([{ type: 'has', key: PROBE }], { deadline: performance.now() + limitMs }).then(
    ([outcome]) => (outcome?.status === 'rejected' ? outcome.reason : undefined),
    (error) => error,
  );

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
  let storedAtMs = 0;
  const send = createExchange(url, timeout, signal, token);
  const exchange: Exchange = async (request) => {
    const reply = await send(request);
    askedToWaitUntil = reply.ok ? 0 : performance.now() + reply.retryAfterMs;
    return reply;
  };
  let detected: Detected | undefined;
  let current: Protocol1 | undefined;
  /** The protocols of the accounts that the token was for, each with a client of its own. */
  const others = new Map<string | undefined, Protocol1>();
  let create: ((known?: KnownAccount) => Protocol1) | undefined;
  let protocol: Promise<Protocol> | undefined;

  function use({ level, health, reason, isHealthRead }: Found): Protocol {
    if (level === undefined) throw new StorageError('unavailable', reason);
    detected = { level, reason, isHealthRead };
    others.clear();
    current = create = undefined;
    if (health === undefined) return createLevel0Protocol(exchange, url);
    const ask = typeof token === 'function' ? () => askToken(token, timeout, signal) : undefined;
    create = (known) => createLevel1Protocol(exchange, timeout, health, { askToken: ask, known, observer });
    current = create();
    return current;
  }

  async function handshake(asked: Protocol1, limitMs?: number): Promise<Settled<BatchAnswer>> {
    const sent = await asked.level1.batch({ isForAnyAccount: true }, [], limitMs);
    const known = asked.level1.account();
    if (!sent.answer || sent.answer.account === known || current !== asked || !create) return sent;
    const { account } = sent.answer;
    others.set(known, asked);
    current = others.get(account) ?? create({ account });
    protocol = Promise.resolve(current);
    return sent;
  }
  /** Detects the server once. A detection that failed is repeated by the next call. */
  const opened = (limitMs = timeout): Promise<Protocol> => {
    protocol ??= detect(exchange, url, limitMs)
      .then(use)
      .catch((error) => {
        protocol = undefined;
        throw error;
      });
    return protocol;
  };

  const backend: FlaskBackend = {
    type: 'flask',
    detected: () => detected,
    level1: () => current?.level1,
    handshake: (limitMs) => current && handshake(current, limitMs),
    settle: async () => current?.settle() ?? [],
    release: (mutation) => current?.release(mutation),
    storedAtMs: () => storedAtMs,
    askedToWaitMs: () => Math.max(0, askedToWaitUntil - performance.now()),
    async open(deadline) {
      const limitMs = deadline === undefined ? timeout : Math.min(timeout, remainingMs(deadline));
      const isFirst = protocol === undefined;
      await opened(limitMs);
      if (isFirst) return;
      // A second open() asks whether the server answers now. It may have been upgraded meanwhile. Only a whole answer of /health
      // changes the level, because the other protocol does not know which writes of this one are in doubt.
      const found = await detect(exchange, url, limitMs);
      if (!found.isHealthRead) return;
      if (found.level === undefined || found.level === detected?.level)
        detected = detected && { ...detected, reason: found.reason, isHealthRead: true };
      else protocol = Promise.resolve(use(found));
    },
    async run(operations, { deadline } = {}) {
      const { run, deletesOf } = await opened();
      return runWithClears(
        operations,
        async (part) => {
          const outcomes = await run(part, deadline);
          if (part.some(({ type }, i) => type === 'put' && outcomes[i]?.status === 'fulfilled'))
            storedAtMs = Date.now();
          return outcomes;
        },
        async (prefix) => outcomeOfClear(await run(await deletesOf(prefix, deadline), deadline)),
      );
    },
    async atomic(parts, deadline) {
      const outcomes = await backend.runAtomic(parts, deadline);
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    },
    async runAtomic(parts, deadline) {
      const { atomic } = await opened();
      if (!atomic)
        throw new StorageError(
          'unsupported',
          'This server has no revisions (level 0), so atomic() cannot work there: use set() and delete().',
        );
      return atomic(parts, deadline);
    },
    deletesOf: async (prefix, deadline) => (await opened()).deletesOf(prefix, deadline),
    keys: async (range, deadline) => (await opened()).keys(range, deadline),
    async *entries(range) {
      yield* (await opened()).entries(range);
    },
    stats: async (deadline) => (await opened()).stats(deadline),
    async count(range, deadline) {
      const protocol = await opened();
      return isUnbounded(range)
        ? (await protocol.stats(deadline)).keys
        : (await protocol.keys(range, deadline)).length;
    },
    check: async (key, value) => (await opened()).check(key, value),
    async close() {
      controller.abort();
    },
  };
  return backend;
}
