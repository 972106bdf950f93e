/**
 * Fills the mirror from the server, so that the app can read offline what it has never read before.
 *
 * On level 1 the change feed continues at the cursor of the mirror. Level 0 has no revisions, so everything is read. If the data set is
 * too large for that, keys enter the mirror as the app reads and writes them.
 */

import type { Operation } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { storedJsonOf } from '../../core/json.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { changesOf } from '../../remote/level1/changes.ts';
import { type Level1, nameOf } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import type { KeyState, Meta } from '../rules/state.ts';
import { type Observation, storeObservations } from './update.ts';

/** The most bytes of values that are mirrored as a whole. On level 0 all of them are read at each start. */
const MOST = 64 * 1024 * 1024;
const MOST_LEVEL0 = 8 * 1024 * 1024;
const PAGE = 1000;
const COMPARED = 500;

/**
 * Continues at the cursor of the mirror.
 *
 * @param holdMs Milliseconds for which the server is to hold back an answer without changes.
 * @returns Whether the epoch is still that of the handshake, and how many changes there were; `undefined` if the mirror has no cursor
 * afterwards, so that it cannot be continued.
 * @throws {StorageError} if the server does not answer, or the disk is full.
 */
export async function pull(
  database: SyncDatabase,
  level1: Level1,
  meta: Meta,
  signal: AbortSignal,
  holdMs = 0,
): Promise<{ readonly isSameEpoch: boolean; readonly changes: number | undefined }> {
  const unfollowed = { isSameEpoch: true, changes: undefined };
  let count = 0;
  if (meta.cursor === undefined) {
    const stats = await level1.read('stats', ({ sizeBytes }) =>
      typeof sizeBytes === 'number' ? sizeBytes : undefined,
    );
    if (!(Number(stats.answer ?? MOST) < MOST)) return unfollowed;
  }
  /** The keys that were listed, if the mirror is filled from the start: other keys are gone. */
  const listed = meta.cursor === undefined ? new Set<string>() : undefined;
  for (let cursor = meta.cursor; !signal.aborted; ) {
    const since = cursor === undefined ? '' : `since=${encodeURIComponent(`${meta.epoch}.${cursor}`)}&`;
    const wait = cursor === undefined || count > 0 ? '' : `&wait=${Math.floor(holdMs / 1000)}`;
    const page = await level1.read(`changes?${since}limit=${PAGE}${wait}`, changesOf);
    if (!page.answer) {
      const problem = nameOf(page.type);
      // The cursor is too old: the next attempt fills the mirror from the start.
      if (problem === 'cursor-gone') await remember(database, meta, { cursor: undefined });
      if (problem === 'epoch-changed') return { isSameEpoch: false, changes: undefined };
      if (problem !== 'cursor-gone') throw page.error;
      return unfollowed;
    }
    const { epoch, changes, seq, more } = page.answer;
    if (epoch !== meta.epoch) return { isSameEpoch: false, changes: undefined };
    count += changes.length;
    const observations = changes.map(
      ({ key, value, rev, type }): Observation =>
        type === 'clear'
          ? { generation: meta.generation, clearedAt: rev }
          : { key, serverState: { generation: meta.generation, epoch, seq: rev, value } },
    );
    for (const { key } of changes) listed?.add(key);
    await storeObservations(database, observations, meta.generation, seq, { isFeed: !listed });
    cursor = seq;
    if (more && listed) continue;
    await remember(database, meta, { cursor, lastSyncAtMs: Date.now() }, listed);
    if (!more) break;
  }
  return { isSameEpoch: true, changes: count };
}

/** Stores the progress of the mirror, unless a new generation has begun. */
const remember = (
  database: SyncDatabase,
  { generation }: Meta,
  found: Partial<Meta>,
  listed?: ReadonlySet<string>,
): Promise<void> =>
  database.write(async (writing) => {
    const meta = await writing.meta();
    if (meta?.generation !== generation) return;
    writing.setMeta({ ...meta, ...found });
    if (!listed) return;
    const keys = await writing.keys<string>('mirror');
    const seq = Number(found.cursor);
    for (const [key, { serverState }] of await writing.keyStates(keys.filter((key) => !listed.has(key))))
      if (meta.level === 0) writing.setServerState(key, { generation, epoch: '', seq });
      else if (serverState && serverState.generation === generation && serverState.seq <= seq)
        writing.setServerState(key, { ...serverState, seq, value: undefined });
  });

/**
 * Reads the keys of earlier generations again. Values that the server no longer has become conflicts when its answer updates the mirror.
 * Keys that are not answered are read again after the next handshake.
 */
export async function compareAll(
  database: SyncDatabase,
  flask: FlaskBackend,
  { generation }: Meta,
  whenUpdated: () => Promise<void>,
): Promise<void> {
  const isOld = (keyStates: ReadonlyMap<string, KeyState>, key: string): boolean => {
    const serverState = keyStates.get(key)?.serverState;
    return serverState?.value !== undefined && serverState.generation !== generation;
  };
  for (let from: string | undefined = ''; from !== undefined; ) {
    const start: string = from;
    const [keys, keyStates] = await database.read(async (transaction) => {
      const keys = await transaction.keys<string>('mirror', start, COMPARED);
      return [keys, await transaction.keyStates(keys)] as const;
    });
    const old = keys.filter((key) => isOld(keyStates, key));
    await flask.run(old.map((key): Operation => ({ type: 'get', key })));
    await whenUpdated();
    const after = await database.read((transaction) => transaction.keyStates(old));
    if (old.some((key) => isOld(after, key))) return;
    const last = keys.at(-1);
    // The next text after the last one.
    from = keys.length < COMPARED || last === undefined ? undefined : `${last}\0`;
  }
  await database.write(async (writing) => {
    const meta = await writing.meta();
    if (meta?.generation === generation) writing.setMeta({ ...meta, needsComparison: false });
  });
}

/**
 * Reads everything that a server of level 0 holds. If one value cannot be stored, keys enter the mirror as the app reads them.
 */
export async function pullLevel0(
  database: SyncDatabase,
  flask: FlaskBackend,
  { generation }: Meta,
): Promise<void> {
  const { sizeBytes } = await flask.stats();
  if (sizeBytes > MOST_LEVEL0) return;
  const listed = new Set<string>();
  try {
    for await (const page of flask.entries({})) {
      const observations: Observation[] = [];
      for (const [key, value] of page) {
        listed.add(key);
        observations.push({
          key,
          serverState: { generation, epoch: '', seq: 0, value: await storedJsonOf(key, snapshot(value)) },
        });
      }
      await storeObservations(database, observations, generation, 0);
    }
  } catch (error) {
    if ((error as StorageError).code === 'unsupported-value') return;
    throw error;
  }
  await remember(database, { generation } as Meta, { cursor: 0 }, listed);
}
