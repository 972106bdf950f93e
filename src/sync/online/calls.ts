/**
 * A batch of the app's calls: to the server where it is there and nothing waits for a key, else here.
 *
 * What the server does not answer is carried out here as well, so that no call notices; what may have arrived is noted with its
 * numbers, so that it applies once.
 */

import {
  type AtomicPart,
  isDependent,
  isRead,
  type Outcome,
  type ProtocolOperation,
  rejected,
} from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import type { Deadline } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import type { Doubt, KnownAccount } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import type { MirrorObserver } from '../mirror/observer.ts';
import {
  arrivedAs,
  type createLocal,
  type Doubts,
  type InDoubt,
  LOCAL,
  type RejectedOperation,
} from '../outbox/append.ts';
import { isUnreachable } from '../outbox/stop.ts';
import { isOfOtherAccount } from '../rules/account.ts';
import { ALL_KEYS, type SentAs } from '../rules/state.ts';
import type { ServerConnection } from './connection.ts';
import type { Limits } from './limits.ts';

/** What calls go to. */
export interface Called {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  /** @param limitMs Milliseconds for the first transaction. */
  local(
    operations: Parameters<Local>[0],
    known: KnownAccount | undefined,
    limitMs: number,
    doubts?: Doubts,
  ): ReturnType<Local>;
  readonly limits: Limits;
  readonly mirrorObserver: MirrorObserver;
  readonly serverConnection: ServerConnection;
  /** Writes go into the outbox first, also while the server is there. */
  readonly writesHere: boolean;
  /** Whether the server lets this caller do nothing at all. */
  isAccessDenied(limitMs: number): Promise<boolean>;
  /** Something was put into the outbox. */
  appended(limitMs: number): Promise<void>;
  /** The account that calls are for. */
  account(): KnownAccount | undefined;
  /** Checks that the token is still for that account, as far as the server answers. @throws {OtherAccountError} */
  verifyAccount(limitMs: number): Promise<void>;
}

type Local = ReturnType<typeof createLocal>;

/** The app's calls. */
export interface Calls {
  run(operations: readonly ProtocolOperation[], deadline: Deadline): Promise<Outcome[]>;
  /** As `Backend.atomic`. */
  atomic(parts: readonly AtomicPart[], deadline: Deadline): Promise<void>;
}

type Conditional = Extract<ProtocolOperation, { type: 'put' | 'delete' }>;

type Computed = NonNullable<InDoubt['computed']>;

/** What came of what was sent. */
interface Sent {
  readonly outcomes: Map<ProtocolOperation, Outcome>;
  /** What the server did not answer, or was not asked. */
  readonly left: readonly ProtocolOperation[];
  readonly why?: StorageError;
  /** The mutation without an answer, those of its writes that are left, and those that were rejected. */
  readonly doubt?: Doubt | undefined;
  readonly doubts: Doubts;
  readonly refused: readonly RejectedOperation[];
}

