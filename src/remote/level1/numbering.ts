/**
 * Exactly-once numbering: each write applies once, and none overtakes a later one (docs/contract.md, 5.10 to 5.14, 12.3 to 12.7).
 *
 * At most one batch with writes is under way. Its writes are numbered, so the batch can be sent again. If its answer never comes, the
 * batch is in doubt: its numbers are used up before the next write, and after that it has been applied or never will be.
 */
import type { StorageError } from '../../core/errors.ts';
import { lateRefusal } from '../errors.ts';
import {
  epochOf,
  isWrite,
  type Level1,
  nameOf,
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

  constructor(error: StorageError, isDivisible = false) {
    this.error = error;
    this.isDivisible = isDivisible;
  }
}

/** A sender of batches. */
export interface Writer {
  /**
   * As many results as operations.
   *
   * @throws {BatchFailure}
   */
  send(ops: readonly WireOp[]): Promise<readonly Result[]>;
}

/** How often a batch is sent again because the server's epoch has changed. */
const EPOCH_CHANGES = 3;

/** A writer with a client identifier of its own. */
export function createWriter(level1: Level1, observer?: Observer): Writer {
  let client = newClient();
  let next = 1;
  /** How many writes from `next` on are in doubt. */
  let doubt = 0;
  /** Why, while the observer decides what becomes of them. Nothing is written meanwhile. */
  let blocked: StorageError | undefined;
  let busy: Promise<unknown> = Promise.resolve();

  /** Begins again as a client that no server knows. */
  function renew(): void {
    client = newClient();
    next = 1;
    doubt = 0;
  }

  /** Uses up the numbers of a batch in doubt. */
  async function fence(): Promise<void> {
    if (doubt === 0) return;
    const ops = Array.from({ length: doubt }, (): WireOp => ({ op: 'fence' }));
    const sent = await level1.batch({ client: { id: client, n: next } }, ops);
    if (sent.answer) {
      next += doubt;
      doubt = 0;
    } else if (isForgotten(sent)) renew();
    else throw new BatchFailure(sent.error);
  }

  async function write(ops: readonly WireOp[]): Promise<readonly Result[]> {
    const writes = ops.filter(isWrite).length;
    if (writes > 0 && blocked) throw new BatchFailure(blocked);
    if (writes > 0) await fence();
    let epochChanges = 0;
    let renewed = false;
    let inDoubt = false;
    const fail = (error: StorageError, isDivisible = false): BatchFailure => {
      if (writes > 0 && inDoubt) {
        doubt = writes;
        if (observer) {
          blocked = error;
          const settle = (noted: boolean): void => {
            blocked = undefined;
            if (noted) renew();
          };
          observer.inDoubt({ client, first: next, writes: ops.filter(isWrite), settle });
        }
      }
      return new BatchFailure(error, isDivisible && !inDoubt);
    };
    let epoch = epochFor(ops);
    const asked = observer?.asking();
    for (;;) {
      const sent = await level1.batch(
        { epoch, client: writes > 0 ? { id: client, n: next } : undefined },
        ops,
      );
      if (sent.answer) {
        next += writes;
        await observer?.answered(ops, sent.answer, asked ?? 0);
        return sent.answer.results;
      }
      inDoubt ||= sent.inDoubt;
      if (isForgotten(sent) && !renewed) {
        // Nothing of this client has been applied, and nothing will be.
        renew();
        renewed = true;
        inDoubt = false;
      } else if (nameOf(sent.type) === 'epoch-changed' && epochChanges < EPOCH_CHANGES) {
        epochChanges += 1;
        // Every answer names the epoch.
        const handshake = await level1.batch({}, []);
        if (!handshake.answer) throw fail(handshake.error);
        epoch = level1.epoch();
      } else {
        const known = sent.refused === undefined || !inDoubt || writes === 0;
        throw fail(known ? sent.error : lateRefusal(sent.error), isDivisible(sent));
      }
    }
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
    send(ops) {
      if (!ops.some(isWrite)) return write(ops);
      const sent = busy.then(() => write(ops));
      busy = sent.catch(() => undefined);
      return sent;
    },
  };
}

/** Whether the server does not know the numbers of this client. */
const isForgotten = ({ type }: Unanswered): boolean =>
  nameOf(type) === 'op-gap' || nameOf(type) === 'client-unknown';

/** Whether one operation may be the reason for which the whole batch was refused. */
const isDivisible = ({ refused }: Unanswered): boolean => refused === 413 || refused === 400;

/** 128 random bits. `randomUUID` is missing on plain-http pages. */
export const newClient = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );
