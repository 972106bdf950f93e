/**
 * The contract suite: what every storage promises, whichever backend serves it.
 *
 * A subject opens an empty storage, and one whose medium has failed. What a subject cannot do is written down in `gaps`,
 * and must then be refused with the code that the contract names.
 */

import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { type KeyValueStorage, StorageError, type StorageStatus } from '../../src/index.ts';
import { callArguments } from './arguments.ts';
import { atomicUnits } from './atomic.ts';
import { closed } from './closed.ts';
import { codeOf } from './codes.ts';
import { namespaces } from './namespaces.ts';
import { byBytes, programs } from './programs.ts';
import { ranges } from './ranges.ts';
import { revisions } from './revisions.ts';
import {
  cycle,
  ORDINARY_KEYS,
  PATH_KEYS,
  REFUSED_KEYS,
  REFUSED_VALUES,
  shared,
  TOO_LONG,
  VALUES,
} from './samples.ts';

/** What the suite runs on. */
export interface Subject {
  readonly name: string;
  /** An empty storage. */
  open(): Promise<KeyValueStorage>;
  /** A storage that worked, and whose medium then failed. */
  openBroken(): Promise<KeyValueStorage>;
  /**
   * `path-keys`: keys that no URL path can name; `revisions`: no revisions, so no update and no conditions;
   * `member-order`: objects come back sorted; `one-name`: a state has a second revision when its write has arrived, and both hold.
   */
  readonly gaps: readonly ('path-keys' | 'revisions' | 'member-order' | 'one-name')[];
  /** How it stands to its server. */
  readonly state: StorageStatus['state'];
  /** The level of the server's protocol, where there is a server. */
  readonly level?: 0 | 1;
  /** Whether it keeps a copy of its server's data, and has met the server. */
  readonly synced?: boolean;
}

/** Every method of a storage, called with something it accepts. */
const EVERY_METHOD: ReadonlyArray<readonly [string, (storage: KeyValueStorage) => Promise<unknown>]> = [
  ['get', (s) => s.get('a')],
  ['set', (s) => s.set('a', 1)],
  ['delete', (s) => s.delete('a')],
  ['has', (s) => s.has('a')],
  ['keys', (s) => s.keys()],
  ['entries', (s) => Array.fromAsync(s.entries())],
  ['count', (s) => s.count()],
  ['count of a prefix', (s) => s.count({ prefix: 'a' })],
  ['clear', (s) => s.clear()],
  ['getMany', (s) => s.getMany(['a', 'b'])],
  [
    'setMany',
    (s) =>
      s.setMany([
        ['a', 1],
        ['b', 2],
      ]),
  ],
  ['deleteMany', (s) => s.deleteMany(['a', 'b'])],
  ['update', (s) => s.update('a', () => 1)],
  ['getEntry', (s) => s.getEntry('a')],
  ['set with ifRevision', (s) => s.set('a', 1, { ifRevision: null })],
  ['delete with ifRevision', (s) => s.delete('a', { ifRevision: 'k.1' })],
  ['stats', (s) => s.stats()],
  ['ready', (s) => s.ready()],
];

/** Those of them that need revisions. */
const NEEDS_REVISIONS = ['update', 'getEntry', 'set with ifRevision', 'delete with ifRevision'];

