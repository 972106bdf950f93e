/**
 * The mirror filled from the server, so that what was never read can be read when the server is away.
 *
 * On level 1 by the change feed, from where the mirror is complete; on level 0, which has no revisions, by reading everything. A
 * data set that is too large for that is mirrored key by key, as it is read and written.
 */

import type { Operation } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { heldOf } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { changesOf } from '../../remote/level1/changes.ts';
import { type Level1, nameOf } from '../../remote/level1/protocol.ts';
import type { Tables } from '../database.ts';
import type { Meta, Place } from '../rules/state.ts';
import { learn, type News } from './learn.ts';

/** Bytes of all values beyond which a data set is not mirrored as a whole. Level 0 reads all of it at each start. */
const MOST = 64 * 1024 * 1024;
const MOST_LEVEL0 = 8 * 1024 * 1024;
const PAGE = 1000;
const COMPARED = 500;

/**
 * Go on where the mirror is complete.
 *
 * @returns Whether the server is still the one that was met.
 * @throws {StorageError} where it does not answer, or the disk is full.
 */
export async function pull(
  tables: Tables,
  level1: Level1,
  meta: Meta,
  signal: AbortSignal,
): Promise<boolean> {
  if (meta.cursor === undefined) {
    const stats = await level1.read('stats', ({ sizeBytes }) =>
      typeof sizeBytes === 'number' ? sizeBytes : undefined,
    );
    if (!(Number(stats.answer ?? MOST) < MOST)) return true;
  }
  /** Keys of a mirror that is filled from the start: what is not among them is gone. */
  const met = meta.cursor === undefined ? new Set<string>() : undefined;
  for (let cursor = meta.cursor; !signal.aborted; ) {
    const since = cursor === undefined ? '' : `since=${encodeURIComponent(`${meta.epoch}.${cursor}`)}&`;
    const page = await level1.read(`changes?${since}limit=${PAGE}`, changesOf);
    if (!page.answer) {
      const problem = nameOf(page.type);
      // Too old a cursor: from the start, when next it is tried.
      if (problem === 'cursor-gone') await remember(tables, meta, { cursor: undefined });
      if (problem === 'epoch-changed') return false;
      if (problem !== 'cursor-gone') throw page.error;
      return true;
    }
    const { epoch, changes, seq, more } = page.answer;
    if (epoch !== meta.epoch) return false;
    const news = changes.map(
      ({ key, held, rev, type }): News =>
        type === 'clear'
          ? { era: meta.era, clearedAt: rev }
          : { key, seen: { era: meta.era, epoch, seq: rev, held } },
    );
    for (const { key } of changes) met?.add(key);
    await tables.write((writing) => learn(writing, news, meta.era, seq));
    cursor = seq;
    if (more && met) continue;
    await remember(tables, meta, { cursor, lastSyncAtMs: Date.now() }, met);
    if (!more) return true;
  }
  return true;
}

/** Store what has become of the mirror, in the era that it was found in. */
const remember = (
  tables: Tables,
  { era }: Meta,
  found: Partial<Meta>,
  met?: ReadonlySet<string>,
): Promise<void> =>
  tables.write(async (writing) => {
    const meta = await writing.meta();
    if (meta?.era !== era) return;
    writing.setMeta({ ...meta, ...found });
    if (!met) return;
    const keys = await writing.keys<string>('mirror');
    const seq = Number(found.cursor);
    for (const [key, { seen }] of await writing.places(keys.filter((key) => !met.has(key))))
      if (meta.level === 0) writing.setSeen(key, { era, epoch: '', seq });
      else if (seen && seen.era === era && seen.seq <= seq)
        writing.setSeen(key, { ...seen, seq, held: undefined });
  });

/**
 * Read again what was seen before `era`. What the server no longer has is parked when its answer is put into the mirror. Where not
 * everything is answered, what is left is read again when the server is met next.
 */
export async function compareAll(
  tables: Tables,
  flask: FlaskBackend,
  { era }: Meta,
  learned: () => Promise<void>,
): Promise<void> {
  const isOld = (places: ReadonlyMap<string, Place>, key: string): boolean => {
    const seen = places.get(key)?.seen;
    return seen?.held !== undefined && seen.era !== era;
  };
  for (let from: string | undefined = ''; from !== undefined; ) {
    const start: string = from;
    const [keys, places] = await tables.read(async (reading) => {
      const keys = await reading.keys<string>('mirror', start, COMPARED);
      return [keys, await reading.places(keys)] as const;
    });
    const old = keys.filter((key) => isOld(places, key));
    await flask.run(old.map((key): Operation => ({ type: 'get', key })));
    await learned();
    const after = await tables.read((reading) => reading.places(old));
    if (old.some((key) => isOld(after, key))) return;
    const last = keys.at(-1);
    // The next text after the last one.
    from = keys.length < COMPARED || last === undefined ? undefined : `${last}\0`;
  }
  await tables.write(async (writing) => {
    const meta = await writing.meta();
    if (meta?.era === era) writing.setMeta({ ...meta, rewound: false });
  });
}

/**
 * Read everything that a server of level 0 holds. Where a value among it is none that can be held here, the mirror is filled key by
 * key, as they are read.
 */
export async function pullLevel0(tables: Tables, flask: FlaskBackend, { era }: Meta): Promise<void> {
  const { sizeBytes } = await flask.stats();
  if (sizeBytes > MOST_LEVEL0) return;
  const met = new Set<string>();
  try {
    for await (const page of flask.entries({})) {
      const news: News[] = [];
      for (const [key, value] of page) {
        met.add(key);
        news.push({ key, seen: { era, epoch: '', seq: 0, held: await heldOf(key, snapshot(value)) } });
      }
      await tables.write((writing) => learn(writing, news, era, 0));
    }
  } catch (error) {
    if ((error as StorageError).code === 'unsupported-value') return;
    throw error;
  }
  await remember(tables, { era } as Meta, { cursor: 0 }, met);
}
