/**
 * The outboxes of this device, of all servers and databases: listed, and single entries taken out.
 *
 * Each is opened for itself: its storage may be open in this tab, in another one, or in none.
 */
import { StorageError } from '../../core/errors.ts';
import { utf8Length } from '../../core/keys.ts';
import type { OutboxEntry } from '../../core/outbox.ts';
import { findIndexedDb } from '../../core/platform.ts';
import { createConnection } from '../../indexeddb/connection.ts';
import { clearsOf, createTables, type Tables } from '../database.ts';
import { afterDecision } from '../rules/outbox.ts';
import { ALL, type Parked, type Row } from '../rules/state.ts';
import { createTabs } from '../tabs/tabs.ts';

/** What the names of sync's databases begin with. */
export const DATABASE_PREFIX = 'codeforge-sync:';

/** Lists what waits for a server on this device, the oldest of each server first. */
export async function listOutboxes(timeout: number): Promise<OutboxEntry[]> {
  const entries: OutboxEntry[] = [];
  for (const { name = '', version } of (await findIndexedDb()?.databases?.()) ?? []) {
    // WebKit lists what was never created with version 0.
    if (!name.startsWith(DATABASE_PREFIX) || version === 0) continue;
    await withTables(name, timeout, async (tables) => {
      const { rows, meta } = await tables.read(async (reading) => ({
        rows: await reading.all(),
        meta: await reading.meta(),
      }));
      const { serverUrl = '', database = '' } = meta?.owner ?? {};
      for (const parts of unitsOf(rows.filter(({ rejected }) => !rejected)))
        entries.push({ ...entryOf(name, parts), serverUrl, database });
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
  const [, name = '', n] = /^(.*) (\d+)$/.exec(id) ?? [];
  const missing = new StorageError(
    'invalid-option',
    `The outbox has no entry ${id}: it was sent or discarded meanwhile, or it is no id from outbox().`,
  );
  if (!name.startsWith(DATABASE_PREFIX)) throw missing;
  await withTables(name, timeout, (tables) =>
    tables.write(async (writing) => {
      const parts = unitsOf((await writing.all()).filter(({ rejected }) => !rejected)).find(
        ([first]) => first?.n === Number(n),
      );
      if (!parts) throw missing;
      const places = await writing.places([...new Set([ALL, ...parts.map(({ key }) => key)])]);
      for (const row of parts) {
        const { rows = [] } = places.get(row.key) ?? {};
        // What may have arrived stays until that is known: later writes follow it.
        const after = row.mark
          ? rows.map((other) => (other.n === row.n ? { ...other, rejected: true as const } : other))
          : afterDecision(rows, row, { type: 'not-applied' }, clearsOf(places)).rows;
        writing.setRows(row.key, rows, after);
      }
      if (isKept) await writing.park(parts.map(parkedOf));
    }, true),
  );
  const tabs = createTabs(name, () => {});
  tabs.tell('changed');
  tabs.close();
}

async function withTables(
  name: string,
  timeout: number,
  work: (tables: Tables) => Promise<void>,
): Promise<void> {
  const connection = createConnection(name, timeout);
  try {
    await work(createTables(connection));
  } finally {
    connection.close();
  }
}

/** The rows by entry: those of an atomic unit are one. */
function unitsOf(rows: readonly Row[]): Row[][] {
  const units = new Map<number, Row[]>();
  for (const row of rows) {
    const n = row.unit?.n ?? row.n;
    units.set(n, [...(units.get(n) ?? []), row]);
  }
  return [...units.values()];
}

function entryOf(name: string, rows: readonly Row[]): Omit<OutboxEntry, 'serverUrl' | 'database'> {
  const [{ n, key, unit, updates, held, atMs, failed }] = rows as [Row];
  const type = key === ALL ? 'clear' : unit ? 'atomic' : updates ? 'update' : held ? 'set' : 'delete';
  return {
    id: `${name} ${n}`,
    type,
    keys: key === ALL ? [] : rows.map((row) => row.key),
    atMs,
    attempts: failed?.attempts ?? 0,
    lastError: failed?.error,
    sizeBytes: rows.reduce((sum, row) => sum + (row.held ? utf8Length(JSON.stringify(row.held.json)) : 0), 0),
  };
}

const parkedOf = ({ key, base, held, unit, mark }: Row): Parked => ({
  key,
  reason: 'discarded',
  base: base?.held,
  local: held,
  server: undefined,
  detail: mark
    ? 'It was discarded. It may have reached the server before.'
    : 'It was discarded before it was sent.',
  atMs: Date.now(),
  ...(unit && { unit: unit.n }),
});
