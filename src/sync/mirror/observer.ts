/**
 * Updates the mirror from the answers to the app's own calls.
 */

import { isRead, type Operation, type Outcome } from '../../core/backend.ts';
import type { StoredChange } from '../../core/changes.ts';
import { storedJsonOf } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';
import type { BatchAnswer, Mutation, Observer, WireOp } from '../../remote/level1/protocol.ts';
import { isWrite } from '../../remote/level1/protocol.ts';
import type { SyncDatabase, WriteTransaction } from '../database.ts';
import { ALL_KEYS, isOfOtherAccount, revisionOf, type ServerState, type StoredJson } from '../rules/state.ts';
import type { Origin } from '../rules/views.ts';
import { type Observation, observationsOf, storeObservations } from './update.ts';

/** The server's data as the last handshake has found it. */
export interface Session {
  readonly generation: number;
  readonly epoch: string;
  readonly seq: number;
  /** The account whose data it is. */
  readonly account?: string | undefined;
}

/** An observer of answers. */
export interface MirrorObserver extends Observer {
  /** Answers are compared with this session from now on. */
  begin(session: Session): void;
  /** Observes the outcomes of calls to a server of level 0. It has no revisions, so the last outcome counts. */
  outcomes(operations: readonly Operation[], outcomes: readonly Outcome[]): Promise<void>;
  /** Resolves when the answers so far are in the mirror. */
  whenUpdated(): Promise<void>;
  /** The server state of a key that the mirror had no room for. */
  unstored(key: string): ServerState | undefined;
  /** Whether the server has lost mutations of this session that it had answered, since the last call. */
  takeLostMutations(): boolean;
}

/** The number of keys that are known to be in the mirror unchanged: reading them again does not store them again. */
const REMEMBERED = 20_000;
/** The number of values that are kept in memory while the disk is full. */
const MOST_UNSTORED = 100;