/** Run the suite on `subject`. */
export function contract(subject: Subject): void {
  const opened: KeyValueStorage[] = [];
  const open = async (): Promise<KeyValueStorage> => {
    const storage = await subject.open();
    opened.push(storage);
    return storage;
  };
  const pathKeys = subject.gaps.includes('path-keys') ? [] : PATH_KEYS;
  const revised = !subject.gaps.includes('revisions');

  describe(`${subject.name} keeps the contract`, () => {
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((storage) => storage.close()));
    });

    it('reads a missing key as undefined, has it not, and deletes it without an error', async () => {
      const storage = await open();
      expect(await storage.get('missing')).toBeUndefined();
      expect(await storage.has('missing')).toBe(false);
      await storage.delete('missing');
    });

    it('gives back what was set last, until it is deleted', async () => {
      const storage = await open();
      await storage.set('k', { first: 1 });
      await storage.set('k', { second: 2 });
      expect(await storage.get('k')).toStrictEqual({ second: 2 });
      await storage.delete('k');
      expect(await storage.get('k')).toBeUndefined();
      expect(await storage.has('k')).toBe(false);
    });

    it('clears everything', async () => {
      const storage = await open();
      await storage.setMany([
        ['a', 1],
        ['b', 2],
      ]);
      await storage.clear();
      expect(await storage.keys()).toEqual([]);
      expect(await storage.get('a')).toBeUndefined();
    });

    it('lists keys and entries in byte order, by prefix', async () => {
      const storage = await open();
      const keys = [
        'b',
        'a',
        'aa',
        'a:1',
        'ab',
        '\uff5e',
        '🗝',
        '🗝b',
        'a🗝',
        'a\uff5e',
        'a\ud7ff',
        'a\ue000',
        'Z',
        'é',
        'a🗝c',
      ];
      await storage.setMany(keys.map((key) => [key, key.length]));
      for (const prefix of ['', 'a', 'a🗝', '🗝', '\uff5e', 'none', 'aa']) {
        const wanted = keys.filter((key) => key.startsWith(prefix)).sort(byBytes);
        expect(await storage.keys({ prefix })).toEqual(wanted);
        expect(await Array.fromAsync(storage.entries({ prefix }))).toEqual(
          wanted.map((key) => [key, key.length]),
        );
      }
    });

    it('lists more entries than one page holds, each once', async () => {
      const storage = await open();
      const keys = Array.from({ length: 1203 }, (_, i) =>
        i % 3 === 0 ? `🗝${i}` : i % 3 === 1 ? `\uff00${i}` : `k${i}`,
      );
      await storage.setMany(keys.map((key, i) => [key, { i }]));
      const sorted = [...keys].sort(byBytes);
      expect(await storage.keys()).toEqual(sorted);
      const entries = await Array.fromAsync(storage.entries());
      expect(entries).toEqual(sorted.map((key) => [key, { i: keys.indexOf(key) }]));
    });

    it('reads, writes and deletes many in the order asked for', async () => {
      const storage = await open();
      await storage.setMany(
        new Map([
          ['a', 1],
          ['b', 2],
          ['c', 3],
        ]),
      );
      expect(await storage.getMany(['c', 'x', 'a', 'c'])).toEqual([3, undefined, 1, 3]);
      await storage.deleteMany(['a', 'x', 'c']);
      expect(await storage.keys()).toEqual(['b']);
      await storage.setMany([]);
      expect(await storage.getMany([])).toEqual([]);
    });

    it('counts entries and their bytes', async () => {
      const storage = await open();
      await storage.setMany([
        ['a', 'é'],
        ['b', [1, 2]],
      ]);
      expect(await storage.stats()).toEqual({ keys: 2, sizeBytes: 4 + 5 });
    });

    for (const key of [...pathKeys, ...ORDINARY_KEYS]) {
      it(`treats ${JSON.stringify(key.slice(0, 24))} as an ordinary key`, async () => {
        const storage = await open();
        await storage.set('other', 'untouched');
        await storage.set(key, { of: key });
        expect(await storage.get(key)).toEqual({ of: key });
        expect(await storage.has(key)).toBe(true);
        expect(await storage.keys()).toEqual([key, 'other'].sort(byBytes));
        expect(await Array.fromAsync(storage.entries({ prefix: key }))).toContainEqual([key, { of: key }]);
        await storage.setMany([
          [key, 1],
          ['other', 'still'],
        ]);
        expect(await storage.getMany([key, 'other'])).toEqual([1, 'still']);
        if (revised) {
          const entry = await storage.getEntry(key);
          await storage.set(key, 2, { ifRevision: entry?.revision ?? null });
          expect(await storage.update(key, (value) => [value])).toEqual([2]);
        }
        await storage.delete(key);
        expect(await storage.has(key)).toBe(false);
        expect(await storage.get('other')).toBe('still');
      });
    }

    if (pathKeys.length === 0) {
      for (const key of PATH_KEYS) {
        it(`refuses ${JSON.stringify(key)}, which its protocol cannot address, and stores nothing`, async () => {
          const storage = await open();
          const calls = [storage.get(key), storage.set(key, 1), storage.delete(key), storage.has(key)];
          for (const call of calls) expect(await codeOf(call)).toBe('invalid-key');
          expect(await storage.keys()).toEqual([]);
        });
      }
    }

    for (const [name, key] of REFUSED_KEYS) {
      it(`refuses ${name} as a key`, async () => {
        const storage = await open();
        const bad = key as string;
        const writes = [
          storage.set(bad, 1),
          storage.update(bad, () => 1),
          storage.setMany([
            ['ok', 1],
            [bad, 1],
          ]),
        ];
        for (const call of writes) expect(await codeOf(call)).toBe('invalid-key');
        const calls = [
          ...[storage.get(bad), storage.getEntry(bad), storage.has(bad), storage.delete(bad)],
          ...[storage.getMany(['ok', bad]), storage.deleteMany(['ok', bad])],
        ];
        // IndexedDB may hold any text, which another program has stored: it can be read and deleted.
        const allowed = typeof key === 'string' && storage.status().state === 'local';
        for (const call of calls) expect(await codeOf(call)).toBe(allowed ? 'no error' : 'invalid-key');
        expect(await storage.keys()).toEqual([]);
      });

      it(`carries out the other calls of a turn with ${name} as a key`, async () => {
        const storage = await open();
        const bad = key as string;
        const calls = [storage.set('ok', 1), storage.get(bad), storage.delete(bad), storage.get('ok')];
        const [set, , , got] = await Promise.allSettled(calls);
        expect([set, got]).toEqual([{ status: 'fulfilled' }, { status: 'fulfilled', value: 1 }]);
      });
    }

    it('refuses to write keys over 1,024 bytes, and reads them as missing', async () => {
      const storage = await open();
      for (const key of TOO_LONG) {
        expect(await codeOf(storage.set(key, 1))).toBe('invalid-key');
        expect(
          await codeOf(
            storage.setMany([
              ['ok', 1],
              [key, 1],
            ]),
          ),
        ).toBe('invalid-key');
        expect(await storage.get(key)).toBeUndefined();
        await storage.delete(key);
      }
      expect(await storage.keys()).toEqual([]);
    });

    for (const [name, value] of VALUES) {
      it(`gives back ${name} as it was`, async () => {
        const storage = await open();
        await storage.set('v', value);
        expect(await storage.has('v')).toBe(true);
        const got = await storage.get('v');
        if (value !== cycle) expect(got).toStrictEqual(value);
        const order = membersOf(value);
        if (subject.gaps.includes('member-order')) order.sort();
        expect(membersOf(got)).toEqual(order);
        await storage.setMany([
          ['m', value],
          ['n', 1],
        ]);
        const [many] = await storage.getMany(['m']);
        if (value !== cycle) expect(many).toStrictEqual(value);
      });
    }

    it('keeps cycles and shared references', async () => {
      const storage = await open();
      await storage.setMany([
        ['cycle', cycle],
        ['shared', [shared, { again: shared }]],
      ]);
      const got = (await storage.get('cycle')) as typeof cycle;
      expect(got.self).toBe(got);
      const [first, second] = (await storage.get('shared')) as [unknown, { again: unknown }];
      expect(second.again).toBe(first);
    });

    it('keeps Errors: class, name, message, stack and cause, in a cycle too', async () => {
      const storage = await open();
      const error = new RangeError('out of range', { cause: { why: new Date(5) } });
      const looped = new URIError('looped');
      looped.cause = { looped };
      await storage.setMany([
        ['error', error],
        ['looped', looped],
      ]);
      const got = (await storage.get('error')) as RangeError;
      expect(got).toBeInstanceOf(RangeError);
      expect([got.name, got.message, got.stack]).toEqual([error.name, error.message, error.stack]);
      expect(got.cause).toEqual({ why: new Date(5) });
      const loop = (await storage.get('looped')) as Error & { cause: { looped: Error } };
      expect(loop.cause.looped).toBe(loop);
      expect([loop.name, loop.message]).toEqual(['URIError', 'looped']);
      expect(loop.stack).toBe(looped.stack);
    });

    it('keeps Errors inside of anything, beside Blobs, with their identity', async () => {
      const storage = await open();
      const inner = new TypeError('inner', { cause: new Map([['at', new Date(7)]]) });
      const outer = new Error('outer', { cause: inner });
      const blob = new Blob(['bytes']);
      await storage.set('v', { list: [outer, inner], map: new Map([[inner, new Set([outer])]]), blob });
      const read = async (): Promise<void> => {
        const got = (await storage.get('v')) as {
          list: [Error, TypeError];
          map: Map<TypeError, Set<Error>>;
          blob: Blob;
        };
        const [first, second] = got.list;
        expect([first.message, first.stack, first.cause]).toEqual(['outer', outer.stack, second]);
        expect(first.cause).toBe(second);
        expect(second).toBeInstanceOf(TypeError);
        expect([second.message, second.stack]).toEqual(['inner', inner.stack]);
        expect(second.cause).toStrictEqual(new Map([['at', new Date(7)]]));
        expect([...got.map.keys()][0]).toBe(second);
        expect([...(got.map.get(second) ?? [])][0]).toBe(first);
        expect(await got.blob.text()).toBe('bytes');
      };
      await read();
      if (!revised) return;
      await storage.update('v', (value) => value);
      await read();
      const entry = await storage.getEntry('v');
      await storage.set('v', entry?.value, { ifRevision: entry?.revision ?? null });
      await read();
      const [[, listed]] = (await Array.fromAsync(storage.entries())) as [[string, { list: [Error] }]];
      expect(listed.list[0].stack).toBe(outer.stack);
    });

    it('keeps Blobs and Files: bytes, type, name and time', async () => {
      const storage = await open();
      const blob = new Blob([new Uint8Array([0, 255, 10])], { type: 'image/png' });
      const file = new File(['text'], 'ä.txt', { type: 'text/plain', lastModified: 1234567890123 });
      await storage.set('blobs', { blob, list: [file, blob] });
      const got = (await storage.get('blobs')) as { blob: Blob; list: [File, Blob] };
      expect(got.blob.type).toBe('image/png');
      expect(new Uint8Array(await got.blob.arrayBuffer())).toEqual(new Uint8Array([0, 255, 10]));
      const [kept] = got.list;
      expect([kept.name, kept.type, kept.lastModified]).toEqual(['ä.txt', 'text/plain', 1234567890123]);
      expect(await kept.text()).toBe('text');
    });

    for (const [name, make, path] of REFUSED_VALUES) {
      it(`refuses ${name}, names its path, and stores nothing`, async () => {
        const storage = await open();
        const refused = await storage.set('v', make()).catch((error) => error);
        expect(refused).toBeInstanceOf(StorageError);
        expect(refused.code).toBe('unsupported-value');
        expect(refused.message).toContain(path);
        expect(refused.message).toContain('Key v: ');
        expect(
          await codeOf(
            storage.setMany([
              ['ok', 1],
              ['v', make()],
            ]),
          ),
        ).toBe('unsupported-value');
        expect(await storage.keys()).toEqual([]);
      });
    }

    it('refuses what is no list for many, and what is no pair, before anything', async () => {
      const storage = await open();
      const wrong = (value: unknown) => value as never;
      const calls = [
        ...[
          storage.setMany(wrong({ a: 1 })),
          storage.setMany(wrong(5)),
          storage.setMany(wrong(['ab'])),
          storage.getMany(wrong('ab')),
        ],
        ...[storage.deleteMany(wrong(undefined)), storage.update('a', wrong('no function'))],
      ];
      for (const call of calls) expect(await codeOf(call)).toBe('invalid-option');
      expect(await codeOf(storage.entries({ prefix: wrong(5) }).next())).toBe('invalid-option');
      expect(await codeOf(storage.keys({ prefix: wrong(5) }))).toBe('invalid-option');
      for (const options of ['a', { prefx: 'a' }, () => {}]) {
        expect(await codeOf(storage.keys(wrong(options)))).toBe('invalid-option');
        expect(await codeOf(storage.entries(wrong(options)).next())).toBe('invalid-option');
      }
      expect(await storage.keys()).toEqual([]);
    });

    it('stores what a getter gave when it was copied', async () => {
      const storage = await open();
      let reads = 0;
      const value = Object.defineProperty({ d: new Date(1) }, 'n', { enumerable: true, get: () => ++reads });
      await storage.set('v', [value, undefined]);
      const [got] = (await storage.get('v')) as [{ n: number }];
      // Once to see that the value is not plain, once to copy it.
      expect(got.n).toBe(reads);
    });

    it('rejects, or carries out, whatever was called before it was closed at any moment', async () => {
      for (let turns = 0; turns < 12; turns += 1) {
        const storage = await open();
        const call = storage.set('v', turns).then(
          () => 'stored',
          (error) => error.code,
        );
        for (let turn = 0; turn < turns; turn += 1) await undefined;
        await storage.close();
        expect(['stored', 'closed']).toContain(await call);
      }
    });

    it('stores what a value was at the call, not what became of it', async () => {
      const storage = await open();
      const value = { list: [1], date: new Date(1) };
      const plain = { a: 1 };
      const written = Promise.all([storage.set('v', value), storage.set('p', plain)]);
      value.list.push(2);
      value.date.setTime(2);
      plain.a = 2;
      await written;
      expect(await storage.getMany(['v', 'p'])).toEqual([{ list: [1], date: new Date(1) }, { a: 1 }]);
    });

    it('gives every reader a copy of its own', async () => {
      const storage = await open();
      await storage.set('v', { list: [1] });
      const [first, second] = (await storage.getMany(['v', 'v'])) as Array<{ list: number[] }>;
      first?.list.push(2);
      expect(second).toEqual({ list: [1] });
      const keys = Array.from({ length: 100 }, (_, i) => (i < 50 ? 'v' : `missing${i}`));
      const many = await storage.getMany(keys);
      expect(new Set(many.slice(0, 50)).size).toBe(50);
    });

    it('answers hundreds of calls of one turn, on keys near and far, as a Map does', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.tuple(
              fc.constantFrom('get', 'get', 'get', 'get', 'set', 'delete', 'has'),
              fc.integer({ min: 0, max: 99 }),
            ),
            { minLength: 120, maxLength: 240 },
          ),
          fc.integer({ min: 60, max: 400 }),
          async (calls, clearedAt) => {
            const storage = await open();
            const held = new Map<string, unknown>();
            // Entries nobody asks for lie between the others, many more in one place.
            for (let i = 0; i < 100; i += 1) {
              if (i % 3 > 0) held.set(`k${i}`, i % 10 === 1 ? undefined : { i });
              if (i < 15) for (let n = 0; n < 20; n += 1) held.set(`k${i}-${n}`, n);
            }
            await storage.setMany([...held]);
            const expected: unknown[] = [];
            const answers = calls.map(([type, number], i): Promise<unknown> => {
              const key = `k${number}`;
              if (i === clearedAt) {
                held.clear();
                expected.push(undefined);
                return storage.clear();
              }
              expected.push(type === 'get' ? held.get(key) : type === 'has' ? held.has(key) : undefined);
              if (type === 'set') {
                held.set(key, i);
                return storage.set(key, i);
              }
              if (type === 'delete') held.delete(key);
              return storage[type](key);
            });
            expect(await Promise.all(answers)).toEqual(expected);
            expect(await storage.getMany([...held.keys()])).toEqual([...held.values()]);
          },
        ),
        { numRuns: 5 },
      );
    }, 120_000);

    it('lets calls of one turn see what was called before them, awaited or not', async () => {
      const storage = await open();
      const results = await Promise.all([
        storage.get('a'),
        storage.set('a', 1),
        storage.get('a'),
        storage.has('a'),
        storage.set('a', 2),
        storage.set('b', 3),
        storage.getMany(['a', 'b']),
        storage.keys(),
        storage.delete('a'),
        storage.get('a'),
        storage.clear(),
        storage.set('c', 4),
        storage.keys(),
      ]);
      expect(results).toEqual([
        undefined,
        undefined,
        1,
        true,
        undefined,
        undefined,
        [2, 3],
        ['a', 'b'],
        undefined,
        undefined,
        undefined,
        undefined,
        ['c'],
      ]);
    });

    it('settles each call of a turn by itself', async () => {
      const storage = await open();
      const outcomes = await Promise.allSettled([
        storage.set('a', 1),
        storage.set('', 1),
        storage.set('b', () => 1),
        storage.set('c', 3),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'rejected',
        'fulfilled',
      ]);
      expect(await storage.keys()).toEqual(['a', 'c']);
    });

    if (!revised) {
      it('refuses what needs revisions instead of pretending to be atomic', async () => {
        const storage = await open();
        await storage.set('n', 1);
        const calls = [
          storage.update('n', () => 2),
          storage.getEntry('n'),
          storage.set('n', 2, { ifRevision: null }),
          storage.delete('n', { ifRevision: 'k.1' }),
          storage.atomic([{ set: 'n', value: 2 }]),
        ];
        for (const call of calls) expect(await codeOf(call)).toBe('unsupported');
        expect(await storage.get('n')).toBe(1);
      });
    } else {
      revisions(open, !subject.gaps.includes('one-name'));
      atomicUnits(open);

      it('updates atomically: 100 increments of one turn add up', async () => {
        const storage = await open();
        const increments = Array.from({ length: 100 }, () => storage.update('n', (n) => Number(n ?? 0) + 1));
        expect(await Promise.all(increments)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
        expect(await storage.get('n')).toBe(100);
      });

      it('keeps the program order around an update', async () => {
        const storage = await open();
        const results = await Promise.all([
          storage.set('n', 1),
          storage.update('n', (n) => Number(n) + 1),
          storage.get('n'),
          storage.set('n', 10),
          storage.get('n'),
        ]);
        expect(results).toEqual([undefined, 2, 2, undefined, 10]);
        expect(await storage.get('n')).toBe(10);
      });

      it('rejects an update alone when its function throws or returns what cannot be stored', async () => {
        const storage = await open();
        await storage.set('n', 1);
        const reason = new Error('mine');
        const outcomes = await Promise.allSettled([
          storage.update('n', () => {
            throw reason;
          }),
          storage.update('n', () => () => 1),
          storage.update('n', async () => 1),
          storage.set('m', 2),
        ]);
        expect(outcomes[0]).toEqual({ status: 'rejected', reason });
        expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'unsupported-value' } });
        expect(outcomes[2]).toMatchObject({ status: 'rejected', reason: { code: 'invalid-option' } });
        expect(await storage.getMany(['n', 'm'])).toEqual([1, 2]);
      });
    }

    it('says who serves operations, at which level, and why', async () => {
      const storage = await open();
      await storage.ready();
      const status = storage.status();
      expect(status).toEqual({
        backend: storage.getBackendType(),
        state: subject.state,
        level: subject.level,
        pending: 0,
        conflicts: 0,
        lastSyncAtMs: subject.synced ? expect.any(Number) : undefined,
        reason: expect.stringMatching(/./),
      });
      // React's useSyncExternalStore asks for this.
      expect(storage.status()).toBe(status);
      expect(Object.isFrozen(status)).toBe(true);
    });

    it('names the backend that it is for when asked to migrate to it', async () => {
      const storage = await open();
      await storage.ready();
      const call =
        subject.state !== 'local'
          ? { promise: storage.migrateToFlask('http://localhost:1'), text: 'Already using Flask backend' }
          : { promise: storage.migrateToIndexedDB(), text: 'Already using IndexedDB' };
      const error = await call.promise.catch((reason) => reason);
      expect(error).toMatchObject({ code: 'wrong-backend', message: call.text });
    });

    for (const [name, call] of EVERY_METHOD) {
      it(`rejects ${name} when the medium has failed`, async () => {
        const storage = await subject.openBroken();
        opened.push(storage);
        const code = await codeOf(call(storage));
        const wanted = NEEDS_REVISIONS.includes(name) && !revised ? 'unsupported' : 'unavailable';
        expect(code).toBe(wanted);
      });

      it(`rejects ${name} on a closed storage`, async () => {
        const storage = await open();
        await storage.close();
        expect(await codeOf(call(storage))).toBe('closed');
      });
    }

    ranges(open);

    callArguments(open);

    namespaces(open, revised);

    closed(open);

    it('does what a Map does, for random programs', async ({ annotate }) => {
      const seed = Date.now() & 0x7fffffff;
      await annotate(`seed ${seed}`);
      const storage = await open();
      const program = programs([...pathKeys, ...ORDINARY_KEYS]);
      await fc.assert(
        fc.asyncProperty(program, async (turns) => {
          await storage.clear();
          const model = new Map<string, unknown>();
          for (const turn of turns) {
            // Started together, in order; awaited together.
            const results = await Promise.all(turn.map((step) => step.run(storage)));
            expect(results).toStrictEqual(turn.map((step) => step.expected(model)));
          }
          const entries = [...model].sort(([a], [b]) => byBytes(a, b));
          expect(await Array.fromAsync(storage.entries())).toStrictEqual(entries);
        }),
        { seed, numRuns: 40 },
      );
    }, 120_000);
  });
}

/** The names of a plain object's members in their order. */
const membersOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
    ? Object.keys(value)
    : [];