/** A runner of batches. */
export function createCalls(called: Called): Calls {
  const { flask, database, local, limits, mirrorObserver, serverConnection, writesHere } = called;

  /** What is to be carried out here, though the server is there. */
  async function here(
    operations: readonly ProtocolOperation[],
    deadline: Deadline,
  ): Promise<Set<ProtocolOperation>> {
    const chosen = new Set<ProtocolOperation>();
    const asked = new Set(operations.map((operation) => ('key' in operation ? operation.key : ALL_KEYS)));
    const queued = await database
      .withPatience(
        database.read(async (transaction) =>
          (await transaction.hasWrites()) && !isOfOtherAccount(await transaction.meta(), called.account())
            ? {
                keys: await transaction.queuedKeys([...asked.add(ALL_KEYS)]),
                checked: await transaction.checkedKeys(),
              }
            : undefined,
        ),
        limits.databaseMs(deadline),
      )
      // What waits in a database that cannot be read will meet the server by its conditions.
      .catch(() => undefined);
    if (!queued && !writesHere) return chosen;
    const keys = new Set(queued?.keys);
    for (const operation of operations) {
      const key = 'key' in operation ? operation.key : ALL_KEYS;
      const isQueued =
        keys.has(ALL_KEYS) ||
        keys.has(key) ||
        (key === ALL_KEYS && (queued !== undefined || keys.size > 0)) ||
        (!isRead(operation) && queued?.checked.has(key));
      if (!isQueued && (isRead(operation) || !writesHere)) continue;
      keys.add(key);
      chosen.add(operation);
    }
    return chosen;
  }

  /** Send a batch, updates by themselves: after an answer that is lost nothing more is sent. */
  async function send(operations: readonly ProtocolOperation[], deadline: Deadline): Promise<Sent> {
    const by = limits.serverDeadline(deadline);
    const outcomes = new Map<ProtocolOperation, Outcome>();
    const computed = new Map<ProtocolOperation, Computed>();
    let rest = operations;
    while (rest.length > 0) {
      const updates = rest[0]?.type === 'update';
      const end = rest.findIndex(({ type }) => (type === 'update') !== updates);
      const part = end < 0 ? rest : rest.slice(0, end);
      const passed = (await named(part, deadline)).map((operation) => remembering(operation, computed));
      const found = await flask
        .run(passed, { deadline: by })
        .catch((reason) => part.map(() => rejected(reason)));
      if (!flask.level1()) await mirrorObserver.outcomes(part, found);
      const doubt = mirrorObserver.takeDoubt();
      const marks = doubt && marksOf(doubt);
      let why: StorageError | undefined;
      let shutOut: boolean | undefined;
      const left: ProtocolOperation[] = [];
      const doubts = new Map<ProtocolOperation, InDoubt>();
      const refused: RejectedOperation[] = [];
      for (const [i, operation] of part.entries()) {
        const outcome = found[i] as Outcome;
        const error = outcome.status === 'rejected' ? (outcome.reason as StorageError) : undefined;
        const isOther = error instanceof OtherAccountError;
        if (error?.code === 'forbidden' && !isOther)
          shutOut ??= await called.isAccessDenied(limits.questionMs(deadline));
        if (!error || isOther || !(isUnreachable(error) || (error.code === 'forbidden' && shutOut))) {
          outcomes.set(operation, outcome);
          continue;
        }
        why ??= error;
        const sentAs = marks?.get(passed[i] as ProtocolOperation);
        // Whether its condition was met only the server knows.
        if (sentAs && isConditional(operation)) {
          outcomes.set(operation, rejected(mayHaveArrived(error)));
          refused.push(rejectedOf(operation, sentAs));
        } else {
          left.push(operation);
          if (sentAs) doubts.set(operation, { sentAs, computed: computed.get(operation) });
        }
      }
      if (doubts.size + refused.length === 0) doubt?.settle(false);
      rest = rest.slice(part.length);
      if (why) return { outcomes, left: [...left, ...rest], why, doubt, doubts, refused };
    }
    return { outcomes, left: [], doubts: new Map(), refused: [] };
  }

  /** Carry out here what has to be. Settles what is in doubt. */
  async function finish(
    operations: readonly ProtocolOperation[],
    { outcomes, why, doubt, doubts, refused }: Sent,
    deadline: Deadline,
    known: KnownAccount | undefined,
  ): Promise<void> {
    let isNoted = false;
    try {
      const found = await local([...refused, ...operations], known, limits.databaseMs(deadline), doubts);
      for (const [i, operation] of operations.entries())
        outcomes.set(operation, found[refused.length + i] as Outcome);
      isNoted =
        found.slice(0, refused.length).some(({ status }) => status === 'fulfilled') ||
        [...doubts.keys()].some((operation) => outcomes.get(operation)?.status === 'fulfilled');
      if (refused.length > 0 || !operations.every(isRead)) await called.appended(limits.leftMs(deadline));
    } catch (error) {
      for (const operation of operations)
        outcomes.set(operation, rejected(why && doubts.has(operation) ? why : error));
    } finally {
      if (doubts.size + refused.length > 0) doubt?.settle(isNoted);
    }
  }

  /** Conditions on states that were named here while they waited, as the server names them. */
  async function named<T extends ProtocolOperation | AtomicPart>(
    operations: readonly T[],
    deadline: Deadline,
  ): Promise<readonly T[]> {
    const isLocal = (operation: T): operation is T & Conditional =>
      'ifRevision' in operation && Boolean(operation.ifRevision?.startsWith(LOCAL));
    const keys = operations.filter(isLocal).map(({ key }) => key);
    if (keys.length === 0) return operations;
    const keyStates = await database.withPatience(
      database.read((transaction) => transaction.keyStates(keys)),
      limits.databaseMs(deadline),
    );
    return operations.map((operation) => {
      const keyState = isLocal(operation) && keyStates.get(operation.key);
      const ifRevision = keyState && arrivedAs(keyState, (operation as Conditional).ifRevision ?? null);
      return ifRevision ? { ...operation, ifRevision } : operation;
    });
  }

  /** Reads what an update or a condition starts from, because the mirror may not have it. */
  async function readFirst(keys: readonly string[], deadline: Deadline): Promise<void> {
    const gets = keys.map((key): ProtocolOperation => ({ type: 'get', key }));
    const outcomes = await flask
      .run(gets, { deadline: limits.serverDeadline(deadline) })
      .catch((reason) => [rejected(reason)]);
    await database
      .withPatience(mirrorObserver.whenUpdated(), limits.databaseMs(deadline))
      .catch(() => undefined);
    // Otherwise the rest of the call, and the calls after it, would wait for the server once more.
    for (const outcome of outcomes)
      if (outcome.status === 'rejected' && isUnreachable(outcome.reason))
        return serverConnection.lost(outcome.reason);
  }

  /** Carries out a batch while the server is away. */
  async function runHere(
    operations: readonly ProtocolOperation[],
    known: KnownAccount | undefined,
    deadline: Deadline,
  ): Promise<Outcome[]> {
    const outcomes = await local(operations, known, limits.leftMs(deadline));
    if (!operations.every(isRead)) await called.appended(limits.leftMs(deadline));
    return outcomes;
  }

  async function run(operations: readonly ProtocolOperation[], deadline: Deadline): Promise<Outcome[]> {
    const known = called.account();
    if (serverConnection.state() !== 'online') {
      serverConnection.hint();
      return runHere(operations, known, deadline);
    }
    const chosen = await here(operations, deadline);
    if (chosen.size > 0) await called.verifyAccount(limits.questionMs(deadline));
    const needed = writesHere ? [...chosen].filter(isDependent) : [];
    if (needed.length > 0)
      await readFirst(
        needed.map(({ key }) => key),
        deadline,
      );
    if (serverConnection.state() !== 'online') return runHere(operations, known, deadline);
    const sent = await send(
      operations.filter((operation) => !chosen.has(operation)),
      deadline,
    );
    if (sent.why) serverConnection.lost(sent.why);
    const left = new Set([...chosen, ...sent.left]);
    if (left.size + sent.refused.length > 0)
      await finish(
        operations.filter((operation) => left.has(operation)),
        sent,
        deadline,
        known,
      );
    return operations.map((operation) => sent.outcomes.get(operation) as Outcome);
  }

  /** Carry out an atomic unit here. */
  async function atomicHere(
    parts: readonly AtomicPart[],
    known: KnownAccount | undefined,
    deadline: Deadline,
    marks?: readonly SentAs[],
  ): Promise<void> {
    const [outcome] = await local([{ type: 'atomic', parts, marks }], known, limits.leftMs(deadline));
    if (outcome?.status === 'rejected') throw outcome.reason;
    await called.appended(limits.leftMs(deadline));
  }

  async function atomic(parts: readonly AtomicPart[], deadline: Deadline): Promise<void> {
    const known = called.account();
    if (serverConnection.state() !== 'online') {
      serverConnection.hint();
      return atomicHere(parts, known, deadline);
    }
    const isQueued = await database
      .withPatience(
        database.read(async (transaction) => {
          if (!(await transaction.hasWrites())) return false;
          if (isOfOtherAccount(await transaction.meta(), known)) return false;
          const queued = await transaction.queuedKeys([ALL_KEYS, ...parts.map(({ key }) => key)]);
          const checked = await transaction.checkedKeys();
          return (
            queued.has(ALL_KEYS) ||
            parts.some(({ type, key }) => queued.has(key) || (type !== 'check' && checked.has(key)))
          );
        }),
        limits.databaseMs(deadline),
      )
      .catch(() => false);
    const conditional = parts.filter(({ ifRevision }) => ifRevision !== undefined);
    if (writesHere && conditional.length > 0)
      await readFirst(
        conditional.map(({ key }) => key),
        deadline,
      );
    if (isQueued || writesHere) {
      await called.verifyAccount(limits.questionMs(deadline));
      return atomicHere(parts, known, deadline);
    }
    try {
      await flask.atomic(await named(parts, deadline), limits.serverDeadline(deadline));
    } catch (reason) {
      const error = reason as StorageError;
      const doubt = mirrorObserver.takeDoubt();
      const isForbidden = error.code === 'forbidden' && !(error instanceof OtherAccountError);
      const isLost =
        isUnreachable(error) || (isForbidden && (await called.isAccessDenied(limits.questionMs(deadline))));
      if (isLost) serverConnection.lost(error);
      if (!isLost) {
        doubt?.settle(false);
        throw error;
      }
      let isNoted = false;
      if (doubt && conditional.length > 0) {
        const marked = markedParts(doubt);
        const refused = parts.flatMap((part) => {
          const sentAs = marked.get(part.key);
          return sentAs && part.type !== 'check' ? [rejectedOf(part, sentAs)] : [];
        });
        isNoted = await local(refused, known, limits.databaseMs(deadline)).then(
          () => refused.length > 0,
          () => false,
        );
        doubt.settle(isNoted);
        throw mayHaveArrived(error);
      }
      try {
        await atomicHere(
          parts,
          known,
          deadline,
          doubt && parts.map((_, index): SentAs => ({ client: doubt.client, m: doubt.m, index })),
        );
        isNoted = true;
      } catch (failure) {
        // It may have arrived all the same.
        throw doubt ? mayHaveArrived(failure as StorageError) : failure;
      } finally {
        doubt?.settle(isNoted);
      }
    }
  }

  return { run, atomic };
}

