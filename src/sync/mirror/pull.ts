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
import { changesSince, type Feed } from '../../remote/level1/changes.ts';
import type { Level1 } from '../../remote/level1/protocol.ts';
import type { SyncDatabase } from '../database.ts';
import type { KeyState, Meta } from '../rules/state.ts';
import { type Observation, storeObservations } from './update.ts';

/** The most bytes of values that are mirrored as a whole. On level 0 all of them are read at each start. */
const MOST = 64 * 1024 * 1024;
const MOST_LEVEL0 = 8 * 1024 * 1024;
const COMPARED = 500;

/**
 * Continues at the cursor of the mirror, or fills it from the start.
 *
 * @param feedAt The changes after a cursor.
 * @param stored Is called after each page.
 * @returns How many changes there were; `undefined` if this server cannot be followed, because the mirror has no room for its data. If the
 * server was restored or has forgotten the cursor, the mirror has no cursor afterwards.
 * @throws {StorageError} if the server does not answer, or the disk is full.
 */
export async function pull(
  database: SyncDatabase,
  level1: Level1,
  meta: Meta,
  feedAt: (since: string) => Feed,
  stored: () => void,
): Promise<{ readonly isSameEpoch: boolean; readonly changes: number | undefined }> {
  if (meta.cursor === undefined) {
    const stats = await level1.read('stats', ({ sizeBytes }) =>
      typeof sizeBytes === 'number' ? sizeBytes : undefined,
    );
    if (!(Number(stats.answer ?? MOST) < MOST)) return { isSameEpoch: true, changes: undefined };
  }
  /** The keys that were listed, if the mirror is filled from the start: other keys are gone. */
  const listed = meta.cursor === undefined ? new Set<string>() : undefined;
  const feed = listed ? changesSince(level1, undefined) : feedAt(`${meta.epoch}.${meta.cursor}`);
  try {
    for (let count = 0; ; ) {
      const { value, done } = await feed.next();
      if (done) {
        // The cursor is too old: the next attempt fills the mirror from the start.
        if (value === 'cursor-gone') await remember(database, meta, { cursor: undefined });
        return { isSameEpoch: value !== 'epoch-changed', changes: count };
      }
      const { epoch, changes, seq, more } = value;
      const { generation } = meta;
      const observations = changes.map(
        ({ key, value, rev, type }): Observation =>
          type === 'clear'
            ? { generation, clearedAt: rev }
            : { key, serverState: { generation, epoch, seq: rev, value } },
      );
      const isCurrent =
        epoch === meta.epoch &&
        (await storeObservations(database, observations, generation, seq, { isFeed: !listed }));
      if (!isCurrent) {
        await feed.return(undefined);
        return { isSameEpoch: epoch === meta.epoch, changes: count };
      }
      count += changes.length;
      for (const { type, key } of changes)
        if (type === 'clear') listed?.clear();
        else listed?.add(key);
      if (more && listed) continue;
      await remember(database, meta, { cursor: seq, lastSyncAtMs: Date.now() }, listed);
      stored();
    }
  } finally {
    await feed.return(undefined);
  }
}

/**
 * Stores the progress of the mirror, unless a new generation has begun, or a tab without room on its disk has removed keys meanwhile: the
 * mirror does not know them, so it is not complete.
 *
 * @param listed All keys that the server has, if the mirror was filled from the start.
 */
const remember = (
  database: SyncDatabase,
  { generation }: Meta,
  found: Partial<Meta>,
  listed?: ReadonlySet<string>,
): Promise<void> =>
  database.write(async (writing) => {
    const meta = await writing.meta();
    if (meta?.generation !== generation) return;
    if (!listed) {
      if (meta.cursor !== undefined) writing.setMeta({ ...meta, ...found });
      return;
    }
    const keys = await writing.keys<string>('mirror');
    const known = new Set([...keys, ...(await writing.keys<string>('absent'))]);
    if (![...listed].every((key) => known.has(key))) return;
    writing.setMeta({ ...meta, ...found, wasComplete: true });
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
