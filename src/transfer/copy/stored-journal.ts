/**
 * The journal of a migration on the disk: a database of its own, `codeforge-migration:…`, deleted when the migration is done.
 *
 * One run at a time writes it. Whoever begins takes it over, and a run that finds it taken ends.
 */

import { StorageError } from '../../core/errors.ts';
import { hash } from '../../core/hash.ts';
import { findIndexedDb } from '../../core/platform.ts';
import { createConnection, settled } from '../../indexeddb/connection.ts';
import { resultOf } from '../../indexeddb/errors.ts';
import { type Begun, hashOf, type Journal, type JournalPage } from './journal.ts';
import type { Fate } from './target.ts';

/** After so long a target may have become anything. */
const MAX_AGE_MS = 24 * 60 * 60 * 1000;
/** Pages that may have been under way when a run was cut off: one that is read back, and one that is sent. */
const UNDER_WAY = 2;

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
const range = (room: 'page' | 'end' | 'begun'): IDBKeyRange => IDBKeyRange.bound([room], [room, []]);

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
  let unnoted = 0;
  let begun: Begun[] = [];
  let begunAs: IDBValidKey[] = [];

  const checkOwn = ({ result }: IDBRequest): void => {
    if ((result as Meta | undefined)?.run !== run)
      throw new StorageError('migration', 'Another tab has taken over this migration.');
  };
  /** Write, as long as the journal is this run's. */
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
      ...(['page', 'end', 'begun'] as const).map((room) => store.delete(range(room))),
      store.put(meta, META),
    ];
  };

  const taking = await connection.write(async (store) => {
    const [known, last, rows, names] = await settled([
      store.get(META),
      store.getAll(range('end')),
      store.getAll(range('begun')),
      store.getAllKeys(range('begun')),
    ] as const);
    const before = known.result as Meta | undefined;
    if (before) unnoted = UNDER_WAY;
    if (before?.of !== of || Date.now() - before.startedAtMs > MAX_AGE_MS) {
      // Most of it is there, as long as it is the same target.
      unnoted += last.result.length;
      return wipe(store);
    }
    meta = { ...before, run };
    ends.splice(0, ends.length, ...(last.result as string[]));
    begun = rows.result;
    begunAs = names.result;
    return [store.put(meta, META)];
  });
  for (const request of taking) resultOf(request, name);

  return {
    ends,
    unnoted: () => unnoted,
    async page(n) {
      const [found, request] = await connection.read(
        (store) => [store.get(META), store.get(['page', n])] as const,
      );
      // What another run has noted down may be of other ranges.
      checkOwn(found as IDBRequest);
      const { others, ...row } = resultOf(request, name) as Row;
      return { ...row, fates: row.keys.map((_, i) => others.get(i) ?? 'written') };
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
    async put(n, { fates, ...page }: JournalPage) {
      const others = new Map([...fates.entries()].filter(([, fate]) => fate !== 'written'));
      const row: Row = { ...page, others };
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
      unnoted = 0;
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
