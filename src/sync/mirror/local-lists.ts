/**
 * Keys and counts of this device: the mirror, with the queued writes applied to it.
 */
import type { StorageStats } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { utf8Length } from '../../core/keys.ts';
import { compareKeys, type KeyRange, select } from '../../core/order.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { clearsOf, type ReadTransaction, type SyncDatabase } from '../database.ts';
import {
  ALL_KEYS,
  isOfOtherAccount,
  type KeyState,
  lastAcknowledged,
  localView,
  type Meta,
} from '../rules/state.ts';
import { checkAccount } from './account.ts';

const PAGE = 500;

/** The keys that `list` returns, with queued writes applied. */
export async function withPending(
  database: SyncDatabase,
  known: KnownAccount | undefined,
  list: (range: KeyRange) => Promise<string[]>,
  range: KeyRange,
  limitMs?: number,
): Promise<string[]> {
  // Read before the server is asked: a write that leaves the outbox meanwhile may be missing in its list.
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
  // Limit and order apply after the queued writes.
  const { limit: _, reverse: __, ...all } = range;
  return overlaid(await list(all), pending, range);
}

/** The keys of a range of the mirror, with queued writes applied. */
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

/** The counts of the mirror, with queued writes applied. */
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

/** @throws {StorageError} `unavailable` if the mirror may lack keys. */
function checkComplete(meta: Meta | undefined): void {
  if (meta?.level === undefined || meta.cursor !== undefined) return;
  throw new StorageError(
    'unavailable',
    "The server cannot be reached, and this device does not know all of its keys. List them when status().state is 'online'.",
  );
}
