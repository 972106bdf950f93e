/** Backups of a storage in a real browser: the suite of every engine, and what only a browser's own database and streams show. */
import { describe, expect, it } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { backups } from '../contract/backups.ts';
import { codeOf } from '../contract/codes.ts';
import { imports } from '../contract/imports.ts';
import { recordsOf } from '../support/backup-files.ts';
import { databaseOfEachTest, settled } from '../support/browser-database.ts';
import { failure } from '../support/rejection.ts';

const { name, open } = databaseOfEachTest();

let others = 0;
const openOther = () => {
  others += 1;
  return open({ database: `${name()}-${others}` });
};
backups(openOther);
imports(openOther);

/** Put a value into the database as other code on the page would. */
async function putRaw(value: unknown, key: string): Promise<void> {
  const db = await settled(indexedDB.open(name()));
  const [storeName] = db.objectStoreNames;
  await settled(
    db
      .transaction(storeName as string, 'readwrite')
      .objectStore(storeName as string)
      .put(value, key),
  );
  db.close();
}

describe('what cannot be in a backup', () => {
  const MAKERS: ReadonlyArray<readonly [string, () => unknown]> = [
    ['a CryptoKey', () => crypto.subtle.generateKey({ name: 'AES-GCM', length: 128 }, false, ['encrypt'])],
    ['a resizable ArrayBuffer', () => ({ b: new ArrayBuffer(1, { maxByteLength: 2 } as object) })],
  ];
  for (const [what, make] of MAKERS) {
    it(`such as ${what} fails the export with its key, and no reader takes what came for whole`, async () => {
      const storage = open();
      await storage.setMany(Array.from({ length: 2000 }, (_, i) => [`k${i}`, 'x'.repeat(100)]));
      await putRaw(await make(), 'z secret');
      const reader = (await storage.export()).getReader();
      const parts: Uint8Array<ArrayBuffer>[] = [];
      const read = async () => {
        for (;;) {
          const { value, done } = await reader.read();
          if (done) return;
          parts.push(value as Uint8Array<ArrayBuffer>);
        }
      };
      const error = await failure(read());
      expect(error).toMatchObject({ code: 'unsupported-value' });
      expect(error.message).toContain('z secret');
      expect(parts.length).toBeGreaterThan(1);
      expect(await codeOf(open().import(new Blob(parts), { dryRun: true }))).toBe('invalid-backup');
      expect(await failure(storage.export({ as: 'blob' }))).toMatchObject({ code: 'unsupported-value' });
    });

    it(`such as ${what} is told to onRefused and left out, and the backup of the others is whole`, async () => {
      const storage = open();
      await storage.setMany([
        ['a', 1],
        ['z', 2],
      ]);
      await putRaw(await make(), 'secret');
      const told: unknown[] = [];
      const onRefused = (refused: unknown) => void told.push(refused);
      const blob = await storage.export({ as: 'blob', onRefused });
      expect(told).toEqual([{ key: 'secret', reason: expect.stringContaining('secret') }]);
      expect(recordsOf(await blob.text())).toEqual(['{"key":"a","value":1}', '{"key":"z","value":2}']);
      expect(await storage.import(blob, { mode: 'fail' })).toBe(2);
      const why = new Error('of the app');
      const throwing = () => {
        throw why;
      };
      expect(await failure(storage.export({ as: 'blob', onRefused: throwing }))).toBe(why);
    });
  }
});

describe('an export of 50,000 entries', () => {
  const COUNT = 50_000;
  const entries = Array.from({ length: COUNT }, (_, i) => [`k${i}`, { i, text: 'x'.repeat(40) }] as const);
  /** As many reads one after the other: an export that reads on reads a page in the time of each. */
  const READS = 20;
  /** Resolves with the number of pages that were read, when nothing is read any more that nobody has asked for. */
  async function quiet(storage: KeyValueStorage, pages: readonly unknown[]): Promise<number> {
    for (let before = -1; before !== pages.length; ) {
      before = pages.length;
      for (let i = 0; i < READS; i += 1) await storage.get('k0');
    }
    return pages.length;
  }

  it('reads no further than a few pages ahead, ends when it is canceled, and is whole when it is read on', async () => {
    const storage = open();
    await storage.setMany(entries);
    const told: number[] = [];
    const onProgress = ({ done }: { done: number }) => void told.push(done);
    const reader = (await storage.export({ onProgress })).getReader();
    await reader.read();
    const afterOne = await quiet(storage, told);
    expect(told.at(-1) ?? 0).toBeLessThan(5000);
    await reader.read();
    expect((await quiet(storage, told)) - afterOne).toBeLessThan(5);
    await reader.cancel();
    await quiet(storage, told);
    expect(told.at(-1) ?? 0).toBeLessThan(5000);
    const whole = await storage.export({ as: 'blob', onProgress });
    expect(told.at(-1)).toBe(COUNT);
    const plan = await storage.import(whole, { dryRun: true });
    expect(plan).toMatchObject({ entries: COUNT, equal: COUNT, conflicts: [], refused: [] });
    // 50,000 entries are written, and read three times.
  }, 120_000);
});
