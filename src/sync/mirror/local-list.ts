/**
 * Keys and counts of what is here: the mirror, with the writes that wait laid over it.
 */
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { utf8Length } from '../../core/keys.ts';
import { compareKeys, type KeyRange, select } from '../../core/order.ts';
import { clearsOf, type Reading, type Tables } from '../database.ts';
import { ALL, lastOf, type Meta, type Place, viewOf } from '../rules/state.ts';

const PAGE = 500;

/** What `list` answers, with the keys that wait to be written, and without those that wait to be deleted. */
export async function withPending(
  tables: Tables,
  list: (range: KeyRange) => Promise<string[]>,
  range: KeyRange,
): Promise<string[]> {
  // Before the server is asked: what leaves the outbox meanwhile may have come too late for its list.
  const pending = await tables
    .inTime(tables.read((reading) => reading.pending()))
    .catch(() => new Map<string, Place>());
  if (pending.size === 0) return list(range);
  // The limit and the order are those of what is left when the writes that wait are laid over it.
  const { limit: _, reverse: __, ...all } = range;
  return overlaid(await list(all), pending, range);
}

/** The keys of the mirror that are in a range, with the writes that wait. */
export async function localKeys(tables: Tables, range: KeyRange): Promise<string[]> {
  const { keys, pending } = await tables.read(async (reading) => {
    checkComplete(await reading.meta());
    const keys = await reading.keys<string>('mirror', range.prefix ?? '');
    return { keys, pending: await reading.pending() };
  });
  return overlaid(keys, pending, range);
}

/** Counts of the same. */
export async function localStats(tables: Tables): Promise<StorageStats> {
  const keys = await localKeys(tables, {});
  let sizeBytes = 0;
  for (let from = 0; from < keys.length; from += PAGE)
    sizeBytes += await tables.read((reading) => sizeOf(reading, keys.slice(from, from + PAGE)));
  return { keys: keys.length, sizeBytes };
}

async function sizeOf(reading: Reading, keys: readonly string[]): Promise<number> {
  const meta = (await reading.meta()) as Meta;
  const places = await reading.places([...keys, ALL]);
  return keys.reduce((sum, key) => {
    const held = viewOf(places.get(key) as Place, clearsOf(places), meta)?.held;
    return sum + (held ? utf8Length(JSON.stringify(held.json)) : 0);
  }, 0);
}

function overlaid(keys: readonly string[], pending: ReadonlyMap<string, Place>, range: KeyRange): string[] {
  const cleared = clearsOf(pending).at(-1);
  const all = new Set(cleared ? [] : keys);
  for (const [key, place] of pending) {
    const last = lastOf(place);
    if (key === ALL || !last) continue;
    if (last.held && last.n > (cleared?.n ?? 0)) all.add(key);
    else all.delete(key);
  }
  return select([...all].sort(compareKeys), range);
}

/** @throws {StorageError} `unavailable` where the mirror may lack keys. */
function checkComplete(meta: Meta | undefined): void {
  if (meta?.level === undefined || meta.cursor !== undefined) return;
  throw new StorageError(
    'unavailable',
    'The server is away, and not everything that it holds was read here: listing has to wait until it is back.',
  );
}
