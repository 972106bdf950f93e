/**
 * Keys and counts of what is here: the mirror, with the writes that wait laid over it.
 */
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { utf8Length } from '../../core/keys.ts';
import { compareKeys, type KeyRange, select } from '../../core/order.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { clearsOf, type ReadTransaction, type SyncDatabase } from '../database.ts';
import { isOfOtherAccount } from '../rules/account.ts';
import { ALL_KEYS, type KeyState, lastAcknowledged, localView, type Meta } from '../rules/state.ts';
import { checkAccount } from './account.ts';

const PAGE = 500;

/** What `list` answers, with the keys that wait to be written, and without those that wait to be deleted. */
export async function withPending(
  database: SyncDatabase,
  known: KnownAccount | undefined,
  list: (range: KeyRange) => Promise<string[]>,
  range: KeyRange,
  limitMs?: number,
): Promise<string[]> {
  // Before the server is asked: what leaves the outbox meanwhile may have come too late for its list.
  const pending = await database
    .withPatience(
      database.read(async (transaction) => {
        const pending = await transaction.pending();
        if (pending.size === 0 || !isOfOtherAccount(await transaction.meta(), known)) return pending;
        return new Map<string, KeyState>();
      }),
      limitMs,
    )
    .catch(() => new Map<string, KeyState>());
  if (pending.size === 0) return list(range);
  // The limit and the order are those of what is left when the writes that wait are laid over it.
  const { limit: _, reverse: __, ...all } = range;
  return overlaid(await list(all), pending, range);
}

/** The keys of the mirror that are in a range, with the writes that wait. */
export async function localKeys(
  database: SyncDatabase,
  known: KnownAccount | undefined,
  range: KeyRange,
): Promise<string[]> {
  const { keys, pending } = await database.read(async (transaction) => {
    const meta = await transaction.meta();
    checkAccount(meta, known);
    checkComplete(meta);
    const keys = await transaction.keys<string>('mirror', range.prefix ?? '');
    return { keys, pending: await transaction.pending() };
  });
  return overlaid(keys, pending, range);
}

/** Counts of the same. */
export async function localStats(
  database: SyncDatabase,
  known: KnownAccount | undefined,
): Promise<StorageStats> {
  const keys = await localKeys(database, known, {});
  let sizeBytes = 0;
  for (let from = 0; from < keys.length; from += PAGE)
    sizeBytes += await database.read((transaction) => sizeOf(transaction, keys.slice(from, from + PAGE)));
  return { keys: keys.length, sizeBytes };
}

async function sizeOf(transaction: ReadTransaction, keys: readonly string[]): Promise<number> {
  const meta = (await transaction.meta()) as Meta;
  const keyStates = await transaction.keyStates([...keys, ALL_KEYS]);
  return keys.reduce((sum, key) => {
    const value = localView(keyStates.get(key) as KeyState, clearsOf(keyStates), meta)?.value;
    return sum + (value ? utf8Length(JSON.stringify(value.json)) : 0);
  }, 0);
}

function overlaid(
  keys: readonly string[],
  pending: ReadonlyMap<string, KeyState>,
  range: KeyRange,
): string[] {
  const cleared = clearsOf(pending).at(-1);
  const all = new Set(cleared ? [] : keys);
  for (const [key, keyState] of pending) {
    const last = lastAcknowledged(keyState);
    if (key === ALL_KEYS || !last) continue;
    if (last.value && last.order > (cleared?.order ?? 0)) all.add(key);
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