/**
 * An observer that updates the mirror in `database`.
 *
 * @param other Called if the server was restored since the last handshake.
 * @param failed Called if the mirror could not be updated.
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

  /** Server states that the mirror had no room for. */
  const unstored = new Map<string, ServerState>();
  function remember(key: string, serverState: ServerState): void {
    unstored.delete(key);
    unstored.set(key, serverState);
    const [oldest] = unstored.keys();
    if (unstored.size > MOST_UNSTORED && oldest !== undefined) unstored.delete(oldest);
  }

  /** Tells the writes of this tab that the mirror does not have. */
  function tellOwn(
    observations: readonly Observation[],
    own: ReadonlySet<string>,
    account = session?.account,
  ): void {
    const changes = observations.flatMap((one): StoredChange[] => {
      if (!own.has('key' in one ? one.key : ALL_KEYS)) return [];
      return ['key' in one ? changeOf(one) : { type: 'clear' }];
    });
    database.tell(changes, account);
  }

  /** Updates the mirror, after the updates before. `own` are the keys that the app has written by this. */
  function store(
    observations: readonly Observation[],
    generation: number,
    seq: number,
    own: ReadonlySet<string>,
  ): Promise<void> {
    const unknown = observations.filter(
      (one) =>
        !('key' in one) || one.serverState.seq === 0 || mirrored.get(one.key) !== stampOf(one.serverState),
    );
    if (unknown.length > 0)
      updating = updating.then(async () => {
        try {
          // Another tab has begun a new generation: this tab needs a handshake too. If it was for another account, the mirror
          // stays that of the other tab until this one connects again: two tabs must not delete it alternately.
          if (!(await storeObservations(database, unknown, generation, seq, { own }))) {
            const meta = await database.read((transaction) => transaction.meta());
            if (!isOfOtherAccount(meta, session && { account: session.account })) return other();
            return tellOwn(unknown, own);
          }
          if (mirrored.size > REMEMBERED) mirrored.clear();
          for (const one of unknown) if ('key' in one) mirrored.set(one.key, stampOf(one.serverState));
          if (unstored.size > 0) for (const one of unknown) if ('key' in one) unstored.delete(one.key);
        } catch (error) {
          failed(error);
          // Otherwise the mirror would keep an older value.
          const keys = unknown.flatMap((one) => ('key' in one ? [one.key] : []));
          for (const one of unknown) if ('key' in one) remember(one.key, one.serverState);
          mirrored.clear();
          tellOwn(unknown, own);
          await database.write(async (writing) => writing.forget(keys)).catch(() => undefined);
        }
      });
    return updating;
  }

  /** Waits until a write can be read back, even if the server does not answer any more. */
  const readBack = async (stored: Promise<void>): Promise<void> => {
    if (!database.isSilent()) await database.withPatience(stored).catch(() => undefined);
  };

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
    asksLater: true,
    asking: () => reached,
    async answered(ops, answer, asked, mutation) {
      // The database could not be used when this tab connected.
      if (!session)
        return tellOwn(observationsOf(ops, answer, 0, asked), writtenKeys(ops, answer), answer.account);
      // An answer to a call for an earlier account does not go into the mirror.
      if (answer.account !== session.account) return;
      const { generation, epoch } = session;
      const isRestored = mutation !== undefined && last?.client === mutation.client && answer.top < last.m;
      hasLostMutations ||= isRestored;
      last = mutation ?? last;
      // A sequence number only grows.
      if (answer.epoch !== epoch || answer.seq < asked || isRestored) return other();
      reached = Math.max(reached, answer.seq);
      database.saw(generation, answer.seq);
      const stored = store(
        observationsOf(ops, answer, generation, asked),
        generation,
        answer.seq,
        writtenKeys(ops, answer),
      );
      if (ops.some(isWrite)) await readBack(stored);
    },
    async outcomes(operations, outcomes) {
      const { generation } = session ?? { generation: 0 };
      const observations: Observation[] = [];
      const own = new Set<string>();
      const observe = (key: string, value?: StoredJson): void => {
        observations.push({ key, serverState: { generation, epoch: '', seq: 0, value } });
      };
      for (const [i, operation] of operations.entries()) {
        const outcome = outcomes[i];
        if (outcome?.status !== 'fulfilled') continue;
        if (operation.type === 'put' || operation.type === 'delete') own.add(operation.key);
        if (operation.type === 'put') observe(operation.key, await storedJsonOf(operation.key, operation));
        else if (operation.type === 'delete') observe(operation.key);
        else if (operation.type === 'has' && !outcome.value) observe(operation.key);
        else if (operation.type === 'clear') {
          observations.length = 0;
          own.clear();
          if (!session) {
            observations.push({ generation, clearedAt: 0 });
            own.add(ALL_KEYS);
          } else updating = updating.then(() => database.write(emptied, false, OWN_CLEAR)).catch(failed);
        } else if (operation.type === 'get' && outcome.value !== undefined) {
          const value = await storedJsonIfAny(operation.key, outcome.value);
          if (value) observe(operation.key, value);
          else
            updating = updating
              .then(() => database.write(async (w) => w.forget([operation.key])))
              .catch(failed);
        }
      }
      if (!session) return tellOwn(observations, own);
      const stored = store(observations, generation, 0, own);
      if (!operations.every(isRead)) await readBack(stored);
    },
  };
}

const OWN_CLEAR: Origin = { own: new Set([ALL_KEYS]) };

/** The keys that the server has written; {@link ALL_KEYS} for a clear. */
const writtenKeys = (ops: readonly WireOp[], { results }: BatchAnswer): ReadonlySet<string> =>
  new Set(
    ops.flatMap((op, i) => {
      if (!isWrite(op) || results[i]?.status !== 200) return [];
      return ['key' in op ? op.key : ALL_KEYS];
    }),
  );

const changeOf = ({ key, serverState }: Extract<Observation, { key: string }>): StoredChange =>
  serverState.value
    ? {
        type: 'set',
        key,
        stored: serverState.value.json,
        revision: revisionOf({ serverState, writes: [] }),
      }
    : { type: 'delete', key };

/** One number for a server state. A key may be missing at the sequence number at which it was written. */
const stampOf = ({ seq, value }: ServerState): number => (value ? seq : -seq);

/** The JSON of a value; `undefined` if another program has stored a value that this one cannot store. */
const storedJsonIfAny = async (key: string, value: unknown): Promise<StoredJson | undefined> => {
  try {
    return await storedJsonOf(key, snapshot(value));
  } catch {
    return undefined;
  }
};

/** Makes the mirror that of an empty server. */
async function emptied(writing: WriteTransaction): Promise<void> {
  const meta = await writing.meta();
  writing.forget();
  if (meta) writing.setMeta({ ...meta, cursor: 0 });
}
