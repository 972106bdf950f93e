/**
 * The outboxes of this device, of all servers and databases: lists their entries and discards single ones.
 *
 * Each outbox is opened by itself: its storage may be open in this tab, in another one, or in none.
 */
import { createChangeFeed } from '../../core/change-feed.ts';
import { StorageError } from '../../core/errors.ts';
import { utf8Length } from '../../core/keys.ts';
import type { OutboxEntry } from '../../core/outbox.ts';
import { findIndexedDb } from '../../core/platform.ts';
import { lastNumberIn } from '../../indexeddb/commits.ts';
import { createConnection } from '../../indexeddb/connection.ts';
import { clearsOf, createSyncDatabase, type SyncDatabase } from '../database.ts';
import { applyDecision } from '../rules/outbox.ts';
import { ALL_KEYS, type ConflictRecord, type QueuedWrite } from '../rules/state.ts';
import { createTabs } from '../tabs/channel.ts';

/** The prefix of the names of sync's databases. */
export const DATABASE_PREFIX = 'codeforge-sync:';

/** Lists the queued writes of this device, the oldest of each server first. */
export async function listOutboxes(timeout: number): Promise<OutboxEntry[]> {
  const entries: OutboxEntry[] = [];
  for (const { name = '', version } of (await findIndexedDb()?.databases?.()) ?? []) {
    // WebKit lists databases of aborted creations with version 0.
    if (!name.startsWith(DATABASE_PREFIX) || version === 0) continue;
    await withDatabase(name, timeout, async (database) => {
      const { writes, meta } = await database.read(async (transaction) => ({
        writes: await transaction.allWrites(),
        meta: await transaction.meta(),
      }));
      const owner = { serverUrl: '', database: '', ...meta?.owner };
      for (const parts of unitsOf(writes.filter(({ rejected }) => !rejected)))
        entries.push({ ...entryOf(name, parts), ...owner });
    });
  }
  return entries;
}

/**
 * Takes an entry out of its outbox.
 *
 * @param isKept Whether its values are kept among the conflicts.
 * @throws {StorageError} `invalid-option` if there is no such entry.
 */
export async function discardEntry(id: string, isKept: boolean, timeout: number): Promise<void> {
  const [, name = '', order] = /^(.*) (\d+)$/.exec(id) ?? [];
  const missing = new StorageError(
    'invalid-option',
    `The outbox has no entry ${id}: it was sent or discarded meanwhile, or it is no id from outbox().`,
  );
  if (!name.startsWith(DATABASE_PREFIX)) throw missing;
  await withDatabase(name, timeout, (database) =>
    database.write(async (writing) => {
      const parts = unitsOf((await writing.allWrites()).filter(({ rejected }) => !rejected)).find(
        ([first]) => first?.order === Number(order),
      );
      if (!parts) throw missing;
      const keyStates = await writing.keyStates([...new Set([ALL_KEYS, ...parts.map(({ key }) => key)])]);
      for (const write of parts) {
        const { writes = [] } = keyStates.get(write.key) ?? {};
        // A write that may have been applied stays until that is known: later writes follow it.
        const after = write.sentAs
          ? writes.map((other) =>
              other.order === write.order ? { ...other, rejected: true as const } : other,
            )
          : applyDecision(writes, write, { type: 'not-applied' }, clearsOf(keyStates)).writes;
        writing.setWrites(write.key, writes, after);
      }
      if (isKept) await writing.addConflicts(parts.map(conflictOf));
    }, true),
  );
  const tabs = createTabs(name, () => {});
  tabs.tell('changed');
  tabs.close();
}

async function withDatabase(
  name: string,
  timeout: number,
  work: (database: SyncDatabase) => Promise<void>,
): Promise<void> {
  const connection = createConnection(name, timeout);
  const feed = createChangeFeed(name, () => connection.readInSteps(lastNumberIn));
  try {
    await work(createSyncDatabase(connection, undefined, undefined, feed));
  } finally {
    feed.close();
    connection.close();
  }
}

/** The writes of each entry: an atomic unit is one entry. */
function unitsOf(writes: readonly QueuedWrite[]): QueuedWrite[][] {
  const units = new Map<number, QueuedWrite[]>();
  for (const write of writes) {
    const n = write.unit?.order ?? write.order;
    units.set(n, [...(units.get(n) ?? []), write]);
  }
  return [...units.values()];
}

function entryOf(name: string, writes: readonly QueuedWrite[]): Omit<OutboxEntry, 'serverUrl' | 'database'> {
  const [{ order, key, unit, dependsOnBase, value, atMs, failed }] = writes as [QueuedWrite];
  const type =
    key === ALL_KEYS ? 'clear' : unit ? 'atomic' : dependsOnBase ? 'update' : value ? 'set' : 'delete';
  return {
    id: `${name} ${order}`,
    type,
    keys: key === ALL_KEYS ? [] : writes.map((write) => write.key),
    atMs,
    attempts: failed?.attempts ?? 0,
    lastError: failed?.error,
    sizeBytes: writes.reduce(
      (sum, write) => sum + (write.value ? utf8Length(JSON.stringify(write.value.json)) : 0),
      0,
    ),
  };
}

const conflictOf = ({ key, base, value, unit, sentAs }: QueuedWrite): ConflictRecord => ({
  key,
  reason: 'discarded',
  base: base?.value,
  local: value,
  server: undefined,
  detail: sentAs
    ? 'It was discarded. It may have reached the server before.'
    : 'It was discarded before it was sent.',
  atMs: Date.now(),
  ...(unit && { unit: unit.order }),
});
