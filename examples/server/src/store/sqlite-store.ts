/**
 * The store over one SQLite file.
 *
 * One connection writes, in groups, and reads in between: it never sees what is not committed, because a group is
 * one synchronous step. A snapshot reads through a connection of its own.
 */
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { openReader, transaction } from './database.ts';
import { createGroupCommit } from './group-commit.ts';
import { type Outcome, type Store, StoreError, type Write } from './store.ts';

/** Characters of values after which a page of a snapshot ends. */
const PAGE_CHARACTERS = 64 * 1024;

/** SQLite's primary result codes. */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/** @param database From `openDatabase`; closed with the store. */
export function createSqliteStore(database: DatabaseSync): Store {
  const readEntry = database.prepare('SELECT value, rev FROM entries WHERE key = ?');
  const readKeys = database.prepare('SELECT key FROM entries ORDER BY key');
  const measure = database.prepare(
    'SELECT COUNT(*) AS keys, COALESCE(SUM(octet_length(value)), 0) AS sizeBytes FROM entries',
  );
  const { value: epoch } = database.prepare("SELECT value FROM meta WHERE name = 'epoch'").get() ?? {};
  const tagOf = (rev: unknown): string => `${epoch}.${rev}`;
  const group = createGroupCommit(createCommit(database, tagOf));

  return {
    async read(key) {
      const row = readEntry.get(key);
      return row && { value: String(row.value), tag: tagOf(row.rev) };
    },
    async keys() {
      return readKeys.all().map(({ key }) => String(key));
    },
    async stats() {
      const { keys, sizeBytes } = measure.get() ?? {};
      return {
        keys: Number(keys),
        sizeBytes: Number(sizeBytes),
        fileName: basename(database.location() ?? ''),
      };
    },
    write: group.submit,
    snapshot: () => pages(database),
    async close() {
      group.flush();
      database.close();
    },
  };
}

/** One transaction for a group of writes. */
function createCommit(
  database: DatabaseSync,
  tagOf: (rev: unknown) => string,
): (writes: readonly Write[]) => Outcome[] {
  const readSeq = database.prepare("SELECT value FROM meta WHERE name = 'seq'");
  const writeSeq = database.prepare("UPDATE meta SET value = ? WHERE name = 'seq'");
  const readRev = database.prepare('SELECT rev FROM entries WHERE key = ?');
  const put = database.prepare(
    'INSERT INTO entries (key, value, rev) VALUES (?, ?, ?) ' +
      'ON CONFLICT (key) DO UPDATE SET value = excluded.value, rev = excluded.rev',
  );
  const remove = database.prepare('DELETE FROM entries WHERE key = ?');
  const removeAll = database.prepare('DELETE FROM entries');

  let seq = 0;

  function tagNow(key: string): string | undefined {
    const row = readRev.get(key);
    return row && tagOf(row.rev);
  }

  function apply(write: Write): Outcome {
    switch (write.type) {
      case 'put':
        return applyPut(write);
      case 'delete':
        return applyDelete(write);
      case 'clear':
        seq += 1;
        removeAll.run();
        return { status: 'done' };
      case 'import':
        for (const [key, value] of write.entries) put.run(key, value, ++seq);
        return { status: 'done' };
    }
  }

  function applyPut({ key, value, condition }: Write & { type: 'put' }): Outcome {
    if (condition) {
      const tag = tagNow(key);
      if (!condition(tag)) return { status: 'condition-failed', tag };
    }
    seq += 1;
    put.run(key, value, seq);
    return { status: 'done', tag: tagOf(seq) };
  }

  function applyDelete({ key, condition }: Write & { type: 'delete' }): Outcome {
    const tag = tagNow(key);
    if (tag === undefined) return { status: 'missing' };
    if (condition?.(tag) === false) return { status: 'condition-failed', tag };
    seq += 1;
    remove.run(key);
    return { status: 'done' };
  }

  return (writes) => {
    try {
      return transaction(database, () => {
        // Read anew each time: another process may have written.
        const before = Number(readSeq.get()?.value);
        seq = before;
        const outcomes = writes.map(apply);
        if (seq !== before) writeSeq.run(seq);
        return outcomes;
      });
    } catch (error) {
      throw new StoreError(codeOf(error), error);
    }
  };
}

function codeOf(error: unknown): 'full' | 'busy' | 'failed' {
  const { errcode } = error as { errcode?: number };
  // The low byte of an extended code is the primary one.
  const primary = (errcode ?? 0) & 0xff;
  if (primary === SQLITE_FULL) return 'full';
  return primary === SQLITE_BUSY ? 'busy' : 'failed';
}

/** One statement is one read transaction, so all pages show one state of the data. */
async function* pages(database: DatabaseSync): AsyncGenerator<Array<[string, string]>, void> {
  const reader = openReader(database);
  try {
    let page: Array<[string, string]> = [];
    let size = 0;
    for (const { key, value } of reader.prepare('SELECT key, value FROM entries ORDER BY key').iterate()) {
      page.push([String(key), String(value)]);
      size += String(key).length + String(value).length;
      if (size >= PAGE_CHARACTERS) {
        yield page;
        page = [];
        size = 0;
      }
    }
    yield page;
  } finally {
    reader.close();
  }
}
