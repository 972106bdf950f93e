/**
 * A server that is there: met, compared with what was seen of it, and brought up to date, by one tab at a time.
 */

import { StorageError } from '../core/errors.ts';
import type { FlaskBackend } from '../remote/backend.ts';
import type { Level1 } from '../remote/level1/protocol.ts';
import type { Learner } from './learner.ts';
import { compareAll, pull, pullLevel0 } from './pull.ts';
import { type Merge, replay } from './replay.ts';
import { replayFull } from './replay-full.ts';
import { replayLevel0 } from './replay-level0.ts';
import { inNewEra, isForgotten, isRewound, type Meta, NOTHING_KNOWN } from './rules.ts';
import type { Stop } from './stop.ts';
import type { Reading, Tables } from './tables.ts';
import type { Turn } from './turn.ts';

/** What there is to bring a server up to date with. */
export interface Sides {
  readonly flask: FlaskBackend;
  readonly tables: Tables;
  readonly learner: Learner;
  readonly turn: Turn;
  readonly merge: Merge;
  readonly progress: () => void;
  readonly signal: AbortSignal;
}

/** The server, as sync uses it. */
export interface ServerSide {
  /**
   * Meet the server and send it what waits.
   *
   * @returns Why some of that still waits, where the server is there.
   * @throws {StorageError} where it is away, or lets this caller do nothing.
   */
  establish(): Promise<StorageError | undefined>;
  /** Meet the server where nothing can be kept here. */
  meetOnly(): Promise<void>;
  /** Send what waits at the beginning. */
  drain(): Promise<Stop | undefined>;
  /** Whether the server lets this caller do nothing at all. */
  isShutOut(): Promise<boolean>;
  /** Go on filling the mirror. Returns whether the server is still the one that was met. */
  pull(): Promise<boolean>;
}

/** So often the server may turn out to be another one while it is met. */
const ROUNDS = 3;

/** The server behind `flask`. */
export function createServerSide({ flask, tables, learner, turn, ...work }: Sides): ServerSide {
  const { signal } = work;

  /** The server as it was met last: on a full disk there is no room to note that down. */
  let met = NOTHING_KNOWN;
  const passes = new Map<string, number>();

  /** What is known of a server of level 1, now that it has answered. */
  async function meet(level1: Level1): Promise<Meta> {
    // What it answers is compared with what was known before it was asked: other tabs learn on.
    const before = (await tables.read((reading) => reading.meta())) ?? NOTHING_KNOWN;
    const sent = await level1.batch({}, []);
    if (!sent.answer) throw sent.error;
    const { epoch, seq } = sent.answer;
    const meta = await change((meta) => {
      // Another tab has met another state of the server meanwhile, and which of both is the later one is not known.
      if (meta.era !== before.era) return meta;
      const another = isRewound(before, epoch, seq) || meta.level === 0;
      const known = another ? inNewEra(meta, epoch) : meta;
      return { ...known, epoch, seq: Math.max(known.seq, seq), level: 1, lastSyncAtMs: Date.now() };
    });
    return meta.epoch === epoch ? meta : meet(level1);
  }

  /** The same of a server of level 0, which tells nothing of itself. */
  const meetLevel0 = (announced: boolean): Promise<Meta> =>
    change((meta) => {
      // A lost answer is no downgrade: what waits would be sent without its numbers.
      if (meta.level === 1 && !announced)
        throw new StorageError(
          'unavailable',
          'The server, which was of level 1, has not said what it is now.',
        );
      const known = meta.level === 1 ? inNewEra(meta, '') : meta;
      return { ...known, rewound: false, level: 0, lastSyncAtMs: Date.now() };
    });

  async function change(to: (meta: Meta) => Meta): Promise<Meta> {
    const next = async (reading: Reading): Promise<Meta> => {
      met = to((await reading.meta()) ?? met);
      return met;
    };
    try {
      return await tables.write(async (writing) => {
        const meta = await next(writing);
        writing.setMeta(meta);
        return meta;
      }, true);
    } catch (error) {
      if ((error as StorageError).code !== 'quota') throw error;
      return tables.read(next);
    }
  }

  // What comes to wait meanwhile is left to the next time: there may be no end of it, and other tabs wait for their turn.
  async function drain(): Promise<Stop | undefined> {
    try {
      return await turn(async () => {
        const level1 = flask.level1();
        const last = await tables.read(async (reading) => (await reading.meta())?.rows ?? 0);
        const all = { ...work, tables, passes };
        if (!level1) return replayLevel0(all, flask, last);
        return replay({ ...all, level1 }, last).catch((error: StorageError) => {
          if (error.code !== 'quota') throw error;
          return replayFull({ ...all, level1 }, met, last, error);
        });
      });
    } catch (error) {
      // What came of it could not be noted down here; the server is there.
      if (!(error instanceof StorageError) || !/quota|blocked/.test(error.code)) throw error;
      return { why: 'refused', error };
    }
  }

  /** Whether the server still knows the mutations that it has answered. */
  async function remembers(level1: Level1): Promise<boolean> {
    if (learner.takeForgotten()) return false;
    const meta = await tables.read((reading) => reading.meta());
    if (meta?.client === undefined || isForgotten(meta, Date.now())) return true;
    const sent = await level1.batch({ client: meta.client }, []);
    if (!sent.answer) throw sent.error;
    return sent.answer.top > 0;
  }

  return {
    async meetOnly() {
      await flask.open();
      const sent = await flask.level1()?.batch({}, []);
      if (sent?.error) throw sent.error;
    },
    drain,
    async establish() {
      await flask.open();
      for (let round = 1; ; round++) {
        const level1 = flask.level1();
        let meta = level1 ? await meet(level1) : await meetLevel0(flask.detected()?.isHealthRead ?? false);
        learner.begin(meta);
        if (level1 && !(await turn(() => remembers(level1)))) {
          meta = await change((now) => (now.era === meta.era ? inNewEra(now, now.epoch) : now));
          learner.begin(meta);
        }
        if (meta.rewound) await turn(() => compareAll(tables, flask, meta, learner.learned));
        const stop = await drain();
        if (stop?.why === 'rewound' && round < ROUNDS) {
          await change((now) =>
            now.era === meta.era && now.epoch === meta.epoch ? inNewEra(now, now.epoch) : now,
          );
          continue;
        }
        if (stop && stop.why !== 'refused') throw stop.error;
        if (!level1) await turn(() => pullLevel0(tables, flask, meta));
        return stop?.error;
      }
    },
    async isShutOut() {
      const level1 = flask.level1();
      const code = level1
        ? (await level1.batch({}, [])).error?.code
        : await flask.run([{ type: 'get', key: '_health_check' }]).then(
            ([outcome]) => (outcome?.status === 'rejected' ? outcome.reason.code : undefined),
            (error) => error.code,
          );
      return code === 'forbidden';
    },
    async pull() {
      const level1 = flask.level1();
      const meta = await tables.read((reading) => reading.meta());
      return level1?.tellsChanges && meta ? pull(tables, level1, meta, signal) : true;
    },
  };
}
