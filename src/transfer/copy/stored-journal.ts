/**
 * The journal of a migration on disk. It is a database of its own, `codeforge-migration:…`, which is deleted when the migration is done.
 *
 * Only one run at a time writes it. A new run takes the journal over, and the earlier run then ends with an error.
 */

import { StorageError } from '../../core/errors.ts';
import { hash } from '../../core/hash.ts';
import { findIndexedDb } from '../../core/platform.ts';
import { createConnection, settled } from '../../indexeddb/connection.ts';
import { resultOf } from '../../indexeddb/errors.ts';
import { type Begun, hashOf, type Journal, type JournalPage } from './journal.ts';
import type { EntryResult } from './target.ts';

/** The age after which a journal is not continued, because the target may have changed too much. */
const MAX_AGE_MS = 24 * 60 * 60 * 1000;
/** Pages that may have been in progress when a run was interrupted: one being read back, and one being sent. */
const IN_PROGRESS = 2;

interface Meta {
  /** Identifies the migration. A different one starts from the beginning. */
  readonly of: string;
  /** Identifies the run that writes the journal. */
  readonly run: string;
  readonly startedAtMs: number;
  readonly position: string | undefined;
}

/** A page on disk. `others` holds only the results that are not `written`, which are few. */
interface StoredPage {
  readonly end: string;
  readonly keys: readonly string[];
  readonly hashes: readonly number[];
  readonly others: ReadonlyMap<number, EntryResult>;
}

const META = 'meta';
const range = (prefix: 'page' | 'end' | 'begun'): IDBKeyRange => IDBKeyRange.bound([prefix], [prefix, []]);

/**
 * Opens the journal of a migration and takes it over from earlier runs.
 *
 * @param pair Identifies source and target, which share one journal.
 * @param of Identifies the migration. The journal of a different migration is deleted.
 * @param timeout Time limit of database operations in milliseconds.
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
  let unrecorded = 0;
  let begun: Begun[] = [];
  let begunAs: IDBValidKey[] = [];

  const checkOwn = ({ result }: IDBRequest): void => {
    if ((result as Meta | undefined)?.run !== run)
      throw new StorageError(
        'migration',
        'Another run, perhaps in another tab, has taken over this migration.',
      );
  };
  /** Writes to the journal, if it still belongs to this run. */
  async function write(work: (store: IDBObjectStore) => IDBRequest[]): Promise<void> {
    const requests = await connection.write(async (store) => {
      const [found] = await settled([store.get(META)] as const);
      checkOwn(found);
      return work(store);
    });
    for (const request of requests) resultOf(request, name);
  }
  const wipe = (store: IDBObjectStore): IDBRequest[] => {
    meta = fresh();
    return [
      ...(['page', 'end', 'begun'] as const).map((prefix) => store.delete(range(prefix))),
      store.put(meta, META),
    ];
  };

  const requests = await connection.write(async (store) => {
    const [known, last, rows, names] = await settled([
      store.get(META),
      store.getAll(range('end')),
      store.getAll(range('begun')),
      store.getAllKeys(range('begun')),
    ] as const);
    const before = known.result as Meta | undefined;
    if (before) unrecorded = IN_PROGRESS;
    if (before?.of !== of || Date.now() - before.startedAtMs > MAX_AGE_MS) {
      // If the target is the same, most of these pages are already there.
      unrecorded += last.result.length;
      return wipe(store);
    }
    meta = { ...before, run };
    ends.splice(0, ends.length, ...(last.result as string[]));
    begun = rows.result;
    begunAs = names.result;
    return [store.put(meta, META)];
  });
  for (const request of requests) resultOf(request, name);

  return {
    ends,
    unrecorded: () => unrecorded,
    async page(n) {
      const [found, request] = await connection.read(
        (store) => [store.get(META), store.get(['page', n])] as const,
      );
      // Another run may have recorded other ranges.
      checkOwn(found as IDBRequest);
      const { others, ...row } = resultOf(request, name) as StoredPage;
      return { ...row, results: row.keys.map((_, i) => others.get(i) ?? 'written') };
    },
    async begin(n, entries) {
      const row: Begun = { keys: entries.map(({ key }) => key), hashes: entries.map(hashOf) };
      await write((store) => [store.put(row, ['begun', run, n])]);
    },
    get begun() {
      return begun;
    },
    async forgetBegun() {
      await write((store) => begunAs.map((name) => store.delete(name)));
      begun = begunAs = [];
    },
    async put(n, { results, ...page }: JournalPage) {
      const others = new Map([...results.entries()].filter(([, result]) => result !== 'written'));
      const row: StoredPage = { ...page, others };
      await write((store) => [
        store.put(row, ['page', n]),
        store.put(page.end, ['end', n]),
        store.delete(['begun', run, n]),
      ]);
      ends[n] = page.end;
    },
    position: () => meta.position,
    async setPosition(position) {
      meta = { ...meta, position };
      await write((store) => [store.put(meta, META)]);
    },
    async clear() {
      await write(wipe);
      unrecorded = 0;
      begun = begunAs = [];
      ends.length = 0;
    },
    async end() {
      await write(wipe);
      connection.close();
      findIndexedDb()?.deleteDatabase(name);
    },
    close: () => connection.close(),
  };
}
