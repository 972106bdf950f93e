/** What is promised of imports on every engine of IndexedDB: modes, plans, progress, and what is refused before anything. */
import { describe, expect, it } from 'vitest';
import { type KeyValueStorage, MigrationError } from '../../src/index.ts';
import { backupOf, bytesOf, filledWith, SAMPLE, streamOf, textOf } from '../support/backup-files.ts';
import { failure } from '../support/rejection.ts';
import { codeOf } from './codes.ts';

/** Run the suite; `open` opens a storage of its own, empty. */
export function imports(open: () => KeyValueStorage): void {
  const filled = (entries: Iterable<readonly [string, unknown]>) => filledWith(open, entries);

  describe('import', () => {
    const OLD = [
      ['a', 1],
      ['date', 'mine'],
      ['z', 26],
    ] as const;

    it('overwrites unless told otherwise, and leaves other keys', async () => {
      const text = await textOf(await filled(SAMPLE));
      const storage = await filled(OLD);
      expect(await storage.import(text)).toBe(3);
      expect(await Array.fromAsync(storage.entries())).toEqual([...SAMPLE, ['z', 26]].sort(byKey));
    });

    it('skips what is there in another form, and counts what is equal', async () => {
      const text = await textOf(await filled(SAMPLE));
      const storage = await filled(OLD);
      expect(await storage.import(text, { mode: 'skip' })).toBe(2);
      expect(await storage.getMany(['a', 'date', 'ключ'])).toEqual([1, 'mine', 'é🗝']);
    });

    it('changes nothing where it is to fail and a key is there with another value', async () => {
      const text = await textOf(await filled(SAMPLE));
      const storage = await filled(OLD);
      const error = await failure(storage.import(text, { mode: 'fail' }));
      expect(error).toMatchObject({ code: 'migration', migrated: 0, failed: [{ key: 'date' }] });
      expect(error.message).toMatch(/nothing was written.*'overwrite' or 'skip'.*import\(\) again/);
      expect(await Array.fromAsync(storage.entries())).toEqual(OLD);
      await storage.delete('date');
      expect(await storage.import(text, { mode: 'fail' })).toBe(3);
    });

    it('tells what it would do, and does nothing', async () => {
      const blob = await (await filled(SAMPLE)).export({ as: 'blob' });
      const storage = await filled(OLD);
      const plan = await storage.import(blob, { dryRun: true });
      expect(plan).toEqual({
        entries: 3,
        bytes: expect.any(Number),
        equal: 1,
        conflicts: ['date'],
        refused: [],
      });
      expect(await Array.fromAsync(storage.entries())).toEqual(OLD);
      expect(await codeOf(storage.import('{"cut', { dryRun: true }))).toBe('invalid-backup');
    });

    it('tells how far it is: the check, then what is stored', async () => {
      const many = Array.from({ length: 1200 }, (_, i) => [`k${i}`, i] as const);
      const text = await textOf(await filled(many));
      const seen: string[] = [];
      const last = { check: 0, plan: 0, copy: 0, 'catch-up': 0 };
      await open().import(text, {
        mode: 'fail',
        onProgress({ phase, done, total }) {
          seen.push(phase);
          expect(done).toBeGreaterThanOrEqual(last[phase]);
          expect(done).toBeLessThanOrEqual(total);
          last[phase] = done;
        },
      });
      expect([...new Set(seen)]).toEqual(['check', 'plan', 'copy']);
      expect(last).toEqual({ check: 1200, plan: 1200, copy: 1200, 'catch-up': 0 });
      const throwing = () => {
        throw new Error('of the app');
      };
      expect(await open().import(text, { onProgress: throwing })).toBe(1200);
      // An unhandled rejection fails the run.
      expect(await open().import(text, { onProgress: async () => throwing() })).toBe(1200);
    });

    for (const phase of ['check', 'copy'] as const)
      it(`aborted in the phase ${phase} is a MigrationError with the reason, and what is stored is told`, async () => {
        const many = Array.from({ length: 3000 }, (_, i) => [`k${i}`, i] as const);
        const text = await textOf(await filled(many));
        const storage = open();
        const aborting = new AbortController();
        const why = new Error('enough');
        const onProgress = (progress: { phase: string; done: number }) => {
          if (progress.phase === phase && progress.done > 0) aborting.abort(why);
        };
        const error = await failure(storage.import(text, { signal: aborting.signal, onProgress }));
        expect(error).toBeInstanceOf(MigrationError);
        expect(error).toMatchObject({ code: 'migration', cause: why, failed: [] });
        const { keys } = await storage.stats();
        expect(error.migrated).toBeLessThan(3000);
        expect(keys).toBeGreaterThanOrEqual(error.migrated);
        if (phase === 'check') expect([error.migrated, keys]).toEqual([0, 0]);
        else expect(error.migrated).toBeGreaterThan(0);
      });

    it('aborted while a stream gives nothing ends, and lets go of the stream', async () => {
      let canceled: unknown;
      const aborting = new AbortController();
      const stuck = new ReadableStream<Uint8Array>({
        pull: () => new Promise(() => setTimeout(() => aborting.abort('enough'))),
        cancel: (reason) => {
          canceled = reason;
        },
      });
      const error = await failure(open().import(stuck, { signal: aborting.signal }));
      expect(error).toMatchObject({ code: 'migration', cause: 'enough', migrated: 0 });
      expect(canceled).toBe('enough');
    });

    it('refuses wrong options and what cannot be read, before anything', async () => {
      const storage = open();
      const text = await textOf(await filled(SAMPLE));
      const wrong = (value: unknown) => value as never;
      for (const options of [
        ...[null, 5, { mode: 'merge' }, { onConflict: 'skip' }, { dryRun: 1 }, { signal: {} }],
        ...[{ onProgress: 'f' }, { activate: true }],
      ])
        expect(await codeOf(storage.import(text, wrong(options)))).toBe('invalid-option');
      const locked = streamOf([bytesOf(text)]);
      locked.getReader();
      const partlyRead = streamOf([bytesOf('{"a":1}\n'), bytesOf('{"b":2}\n')]);
      const reader = partlyRead.getReader();
      await reader.read();
      reader.releaseLock();
      const notBytes = streamOf([text]);
      for (const source of [null, undefined, 5, {}, bytesOf(text), locked, partlyRead, notBytes])
        expect(await codeOf(storage.import(wrong(source))), String(source)).toBe('invalid-option');
      expect(await storage.keys()).toEqual([]);
    });

    it('of a stream that errors in the middle stores nothing, and tells why it errored', async () => {
      const bytes = bytesOf(await textOf(await filled(SAMPLE)));
      const gone = new TypeError('network error');
      const storage = open();
      for (let length = 0; length <= bytes.length; length += 1) {
        const stream = streamOf([bytes.slice(0, length)].filter(Boolean), (c) => c.error(gone));
        const error = await failure(storage.import(stream));
        expect(error).toMatchObject({ code: 'migration', cause: gone, migrated: 0 });
        expect(error.message).toContain('network error');
      }
      expect(await storage.keys()).toEqual([]);
    });

    it('refuses a text with half of a surrogate pair, which would become another character', async () => {
      const storage = open();
      expect(await codeOf(storage.import('{"a":"\ud800"}'))).toBe('invalid-backup');
      expect(await storage.keys()).toEqual([]);
      expect(await storage.import('{"a":"\ud83d\udddd"}')).toBe(1);
    });

    it('refuses one that names a key twice, however far apart, before anything', async () => {
      const others = Array.from({ length: 700 }, (_, i) => `"k${i}":${i}`).join();
      for (const text of ['{"a":1,"a":2}', `{"a":1,${others},"a":2}`]) {
        const storage = await filled(OLD);
        const error = await failure(storage.import(text));
        expect(error).toMatchObject({ code: 'invalid-backup', message: expect.stringContaining('twice') });
        expect(await Array.fromAsync(storage.entries())).toEqual(OLD);
      }
      expect(await open().import('{"b":1,"a":2}')).toBe(2);
    });

    it('names what a whole backup holds that cannot be read, and stores the others', async () => {
      const text = await backupOf([
        '{"key":"a","value":1}',
        '{"key":"bad","value":{"$cf":"of another kind"}}',
        '{"key":"c","value":3}',
      ]);
      const storage = open();
      const error = await failure(storage.import(text));
      expect(error).toBeInstanceOf(MigrationError);
      expect(error).toMatchObject({ migrated: 2, failed: [{ key: 'bad' }] });
      expect(error.message).toContain('bad');
      expect(await storage.keys()).toEqual(['a', 'c']);
      await storage.clear();
      expect(await failure(storage.import(text, { mode: 'fail' }))).toMatchObject({ migrated: 0 });
      expect(await storage.keys()).toEqual([]);
      const plan = await storage.import(text, { dryRun: true });
      expect(plan).toMatchObject({ entries: 3, refused: [{ key: 'bad' }] });
    });
  });
}

const byKey = ([a]: readonly unknown[], [b]: readonly unknown[]): number => (String(a) < String(b) ? -1 : 1);
