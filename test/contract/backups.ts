/** What is promised of backups on every engine of IndexedDB: they come back whole, and a broken one changes nothing. */
import { describe, expect, it } from 'vitest';
import type { BackupSource, KeyValueStorage } from '../../src/index.ts';
import { bytesOf, filledWith, recordsOf, SAMPLE, streamOf, textOf } from '../support/backup-files.ts';
import { failure } from '../support/rejection.ts';
import { codeOf } from './codes.ts';
import { cycle, ORDINARY_KEYS, PATH_KEYS, VALUES } from './samples.ts';

const SOURCES: ReadonlyArray<readonly [string, (bytes: Uint8Array) => BackupSource]> = [
  ['a Blob', (bytes) => new Blob([bytes as Uint8Array<ArrayBuffer>])],
  ['a stream', (bytes) => streamOf([bytes.slice(0, 7), bytes.slice(7)])],
  ['text', (bytes) => new TextDecoder().decode(bytes)],
];

/** Run the suite; `open` opens a storage of its own, empty. */
export function backups(open: () => KeyValueStorage): void {
  const filled = (entries: Iterable<readonly [string, unknown]>) => filledWith(open, entries);

  describe('a backup', () => {
    for (const format of ['ndjson', 'json'] as const)
      it(`as ${format} brings back every kind of value and every key, byte for byte`, async () => {
        const values = VALUES.map(([name, value]) => [`value: ${name}`, value] as const);
        const keys = [...ORDINARY_KEYS, ...PATH_KEYS].map((key) => [key, { key }] as const);
        const blob = new Blob([new Uint8Array([0, 255, 10])], { type: 'x/y' });
        const file = new File(['text'], 'ä.txt', { type: 'text/plain', lastModified: 1234567890123 });
        const storage = await filled([...values, ...keys, ['blobs', { blob, file }]]);
        const count = (await storage.stats()).keys;
        const text = await textOf(storage, format);
        const asBlob = await storage.export({ format, as: 'blob' });
        expect(asBlob.type).toBe(format === 'json' ? 'application/json' : 'application/x-ndjson');
        expect(recordsOf(await asBlob.text())).toEqual(recordsOf(text));
        const lines = await textOf(storage);
        for (const source of [asBlob, text, streamOf([bytesOf(text)])]) {
          await storage.clear();
          expect(await storage.import(source)).toBe(count);
          expect(recordsOf(await textOf(storage))).toEqual(recordsOf(lines));
        }
        for (const [name, value] of values) {
          expect(await storage.has(name), name).toBe(true);
          if (value !== cycle) expect(await storage.get(name), name).toStrictEqual(value);
        }
        for (const [key, value] of keys) expect(await storage.get(key), key).toStrictEqual(value);
        const got = (await storage.get('blobs')) as { blob: Blob; file: File };
        expect([...new Uint8Array(await got.blob.arrayBuffer())]).toEqual([0, 255, 10]);
        expect([got.file.name, got.file.type, got.file.lastModified]).toEqual([
          'ä.txt',
          'text/plain',
          1234567890123,
        ]);
      });

    it('of nothing is whole, and brings back nothing', async () => {
      const storage = open();
      for (const format of ['ndjson', 'json'] as const)
        expect(await storage.import(await textOf(storage, format))).toBe(0);
      expect(await storage.keys()).toEqual([]);
    });

    for (const format of ['ndjson', 'json'] as const)
      for (const [name, sourceOf] of SOURCES)
        it(`as ${format} cut at any byte is refused from ${name}, and nothing is stored`, async () => {
          const bytes = bytesOf(await textOf(await filled(SAMPLE), format));
          const storage = await filled([
            ['a', 'mine'],
            ['z', 26],
          ]);
          const before = recordsOf(await textOf(storage));
          // A line break at the very end may be missing.
          for (let length = 0; length < bytes.length - 1; length += 1) {
            const code = await codeOf(storage.import(sourceOf(bytes.slice(0, length))));
            expect(code, `${length} of ${bytes.length} bytes`).toBe('invalid-backup');
          }
          expect(recordsOf(await textOf(storage))).toEqual(before);
          expect(await storage.import(sourceOf(bytes.slice(0, -1)))).toBe(3);
        });

    it('with any flipped bit is refused, and nothing is stored', async () => {
      const bytes = bytesOf(await textOf(await filled(SAMPLE)));
      const storage = await filled([['a', 'mine']]);
      for (let at = 0; at < bytes.length - 1; at += 1) {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
        expect(await codeOf(storage.import(new Blob([damaged]))), `byte ${at}`).toBe('invalid-backup');
      }
      expect(await Array.fromAsync(storage.entries())).toEqual([['a', 'mine']]);
    });

    it('that is none, or newer than this library, is refused and says so', async () => {
      const storage = open();
      const newer = (await textOf(storage)).replace('"version":1', '"version":2');
      for (const [text, told] of [
        ['<!doctype html><title>Not found</title>', 'HTML'],
        ['[1,2]', 'not a backup'],
        [newer, 'upgrade @codeforge/storage'],
      ] as const) {
        const error = await failure(storage.import(text));
        expect(error).toMatchObject({ code: 'invalid-backup' });
        expect(error.message).toContain(told);
      }
    });
  });

  describe('export', () => {
    it('takes only the keys that begin with a prefix, and is whole', async () => {
      const storage = await filled([
        ['user:1', 1],
        ['user:2', 2],
        ['other', 3],
      ]);
      const blob = await storage.export({ as: 'blob', prefix: 'user:' });
      await storage.clear();
      expect(await storage.import(blob)).toBe(2);
      expect(await storage.keys()).toEqual(['user:1', 'user:2']);
      expect(await (await storage.export({ as: 'blob', prefix: 'none' })).text()).toContain('"count":0');
    });

    it('sees what was set just before it, without an await', async () => {
      const storage = open();
      const setting = storage.set('late', 1);
      expect(recordsOf(await textOf(storage))).toEqual(['{"key":"late","value":1}']);
      await setting;
    });

    it('refuses wrong options', async () => {
      const wrong = (value: unknown) => value as never;
      for (const options of [
        ...[null, 5, 'json', { format: 'csv' }, { as: 'text' }, { prefix: 5 }, { signal: {} }],
        ...[{ onProgress: 1 }, { onRefused: 1 }, { frmat: 'json' }, { format: 'toString' }],
      ])
        expect(await codeOf(open().export(wrong(options)))).toBe('invalid-option');
    });

    it('ends with the reason of a signal, and no reader takes what came for whole', async () => {
      const storage = await filled(Array.from({ length: 2000 }, (_, i) => [`k${i}`, 'x'.repeat(200)]));
      const aborting = new AbortController();
      const why = new Error('enough');
      const reader = (await storage.export({ signal: aborting.signal })).getReader();
      const { value } = await reader.read();
      aborting.abort(why);
      const read = async () => {
        for (;;) if ((await reader.read()).done) return;
      };
      await expect(read()).rejects.toBe(why);
      const first = new Blob([value as Uint8Array<ArrayBuffer>]);
      expect(await codeOf(open().import(first))).toBe('invalid-backup');
      await expect(storage.export({ as: 'blob', signal: aborting.signal })).rejects.toBe(why);
    });
  });
}
