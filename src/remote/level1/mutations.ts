/**
 * Writes that apply once (docs/contract.md, 5.10 to 5.14, 12.3 to 12.7).
 *
 * The writes of one request are a mutation with a number of its own, so the request can be sent again. At most one mutation is under
 * way. If its answer never comes, it is in doubt: the failure names it, and it is voided before the next write. After that it has been
 * applied or never will be.
 */
import type { StorageError } from '../../core/errors.ts';
import { type Deadline, remainingMs } from '../../core/time.ts';
import { lateRefusal } from '../errors.ts';
import {
  epochOf,
  isSettled,
  isWrite,
  type Level1,
  type Mutation,
  nameOf,
  newClient,
  type Observer,
  type Result,
  type Unanswered,
  type WireOp,
} from './protocol.ts';

/** Why a batch has no results. */
export class BatchFailure {
  readonly error: StorageError;
  /** Whether smaller batches may succeed: the server has read this one, and has refused it as a whole. */
  readonly isDivisible: boolean;
  /** The mutation, if the server may have applied it or may still do so. */
  readonly inDoubt: Mutation | undefined;

  constructor(error: StorageError, isDivisible = false, inDoubt?: Mutation) {
    this.error = error;
    this.isDivisible = isDivisible;
    this.inDoubt = inDoubt;
  }
}

/** A sender of batches. */
export interface Writer {
  /**
   * As many results as operations.
   *
   * @param atomic Whether all writes are to apply, or none.
   * @param deadline By when it is to settle, with all that has to be done before. Default: each request has a limit of its own.
   * @throws {BatchFailure}
   */
  send(ops: readonly WireOp[], atomic?: true, deadline?: Deadline): Promise<readonly Result[]>;
  /**
   * Voids a mutation in doubt, if there is one.
   *
   * @returns Its results, if it was applied.
   * @throws {BatchFailure} if the server does not answer.
   */
  settle(): Promise<readonly Result[]>;
  /** The writes of a mutation in doubt are in the outbox, which voids it: this writer need not. */
  release(mutation: Mutation): void;
}

/** How often a batch is sent again because the server's epoch has changed. */
const EPOCH_CHANGES = 3;
/** Servers may forget clients that are silent for 30 days. */
const IDLE_MS = 86_400_000;

/** A writer with a client identifier of its own. */
export function createWriter(level1: Level1, observer?: Observer): Writer {
  let client = newClient();
  let next = 1;
  let usedAtMs = Date.now();
  let inDoubt: Mutation | undefined;
  let busy: Promise<unknown> = Promise.resolve();

  /** Begins again as a client that no server knows. */
  function renew(): void {
    client = newClient();
    next = 1;
  }

  async function settleDoubt(deadline?: Deadline): Promise<readonly Result[]> {
    if (!inDoubt) return [];
    const given = await level1.voidMutation(inDoubt, until(deadline));
    if (!given.answer && !isSettled(given)) throw new BatchFailure(given.error);
    inDoubt = undefined;
    return given.answer?.results ?? [];
  }

  /** The name of a new mutation. All earlier ones are settled. */
  async function nameNext(deadline?: Deadline): Promise<Mutation & { readonly settled: number }> {
    await settleDoubt(deadline);
    const now = Date.now();
    if (now - usedAtMs > IDLE_MS) renew();
    usedAtMs = now;
    const m = next++;
    return { client, m, settled: m - 1 };
  }

  async function send(
    ops: readonly WireOp[],
    atomic?: true,
    deadline?: Deadline,
  ): Promise<readonly Result[]> {
    const mutation = ops.some(isWrite) ? await nameNext(deadline) : undefined;
    let isInDoubt = false;
    const fail = (error: StorageError, isDivisible = false): BatchFailure => {
      if (!mutation || !isInDoubt) return new BatchFailure(error, isDivisible);
      inDoubt = { client: mutation.client, m: mutation.m };
      // Sync appends the writes to its outbox: no number of this client may settle them.
      if (observer?.asksLater) renew();
      return new BatchFailure(error, false, inDoubt);
    };
    let epoch = epochFor(ops);
    const asked = observer?.asking() ?? 0;
    for (let epochChanges = 0; ; epochChanges++) {
      const sent = await level1.batch({ epoch, mutation, atomic }, ops, until(deadline));
      if (sent.answer) {
        await observer?.answered(ops, sent.answer, asked, mutation);
        return sent.answer.results;
      }
      isInDoubt ||= sent.isInDoubt;
      if (nameOf(sent.type) === 'epoch-changed' && epochChanges < EPOCH_CHANGES) {
        // Every answer names the epoch.
        const handshake = await level1.batch({}, [], until(deadline));
        if (!handshake.answer) throw fail(handshake.error);
        epoch = level1.epoch();
      } else if (mutation && isInDoubt && sent.isHeard) {
        const stored = await settled(mutation, ops, deadline);
        if (stored === undefined) throw fail(lateRefusal(sent.error));
        if (stored !== 'void') return stored;
        isInDoubt = false;
        throw fail(sent.error, isDivisible(sent));
      } else throw fail(sent.error, isDivisible(sent));
    }
  }

  /**
   * What a mutation came to that was sent more than once and then refused: an earlier attempt may have been applied.
   *
   * @returns `undefined` if the server does not tell.
   */
  async function settled(
    mutation: Mutation,
    ops: readonly WireOp[],
    deadline: Deadline | undefined,
  ): Promise<readonly Result[] | 'void' | undefined> {
    const given = await level1.voidMutation(mutation, until(deadline));
    if (!given.answer) return undefined;
    const stored = given.answer.results;
    if (!stored) return 'void';
    const reads = await level1.batch(
      {},
      ops.filter((op) => !isWrite(op)),
      until(deadline),
    );
    if (!reads.answer || stored.length !== ops.filter(isWrite).length) return undefined;
    const [written, read] = [stored.values(), reads.answer.results.values()];
    return ops.map((op) => (isWrite(op) ? written : read).next().value as Result);
  }

  /** The epoch that a batch names, if a condition in it depends on one. */
  function epochFor(ops: readonly WireOp[]): string | undefined {
    const revisions = ops
      .map((op) => ('ifRevision' in op ? op.ifRevision : undefined))
      .filter((revision) => typeof revision === 'string');
    if (revisions.length === 0) return undefined;
    // Before the first answer it is a revision's own epoch: the server refuses the batch if its epoch is another one.
    return level1.epoch() ?? revisions.map(epochOf).find((epoch) => epoch !== undefined);
  }

  return {
    settle() {
      const settling = busy.then(() => settleDoubt());
      busy = settling.catch(() => undefined);
      return settling;
    },
    release({ client, m }) {
      if (inDoubt?.client === client && inDoubt.m === m) inDoubt = undefined;
    },
    send(ops, atomic, deadline) {
      if (!ops.some(isWrite)) return send(ops, undefined, deadline);
      const sent = busy.then(() => send(ops, atomic, deadline));
      busy = sent.catch(() => undefined);
      return sent;
    },
  };
}

/** The milliseconds until a deadline, if there is one. */
const until = (deadline: Deadline | undefined): number | undefined =>
  deadline === undefined ? undefined : remainingMs(deadline);

/** Whether one operation may be the reason for which the whole batch was refused. */
const isDivisible = ({ refused }: Unanswered): boolean => DIVISIBLE.has(refused);

const DIVISIBLE: ReadonlySet<unknown> = new Set([400, 403, 413, 422, 507]);
