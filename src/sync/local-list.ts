/**
 * Keys and counts of what is here: the mirror, with the writes that wait laid over it.
 */
import type { StorageStats } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { utf8Length } from '../core/keys.ts';
import { compareKeys } from '../core/order.ts';
import { ALL, type Meta, type Place, viewOf } from './rules.ts';
import { clearsOf, type Reading, type Tables } from './tables.ts';

const PAGE = 500;

/** What `list` answers, with the keys that wait to be written, and without those that wait to be deleted. */
export async function withPending(
  tables: Tables,
  list: () => Promise<string[]>,
  prefix: string,
): Promise<string[]> {
  // Before the server is asked: what leaves the outbox meanwhile may have come too late for its list.
  const pending = await tables.read((reading) => reading.pending()).catch(() => new Map<string, Place>());
  return overlaid(await list(), pending, prefix);
}

/** All keys of the mirror that begin with `prefix`, with the writes that wait, in byte order. */
export async function localKeys(tables: Tables, prefix: string): Promise<string[]> {
  const { keys, pending } = await tables.read(async (reading) => {
    checkComplete(await reading.meta());
    const keys = await reading.keys<string>('mirror', prefix);
    return { keys, pending: await reading.pending() };
  });
  return overlaid(keys, pending, prefix);
}

/** Counts of the same. */
export async function localStats(tables: Tables): Promise<StorageStats> {
  const keys = await localKeys(tables, '');
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

function overlaid(keys: readonly string[], pending: ReadonlyMap<string, Place>, prefix: string): string[] {
  const cleared = clearsOf(pending).at(-1);
  const all = new Set(cleared ? [] : keys.filter((key) => key.startsWith(prefix)));
  for (const [key, { rows }] of pending) {
    const last = rows.at(-1);
    if (key === ALL || !last || !key.startsWith(prefix)) continue;
    if (last.held && last.n > (cleared?.n ?? 0)) all.add(key);
    else all.delete(key);
  }
  return [...all].sort(compareKeys);
}

/** @throws {StorageError} `unavailable` where the mirror may lack keys. */
function checkComplete(meta: Meta | undefined): void {
  if (meta?.level === undefined || meta.cursor !== undefined) return;
  throw new StorageError(
    'unavailable',
    'The server is away, and not everything that it holds was read here: listing has to wait until it is back.',
  );
}
