/**
 * Operations of a backend → operations of the level-1 protocol → outcomes, in the program's order.
 *
 * Updates that follow each other are carried out together, after all operations before them and before all operations after them.
 */
import type { Condition, Outcome, Protocol, ProtocolOperation } from '../../core/backend.ts';
import { fulfilled, rejected } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { isObject, type JsonObject } from '../../core/json.ts';
import type { Deadline } from '../../core/time.ts';
import type { Exchange } from '../http.ts';
import { runAtomic } from './atomic.ts';
import { conflictOf, createDelivery, type Delivery, entryOf, errorOf, lostOf } from './batches.ts';
import { createLists } from './lists.ts';
import { BatchFailure, createWriter } from './mutations.ts';
import {
  createLevel1,
  type Delivered,
  type Level1,
  type Level1Options,
  type Limits,
  type Mutation,
  type Observer,
  type Result,
  type WireOp,
} from './protocol.ts';
import { runUpdates, type Update } from './update.ts';

/** The protocol, and its requests. */
export interface Protocol1 extends Protocol {
  readonly level1: Level1;
  /** Voids a mutation in doubt. Resolves with its results, if it was applied. @throws {StorageError} if the server does not answer. */
  settle(): Promise<readonly Result[]>;
  /** Says that the outbox voids a mutation in doubt. */
  release(mutation: Mutation): void;
}

/**
 * Level 1 over `exchange`.
 *
 * @param timeout Milliseconds for a batch that has no deadline.
 * @param health What `/health` of the server says.
 */
export function createLevel1Protocol(
  exchange: Exchange,
  timeout: number,
  health: JsonObject,
  { observer, ...caller }: Pick<Level1Options, 'askToken' | 'known'> & { observer?: Observer | undefined },
): Protocol1 {
  const epoch = typeof health.epoch === 'string' ? health.epoch : undefined;
  const limits = limitsOf(health);
  const has = (capability: string): boolean =>
    Array.isArray(health.capabilities) && health.capabilities.includes(capability);
  const level1 = createLevel1({
    exchange,
    epoch,
    limits,
    tellsChanges: has('changes'),
    streamsChanges: has('changes') && has('sse'),
    ...caller,
  });
  const writer = createWriter(level1, observer);
  const delivery = createDelivery(writer, limits);
  const deliveryBy = (deadline?: Deadline): Delivery => createDelivery(writer, limits, deadline);
  return {
    level1,
    settle: () =>
      writer.settle().catch((error) => {
        throw error instanceof BatchFailure ? error.error : error;
      }),
    release: writer.release,
    run: (operations, deadline = performance.now() + timeout) =>
      runOnLevel1(deliveryBy(deadline), deadline, operations),
    atomic: (parts, deadline) => runAtomic(deliveryBy(deadline), parts),
    ...createLists(level1, delivery),
    async check(key, value) {
      await delivery.textOf(key, value);
    },
  };
}

/** The limits that a server announces. Where it announces none, it refuses what exceeds its own. */
function limitsOf({ limits }: JsonObject): Limits {
  const limit = (name: keyof Limits): number => {
    const value = isObject(limits) ? limits[name] : undefined;
    return typeof value === 'number' && value >= 1 ? value : Number.POSITIVE_INFINITY;
  };
  return {
    valueBytes: limit('valueBytes'),
    batchOps: limit('batchOps'),
    bodyBytes: limit('bodyBytes'),
  };
}

/** An operation other than an update, and where its outcome goes. */
interface Simple {
  readonly i: number;
  readonly operation: Exclude<ProtocolOperation, { type: 'update' }>;
}

/** Carries out a batch. After operations without an answer nothing further is sent. */
async function runOnLevel1(
  delivery: Delivery,
  deadline: Deadline,
  operations: readonly ProtocolOperation[],
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let simple: Simple[] = [];
  let updates: Update[] = [];
  let lost: StorageError | undefined;
  const flush = async (): Promise<void> => {
    if (simple.length > 0) lost ??= await runSimple(delivery, simple, outcomes);
    if (updates.length > 0) lost ??= await runUpdates(delivery, deadline, updates, outcomes);
    for (const { i } of [...simple, ...updates]) outcomes[i] ??= rejected(lost);
    simple = [];
    updates = [];
  };
  for (const [i, operation] of operations.entries()) {
    if (operation.type === 'update') {
      updates.push({ i, operation });
      continue;
    }
    if (updates.length > 0) await flush();
    simple.push({ i, operation });
  }
  await flush();
  return outcomes;
}

/** Returns why there was no answer, if there was none. */
async function runSimple(
  delivery: Delivery,
  calls: readonly Simple[],
  outcomes: Outcome[],
): Promise<StorageError | undefined> {
  const sent: Simple[] = [];
  const ops: WireOp[] = [];
  for (const call of calls) {
    try {
      ops.push(await wireOpOf(delivery, call.operation));
      sent.push(call);
    } catch (error) {
      outcomes[call.i] = rejected(error);
    }
  }
  const delivered = await delivery.deliver(ops);
  for (const [at, { i, operation }] of sent.entries())
    outcomes[i] = await outcomeOf(operation, delivered[at] as Delivered).catch(rejected);
  return lostOf(delivered);
}

async function wireOpOf(delivery: Delivery, operation: Simple['operation']): Promise<WireOp> {
  switch (operation.type) {
    case 'clear':
      return { op: 'clear' };
    case 'has':
      return { op: 'head', key: operation.key };
    case 'get':
    case 'entry':
      return { op: 'get', key: operation.key };
    case 'delete':
      return { op: 'delete', key: operation.key, ifRevision: operation.ifRevision };
    case 'put': {
      const { key, ifRevision } = operation;
      return { op: 'put', key, text: await delivery.textOf(key, operation), ifRevision };
    }
  }
}

async function outcomeOf(operation: Simple['operation'], delivered: Delivered): Promise<Outcome> {
  if (delivered.status === undefined) return rejected(delivered.error, delivered.inDoubt);
  const { status } = delivered;
  const key = 'key' in operation ? operation.key : '';
  const conditional = (operation as Condition).ifRevision !== undefined;
  if (status === 200) {
    if (operation.type === 'has') return fulfilled(true);
    if (operation.type === 'entry') return fulfilled(await entryOf(key, delivered));
    if (operation.type === 'get') return fulfilled((await entryOf(key, delivered))?.value);
    return fulfilled();
  }
  if (status === 404) {
    if (operation.type === 'has') return fulfilled(false);
    if (!conditional) return fulfilled();
  }
  if (status === 412 || status === 404) {
    const attempted = operation.type === 'put' ? operation.value : undefined;
    return rejected(await conflictOf(key, attempted, delivered));
  }
  return rejected(errorOf('key' in operation ? key : undefined, delivered));
}
