/**
 * The app's calls while the server answers: to the server, unless a write of their key is queued.
 *
 * There is one write path. A write is sent to the server. If its answer is lost, the outcome names the mutation as which it was sent,
 * and the write is appended to the outbox under that name (outbox/append.ts), so that no call notices and the write applies once.
 */
import {
  type AtomicPart,
  type Delete,
  isDependent,
  isRead,
  type Outcome,
  outcomeOfClear,
  type ProtocolOperation,
  rejected,
  type SentAs,
} from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { type Deadline, remainingMs, withTimeLimit } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { OtherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import { localKeys } from '../mirror/local-lists.ts';
import type { MirrorObserver } from '../mirror/observer.ts';
import type { Computed, LocalCall, LocalCalls } from '../outbox/append.ts';
import { isUnreachable } from '../outbox/stop.ts';
import { ALL_KEYS, arrivedAs, isOfOtherAccount, LOCAL } from '../rules/state.ts';
import type { ServerConnection } from './connection.ts';
import type { Limits } from './limits.ts';

/** What calls go to. */
export interface CallTargets {
  readonly flask: FlaskBackend;
  readonly database: SyncDatabase;
  readonly local: LocalCalls;
  readonly limits: Limits;
  readonly mirrorObserver: MirrorObserver;
  readonly serverConnection: ServerConnection;
  /** Whether writes go into the outbox first, also while the server answers. */
  readonly isLocalFirst: boolean;
  /** Whether the server rejects every request of this caller. */
  isAccessDenied(limitMs: number): Promise<boolean>;
  /** Whether the server answers another request than the one that failed. */
  answersOthers(limitMs: number): Promise<boolean>;
  /** Is called after writes were appended to the outbox. */
  appended(limitMs: number): Promise<void>;
  /** Sends the outbox. */
  flush(): Promise<void>;
  /** The account that calls are for. */
  account(): KnownAccount | undefined;
  /** Checks that the token is still for that account, as far as the server answers. @throws {OtherAccountError} */
  verifyAccount(limitMs: number): Promise<void>;
}

/** The app's calls. */
export interface Calls {
  run(operations: readonly ProtocolOperation[], deadline: Deadline): Promise<Outcome[]>;
  /** As `Backend.atomic`. */
  atomic(parts: readonly AtomicPart[], deadline: Deadline): Promise<void>;
  /** Deletes the keys with a prefix. */
  clearPrefix(prefix: string, deadline: Deadline): Promise<Outcome>;
}

/** What a call is for, and by when it is to settle. */
interface Call {
  readonly known: KnownAccount | undefined;
  readonly deadline: Deadline;
}

/** The outcomes of a request. */
interface Sent {
  /** One for each operation. */
  readonly outcomes: readonly Outcome[];
  /** Why the server has not answered some of them, or all. */
  readonly lost: StorageError | undefined;
  /** Whether an outcome is that of an operation which the server has not answered. */
  isLost(outcome: Outcome | undefined): boolean;
}

/** Calls to `flask`, and to this device. */
export function createCalls(targets: CallTargets): Calls {
  const { flask, database, local, limits, mirrorObserver, serverConnection, isLocalFirst } = targets;
  const isOnline = (): boolean => serverConnection.state() === 'online';

  /** Whether only one request fails, such as one whose body a proxy answers with an error page. Then the server is not away. */
  const isOfOneRequest = async ({ code, cause }: StorageError, deadline: Deadline): Promise<boolean> =>
    code === 'unavailable' &&
    cause === undefined &&
    (await targets.answersOthers(limits.questionMs(deadline)));

  /** Sends a request. `by` is when it has to be answered. */
  async function send(
    count: number,
    deadline: Deadline,
    request: (by: Deadline) => Promise<Outcome[]>,
  ): Promise<Sent> {
    const outcomes = await request(limits.serverDeadline(deadline)).catch((reason) =>
      Array.from({ length: count }, () => rejected(reason)),
    );
    const errors = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason as StorageError] : [],
    );
    const isDenied = errors.some(isForbidden) && (await targets.isAccessDenied(limits.questionMs(deadline)));
    const isLostBy = (error: StorageError): boolean =>
      isUnreachable(error) || (isForbidden(error) && isDenied);
    const lost = errors.find(isLostBy);
    if (lost && !(await isOfOneRequest(lost, deadline))) serverConnection.lost(lost);
    return {
      outcomes,
      lost,
      isLost: (outcome) => outcome?.status === 'rejected' && isLostBy(outcome.reason as StorageError),
    };
  }

  /**
   * Carries out calls on this device.
   *
   * @param lost Why the server has not answered: a call in doubt that cannot be stored here rejects with that.
   */
  async function carryOutHere(
    calls: readonly LocalCall[],
    { known, deadline }: Call,
    limitMs: number,
    lost?: StorageError,
  ): Promise<Outcome[]> {
    if (calls.length === 0) return [];
    let outcomes: Outcome[];
    try {
      outcomes = await local(calls, known, limitMs);
      for (const [i, { sentAs }] of calls.entries())
        if (sentAs && outcomes[i]?.status === 'fulfilled') flask.release(sentAs);
      if (calls.some(({ operation }) => operation.type === 'atomic' || !isRead(operation)))
        await targets.appended(limits.leftMs(deadline));
    } catch (error) {
      outcomes = calls.map(({ sentAs }) => rejected(sentAs && lost ? lost : error));
    }
    return calls.map(({ isRejected }, i) =>
      isRejected && lost ? rejected(inDoubtError(lost)) : (outcomes[i] as Outcome),
    );
  }

  /** Which operations are carried out here although the server answers: reads and writes of keys with queued writes, and later ones. */
  async function operationsForHere(
    operations: readonly ProtocolOperation[],
    deadline: Deadline,
  ): Promise<Set<ProtocolOperation>> {
    const chosen = new Set<ProtocolOperation>();
    const queued = await queuedKeys(operations.map(keyOf), deadline);
    if (!queued && !isLocalFirst) return chosen;
    const keys = new Set(queued?.keys);
    for (const operation of operations) {
      const key = keyOf(operation);
      const isQueued =
        keys.has(ALL_KEYS) ||
        keys.has(key) ||
        (key === ALL_KEYS && (queued !== undefined || keys.size > 0)) ||
        (!isRead(operation) && queued?.checked.has(key));
      if (!isQueued && (isRead(operation) || !isLocalFirst)) continue;
      keys.add(key);
      chosen.add(operation);
    }
    return chosen;
  }

  /**
   * Which of `keys` have queued writes, and which keys queued units check. Nothing if the outbox is empty, or cannot be read: queued
   * writes have conditions, so they replace nothing that is written meanwhile.
   */
  const queuedKeys = (
    keys: readonly string[],
    deadline: Deadline,
  ): Promise<{ readonly keys: Set<string>; readonly checked: Set<string> } | undefined> =>
    database
      .withPatience(
        database.read(async (transaction) =>
          (await transaction.hasWrites()) && !isOfOtherAccount(await transaction.meta(), targets.account())
            ? {
                keys: await transaction.queuedKeys([...new Set([...keys, ALL_KEYS])]),
                checked: await transaction.checkedKeys(),
              }
            : undefined,
        ),
        limits.databaseMs(deadline),
      )
      .catch(() => undefined);

  /** Replaces conditions on revisions that this device has given out by those of the server. */
  async function withServerRevisions<T extends ProtocolOperation | AtomicPart>(
    operations: readonly T[],
    deadline: Deadline,
  ): Promise<readonly T[]> {
    const localRevision = (operation: T): string | undefined =>
      'ifRevision' in operation && operation.ifRevision?.startsWith(LOCAL) ? operation.ifRevision : undefined;
    const keys = operations.flatMap((operation) => (localRevision(operation) ? [keyOf(operation)] : []));
    if (keys.length === 0) return operations;
    const keyStates = await database.withPatience(
      database.read((transaction) => transaction.keyStates(keys)),
      limits.databaseMs(deadline),
    );
    return operations.map((operation) => {
      const revision = localRevision(operation);
      const keyState = keyStates.get(keyOf(operation));
      const ifRevision = revision && keyState && arrivedAs(keyState, revision);
      return ifRevision ? { ...operation, ifRevision } : operation;
    });
  }

  /** Reads what an update or a condition starts from, because the mirror may not have it. */
  async function readFirst(keys: readonly string[], deadline: Deadline): Promise<void> {
    if (keys.length === 0) return;
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

  async function run(operations: readonly ProtocolOperation[], deadline: Deadline): Promise<Outcome[]> {
    const call = { known: targets.account(), deadline };
    const runHere = (): Promise<Outcome[]> =>
      carryOutHere(
        operations.map((operation) => ({ operation })),
        call,
        limits.leftMs(deadline),
      );
    if (!isOnline()) {
      serverConnection.hint();
      return runHere();
    }
    const forHere = await operationsForHere(operations, deadline);
    if (forHere.size > 0) await targets.verifyAccount(limits.questionMs(deadline));
    if (isLocalFirst) await readFirst([...forHere].filter(isDependent).map(keyOf), deadline);
    if (!isOnline()) return runHere();
    const toSend = operations.filter((operation) => !forHere.has(operation));
    const computed = new Map<ProtocolOperation, Computed>();
    const { outcomes, lost, isLost } = await send(toSend.length, deadline, async (by) => {
      if (toSend.length === 0) return [];
      const named = await withServerRevisions(toSend, deadline);
      const recorded = named.map((operation, i) =>
        recording(operation, toSend[i] as ProtocolOperation, computed),
      );
      return flask.run(recorded, { deadline: by });
    });
    if (!flask.level1()) await mirrorObserver.outcomes(toSend, outcomes);
    const byOperation = new Map(toSend.map((operation, i) => [operation, outcomes[i] as Outcome]));
    // The server can answer reads if only this request has failed: after the writes before them are in the outbox.
    const reads = isOnline() ? toSend.filter((operation, i) => isLost(outcomes[i]) && isRead(operation)) : [];
    const calls = operations.flatMap((operation): LocalCall[] => {
      const outcome = byOperation.get(operation);
      const isHere = forHere.has(operation) || (isLost(outcome) && !reads.includes(operation));
      return isHere ? [unanswered(operation, outcome, computed)] : [];
    });
    const ordered = rejectedFirst(calls);
    const found = await carryOutHere(ordered, call, limits.databaseMs(deadline), lost);
    for (const [i, { operation }] of ordered.entries())
      byOperation.set(operation as ProtocolOperation, found[i] as Outcome);
    // Reads that fail alone reject.
    if (reads.length > 0 && reads.length < operations.length) {
      const again = await run(reads, deadline);
      for (const [i, read] of reads.entries()) byOperation.set(read, again[i] as Outcome);
    }
    return operations.map((operation) => byOperation.get(operation) as Outcome);
  }

  async function atomic(parts: readonly AtomicPart[], deadline: Deadline): Promise<void> {
    const call = { known: targets.account(), deadline };
    const conditional = parts.filter(({ ifRevision }) => ifRevision !== undefined);
    if (!isOnline()) serverConnection.hint();
    else {
      const queued = await queuedKeys(parts.map(keyOf), deadline);
      const isQueued =
        queued !== undefined &&
        (queued.keys.has(ALL_KEYS) ||
          parts.some(
            ({ type, key }) => queued.keys.has(key) || (type !== 'check' && queued.checked.has(key)),
          ));
      if (isLocalFirst) await readFirst(conditional.map(keyOf), deadline);
      if (!isQueued && !isLocalFirst) return sendAtomic(parts, conditional.length > 0, call);
      await targets.verifyAccount(limits.questionMs(deadline));
    }
    throwIfRejected(
      await carryOutHere([{ operation: { type: 'atomic', parts } }], call, limits.leftMs(deadline)),
    );
  }

  async function sendAtomic(parts: readonly AtomicPart[], isConditional: boolean, call: Call): Promise<void> {
    const { deadline } = call;
    const { outcomes, lost } = await send(parts.length, deadline, async (by) =>
      flask.runAtomic(await withServerRevisions(parts, deadline), by),
    );
    if (!lost) return throwIfRejected(outcomes);
    const sentAs = outcomes.map(inDoubtOf);
    const isInDoubt = sentAs.some((one) => one !== undefined);
    if (isInDoubt && isConditional) {
      // Only the server knows whether its conditions were met.
      const calls = parts.flatMap((part, i): LocalCall[] =>
        part.type === 'check' || !sentAs[i] ? [] : [{ operation: part, sentAs: sentAs[i], isRejected: true }],
      );
      await carryOutHere(calls, call, limits.databaseMs(deadline), lost);
      throw inDoubtError(lost);
    }
    const operation: LocalCall['operation'] = { type: 'atomic', parts, sentAs };
    const unit: LocalCall = { operation, sentAs: sentAs.find((one) => one) };
    const [outcome] = await carryOutHere([unit], call, limits.leftMs(deadline), lost);
    if (outcome?.status === 'rejected') throw isInDoubt ? inDoubtError(outcome.reason) : outcome.reason;
  }

  async function clearPrefix(prefix: string, deadline: Deadline): Promise<Outcome> {
    const call = { known: targets.account(), deadline };
    if (!isOnline()) return clearPrefixHere(prefix, call);
    const isPending = await database
      .withPatience(
        database.read((transaction) => transaction.hasWrites()),
        limits.databaseMs(deadline),
      )
      .catch(() => false);
    // The server deletes the keys that it has after the queued writes. If these cannot be sent now, the deletes are queued after them.
    if (isPending && !(await isDoneBy(targets.flush(), limits.serverDeadline(deadline))))
      return clearPrefixHere(prefix, call);
    let deletes: readonly Delete[] = [];
    const { outcomes, lost } = await send(1, deadline, async (by) => {
      deletes = await flask.deletesOf(prefix, by);
      return flask.run(deletes, { deadline: by });
    });
    if (!flask.level1()) await mirrorObserver.outcomes(deletes, outcomes);
    if (!lost) return outcomeOfClear(outcomes);
    const sentAs = new Map(deletes.map(({ key }, i) => [key, inDoubtOf(outcomes[i])]));
    return clearPrefixHere(prefix, call, sentAs, lost);
  }

  /** Deletes each known key: the outbox has no entry for a prefix. */
  async function clearPrefixHere(
    prefix: string,
    call: Call,
    sentAs: ReadonlyMap<string, SentAs | undefined> = new Map(),
    lost?: StorageError,
  ): Promise<Outcome> {
    const limitMs = limits.leftMs(call.deadline);
    const keys = await database.withPatience(localKeys(database, call.known, { prefix }), limitMs);
    const calls = keys.map(
      (key): LocalCall => ({ operation: { type: 'delete', key }, sentAs: sentAs.get(key) }),
    );
    return outcomeOfClear(await carryOutHere(calls, call, limitMs, lost));
  }

  return { run, atomic, clearPrefix };
}

