/**
 * What is learned from the answers to the app's own calls, and what became doubtful in them.
 */

import { isRead, type Operation, type Outcome } from '../../core/backend.ts';
import { storedJsonOf } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';
import type { Mutation, Observer } from '../../remote/level1/protocol.ts';
import { isWrite } from '../../remote/level1/protocol.ts';
import type { SyncDatabase, WriteTransaction } from '../database.ts';
import { isOfOtherAccount } from '../rules/account.ts';
import type { ServerState, StoredJson } from '../rules/state.ts';
import { type Observation, observationsOf, updateMirror } from './update.ts';

/** Of which incarnation of the server's data answers are. */
export interface Session {
  readonly generation: number;
  readonly epoch: string;
  readonly seq: number;
  /** The account whose data it is. */
  readonly account?: string | undefined;
}

/** An observer with a memory. */
export interface MirrorObserver extends Observer {
  /** From now on answers are of this incarnation. */
  begin(session: Session): void;
  /** What calls to a server of level 0 have come to: it tells no revisions, so what came last counts. */
  outcomes(operations: readonly Operation[], outcomes: readonly Outcome[]): Promise<void>;
  /** Resolves when what was answered is in the mirror. */
  whenUpdated(): Promise<void>;
  /** What was seen of a key and could not be put into the mirror: the disk is full. */
  unstored(key: string): ServerState | undefined;
  /** Whether the server has lost mutations that it had answered to this session, since the last call. */
  takeLostMutations(): boolean;
}

/** So many keys are remembered to be in the mirror as they are: reading them again does not write them again. */
const REMEMBERED = 20_000;
/** So many values are kept in memory while the disk is full. */
const MOST_UNSTORED = 100;

/**
 * A learner over `tables`.
 *
 * @param other Called when the server answers for another incarnation of its data.
 * @param failed Called when the mirror could not be written: it may be behind then.
 */
export function createMirrorObserver(
  database: SyncDatabase,
  other: () => void,
  failed: (error: unknown) => void,
): MirrorObserver {
  let session: Session | undefined;
  /** The last mutation that the server has answered. */
  let last: Mutation | undefined;
  let hasLostMutations = false;
  /** The highest sequence number of the session that was answered. */
  let reached = 0;
  const mirrored = new Map<string, number>();
  let updating: Promise<void> = Promise.resolve();

  /** What was seen and could not be put into the mirror. */
  const unstored = new Map<string, ServerState>();
  function remember(key: string, serverState: ServerState): void {
    unstored.delete(key);
    unstored.set(key, serverState);
    const [oldest] = unstored.keys();
    if (unstored.size > MOST_UNSTORED && oldest !== undefined) unstored.delete(oldest);
  }

  /** Put news into the mirror, after what was put there before. */
  function store(observations: readonly Observation[], generation: number, seq: number): Promise<void> {
    const unknown = observations.filter(
      (one) =>
        !('key' in one) || one.serverState.seq === 0 || mirrored.get(one.key) !== stampOf(one.serverState),
    );
    if (unknown.length > 0)
      updating = updating.then(async () => {
        try {
          // Another tab has met another incarnation meanwhile: this one has to meet it too. If it was for another account, the
          // mirror stays that of the other tab until this one connects again: two tabs must not delete it in turn.
          if (!(await database.write((writing) => updateMirror(writing, unknown, generation, seq)))) {
            const meta = await database.read((transaction) => transaction.meta());
            return isOfOtherAccount(meta, session && { account: session.account }) ? undefined : other();
          }
          if (mirrored.size > REMEMBERED) mirrored.clear();
          for (const one of unknown) if ('key' in one) mirrored.set(one.key, stampOf(one.serverState));
          if (unstored.size > 0) for (const one of unknown) if ('key' in one) unstored.delete(one.key);
        } catch (error) {
          failed(error);
          // What the mirror has no room for, it must not have an older value of.
          const keys = unknown.flatMap((one) => ('key' in one ? [one.key] : []));
          for (const one of unknown) if ('key' in one) remember(one.key, one.serverState);
          mirrored.clear();
          await database.write(async (writing) => writing.forget(keys)).catch(() => undefined);
        }
      });
    return updating;
  }

  return {
    begin(next) {
      if (session?.generation !== next.generation) unstored.clear();
      session = next;
      reached = next.seq;
      last = undefined;
      mirrored.clear();
    },
    whenUpdated: () => updating,
    unstored: (key) => unstored.get(key),
    takeLostMutations() {
      const taken = hasLostMutations;
      hasLostMutations = false;
      return taken;
    },
    asking: () => reached,
    async answered(ops, answer, asked, mutation) {
      // An answer to a call for the account before is not for the mirror.
      if (!session || answer.account !== session.account) return;
      const { generation, epoch } = session;
      const isRestored = mutation !== undefined && last?.client === mutation.client && answer.top < last.m;
      hasLostMutations ||= isRestored;
      last = mutation ?? last;
      // A sequence number only grows.
      if (answer.epoch !== epoch || answer.seq < asked || isRestored) return other();
      reached = Math.max(reached, answer.seq);
      const stored = store(observationsOf(ops, answer, generation, asked), generation, answer.seq);
      // What a write has stored is to be read back, also when the server is away by then.
      if (ops.some(isWrite)) await database.withPatience(stored).catch(() => undefined);
    },
    async outcomes(operations, outcomes) {
      if (!session) return;
      const { generation } = session;
      const observations: Observation[] = [];
      const observe = (key: string, value?: StoredJson): void => {
        observations.push({ key, serverState: { generation, epoch: '', seq: 0, value } });
      };
      for (const [i, operation] of operations.entries()) {
        const outcome = outcomes[i];
        if (outcome?.status !== 'fulfilled') continue;
        if (operation.type === 'put') observe(operation.key, await storedJsonOf(operation.key, operation));
        else if (operation.type === 'delete') observe(operation.key);
        else if (operation.type === 'has' && !outcome.value) observe(operation.key);
        else if (operation.type === 'clear') {
          observations.length = 0;
          updating = updating.then(() => database.write(emptied)).catch(failed);
        } else if (operation.type === 'get' && outcome.value !== undefined) {
          const value = await storedJsonIfAny(operation.key, outcome.value);
          if (value) observe(operation.key, value);
          else
            updating = updating
              .then(() => database.write(async (w) => w.forget([operation.key])))
              .catch(failed);
        }
      }
      const stored = store(observations, generation, 0);
      if (!operations.every(isRead)) await database.withPatience(stored).catch(() => undefined);
    },
  };
}

/** One number for what was seen: a key may be found missing at the very sequence number at which it was written. */
const stampOf = ({ seq, value }: ServerState): number => (value ? seq : -seq);

/** A value as the mirror holds it; nothing where another program stored what this one cannot, which its reader got all the same. */
const storedJsonIfAny = async (key: string, value: unknown): Promise<StoredJson | undefined> => {
  try {
    return await storedJsonOf(key, snapshot(value));
  } catch {
    return undefined;
  }
};

/** A mirror of a server that holds nothing. */
async function emptied(writing: WriteTransaction): Promise<void> {
  const meta = await writing.meta();
  writing.forget();
  if (meta) writing.setMeta({ ...meta, cursor: 0 });
}
