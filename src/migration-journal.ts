/**
 * The journal of a migration on the disk: a database of its own, `codeforge-migration:…`, deleted when the migration is done.
 *
 * One run at a time writes it. Whoever begins takes it over, and a run that finds it taken ends.
 */

import { createConnection, settled } from './backends/indexeddb-connection.ts';
import { resultOf } from './backends/indexeddb-errors.ts';
import { StorageError } from './core/errors.ts';
import { hash } from './core/hash.ts';
import type { Journal, JournalPage } from './tools/journal.ts';
import type { Fate } from './tools/placing.ts';

/** After so long a target may have become anything. */
const MAX_AGE_MS = 24 * 60 * 60 * 1000;

interface Meta {
  /** Which migration it is of: another one begins anew. */
  readonly of: string;
  /** Who writes it. */
  readonly run: string;
  readonly startedAtMs: number;
  readonly position: string | undefined;
}

/** A page on the disk: most fates are `written`. */
interface Row {
  readonly end: string;
  readonly keys: readonly string[];
  readonly hashes: readonly number[];
  readonly others: ReadonlyMap<number, Fate>;
}

const META = 'meta';
const range = (room: 'page' | 'end'): IDBKeyRange => IDBKeyRange.bound([room], [room, []]);

/**
 * Take over the journal of a migration.
 *
 * @param pair Names source and target: there is one journal for both.
 * @param of Names the migration: one that was noted down under another name is forgotten.
 */
export async function openJournal(
  pair: string,
  of: string,
  timeout: number,
): Promise<Journal & { close(): void }> {
  const name = `codeforge-migration:${hash(pair, 1).toString(36)}`;
  const connection = createConnection(name, timeout);
  const run = Math.random().toString(36).slice(2);
  const ends: string[] = [];
  const fresh = (): Meta => ({ of, run, startedAtMs: Date.now(), position: undefined });
  let meta = fresh();
  let resumed = false;

  /** Write, as long as the journal is this run's. */
  async function write(work: (store: IDBObjectStore) => IDBRequest[]): Promise<void> {
    const requests = await connection.write(async (store) => {
      const [found] = await settled([store.get(META)] as const);
      if ((found.result as Meta | undefined)?.run !== run)
        throw new StorageError('migration', 'Another tab has taken over this migration.');
      return work(store);
    });
    for (const request of requests) resultOf(request, name);
  }
  const wipe = (store: IDBObjectStore): IDBRequest[] => {
    meta = fresh();
    return [store.delete(range('page')), store.delete(range('end')), store.put(meta, META)];
  };

  const taking = await connection.write(async (store) => {
    const [known, last] = await settled([store.get(META), store.getAll(range('end'))] as const);
    const before = known.result as Meta | undefined;
    if (before?.of !== of || Date.now() - before.startedAtMs > MAX_AGE_MS) return wipe(store);
    meta = { ...before, run };
    resumed = true;
    ends.push(...(last.result as string[]));
    return [store.put(meta, META)];
  });
  for (const request of taking) resultOf(request, name);

  return {
    ends,
    resumed: () => resumed,
    async page(n) {
      const [request] = await connection.read((store) => [store.get(['page', n])] as const);
      const { others, ...row } = resultOf(request, name) as Row;
      return { ...row, fates: row.keys.map((_, i) => others.get(i) ?? 'written') };
    },
    async put(n, { fates, ...page }: JournalPage) {
      const others = new Map([...fates.entries()].filter(([, fate]) => fate !== 'written'));
      const row: Row = { ...page, others };
      await write((store) => [store.put(row, ['page', n]), store.put(page.end, ['end', n])]);
      ends[n] = page.end;
    },
    position: () => meta.position,
    async setPosition(position) {
      meta = { ...meta, position };
      await write((store) => [store.put(meta, META)]);
    },
    async clear() {
      await write(wipe);
      resumed = false;
      ends.length = 0;
    },
    async end() {
      await write(wipe);
      connection.close();
      indexedDB.deleteDatabase(name);
    },
    close: () => connection.close(),
  };
}