/** Whether something succeeds before a deadline. */
const isDoneBy = (work: Promise<void>, deadline: Deadline): Promise<boolean> =>
  withTimeLimit(
    work.then(
      () => true,
      () => false,
    ),
    remainingMs(deadline),
    () => false,
  );

/** Whether the server refuses this caller something; not because the token is for another account. */
const isForbidden = (error: StorageError): boolean =>
  error.code === 'forbidden' && !(error instanceof OtherAccountError);

const keyOf = (operation: ProtocolOperation | AtomicPart): string =>
  'key' in operation ? operation.key : ALL_KEYS;

const inDoubtOf = (outcome: Outcome | undefined): SentAs | undefined =>
  outcome?.status === 'rejected' ? outcome.inDoubt : undefined;

/** An operation for this device, after the server was asked in vain. */
function unanswered(
  operation: ProtocolOperation,
  outcome: Outcome | undefined,
  computed: ReadonlyMap<ProtocolOperation, Computed>,
): LocalCall {
  const sentAs = inDoubtOf(outcome);
  if (!sentAs) return { operation };
  // Only the server knows whether its condition was met.
  const isRejected = 'ifRevision' in operation && operation.ifRevision !== undefined;
  return { operation, sentAs, isRejected, computed: computed.get(operation) };
}

/**
 * Calls with rejected ones before the others: a later write of a key must not stand for a write that is never sent. None is moved over a
 * clear, which deletes what is queued before it.
 */
function rejectedFirst(calls: readonly LocalCall[]): LocalCall[] {
  let clears = 0;
  const placed = calls.map((call) => {
    if (call.operation.type === 'clear') clears += 1;
    return { call, place: 2 * clears + (call.isRejected || call.operation.type === 'clear' ? 0 : 1) };
  });
  return placed.sort((a, b) => a.place - b.place).map(({ call }) => call);
}

/** An operation that records what an update computes. */
function recording(
  operation: ProtocolOperation,
  original: ProtocolOperation,
  computed: Map<ProtocolOperation, Computed>,
): ProtocolOperation {
  if (operation.type !== 'update') return operation;
  return {
    ...operation,
    change(current) {
      const on = snapshot(current);
      const value = operation.change(current);
      computed.set(original, { on, value });
      return value;
    },
  };
}

function throwIfRejected(outcomes: readonly Outcome[]): void {
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

const inDoubtError = (cause: StorageError): StorageError =>
  new StorageError(
    'unavailable',
    `It is not known whether this write was applied: read the key before you write it again. ${cause.message}`,
    { cause },
  );