/** An update that notes what it has computed. */
function remembering(
  operation: ProtocolOperation,
  computed: Map<ProtocolOperation, Computed>,
): ProtocolOperation {
  if (operation.type !== 'update') return operation;
  return {
    ...operation,
    change(current) {
      const on = snapshot(current);
      const value = operation.change(current);
      computed.set(operation, { on, value });
      return value;
    },
  };
}

/** The places of operations in a mutation. Several updates of a key are one write. */
export function marksOf({ client, m, writes }: Doubt): Map<ProtocolOperation, SentAs> {
  const marks = new Map<ProtocolOperation, SentAs>();
  for (const [index, write] of writes.entries())
    if ('of' in write) for (const operation of write.of ?? []) marks.set(operation, { client, m, index });
  return marks;
}

/** The places of the writes of an atomic unit in its mutation, by their keys. */
function markedParts({ client, m, writes }: Doubt): Map<string, SentAs> {
  const marks = new Map<string, SentAs>();
  for (const [index, write] of writes.entries())
    if (write.op === 'put' || write.op === 'delete') marks.set(write.key, { client, m, index });
  return marks;
}

type Write = Extract<ProtocolOperation, { type: 'put' | 'delete' }>;

const isConditional = (operation: ProtocolOperation): operation is Write =>
  'ifRevision' in operation && operation.ifRevision !== undefined;

const rejectedOf = (write: Write, sentAs: SentAs): RejectedOperation => ({
  type: 'rejected',
  key: write.key,
  value: write.type === 'put' ? write : undefined,
  sentAs,
});

const mayHaveArrived = (cause: StorageError): StorageError =>
  new StorageError(
    'unavailable',
    `It is not known whether this write was applied: read the key before you write it again. ${cause.message}`,
    { cause },
  );
