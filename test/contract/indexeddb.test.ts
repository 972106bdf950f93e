import { afterEach, describe, expect, it, vi } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { settled } from '../support/browser-database.ts';
import { contract } from './contract.ts';
import { takeStore } from './without-anything.ts';

let databases = 0;
const freshName = (): string => `contract-${Date.now()}-${++databases}`;

/** Entries of the store of a storage, put there by another program. */
async function fillAsAnotherProgram(
  database: string,
  entries: ReadonlyArray<readonly [string, unknown]>,
): Promise<void> {
  const request = indexedDB.open(database, 1);
  request.onupgradeneeded = () => {
    const store = request.result.createObjectStore('storage');
    for (const [key, value] of entries) store.put(value, key);
  };
  (await settled(request)).close();
}

/** The engine fails to read the values of these keys, with an error of this name. */
function breakReads(keys: readonly string[], name: string): void {
  const fail = (request: IDBRequest, broken: boolean): IDBRequest =>
    broken
      ? Object.defineProperties(request, {
          error: { get: () => new DOMException('The file is gone.', name), set() {} },
          result: { get: () => undefined, set() {} },
        })
      : request;
  const { get, getAll } = IDBObjectStore.prototype;
  vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(function (this: IDBObjectStore, key) {
    return fail(get.call(this, key), keys.includes(key as string));
  });
  vi.spyOn(IDBObjectStore.prototype, 'getAll').mockImplementation(function (
    this: IDBObjectStore,
    range,
    count,
  ) {
    return fail(
      getAll.call(this, range, count),
      keys.some((key) => (range as IDBKeyRange).includes(key)),
    );
  });
}

const open = (database: string) => createStorage({ database, logger: false });

contract({
  name: 'IndexedDB',
  gaps: [],
  state: 'local',
  open: async () => open(freshName()),
  async openBroken() {
    const database = freshName();
    const storage = open(database);
    await storage.set('before', 1);
    await takeStore(database);
    return storage;
  },
});

describe('IndexedDB', () => {
  afterEach(() => void vi.restoreAllMocks());

  it('keeps what was set for the next storage of the same database', async () => {
    const database = freshName();
    const first = open(database);
    await first.set('k', new Map([['a', 1]]));
    await first.close();
    const second = open(database);
    expect(await second.get('k')).toStrictEqual(new Map([['a', 1]]));
    expect(second.getBackendType()).toBe('indexeddb');
    await second.close();
  });

  it('reads, lists and deletes keys that only another program can have stored', async () => {
    const database = freshName();
    const keys = ['', 'a\0b', 'a\ud800', '\udc00a', 'ordinary', '\0', '🗝'];
    await fillAsAnotherProgram(
      database,
      keys.map((key) => [key, { of: key }]),
    );
    const storage = open(database);
    const listed = await storage.keys();
    expect([...listed].sort()).toEqual([...keys].sort());
    expect(await storage.getMany(listed)).toEqual(listed.map((key) => ({ of: key })));
    expect((await Array.fromAsync(storage.entries())).map(([key]) => key)).toEqual(listed);
    for (const key of keys) {
      expect(await storage.get(key)).toEqual({ of: key });
      expect(await storage.has(key)).toBe(true);
      expect((await storage.getEntry(key))?.value).toEqual({ of: key });
    }
    const entry = await storage.getEntry('');
    await storage.delete('', { ifRevision: entry?.revision ?? '' });
    await storage.delete('a\0b');
    await storage.deleteMany(['a\ud800', '\udc00a']);
    expect((await storage.keys()).sort()).toEqual(['\0', 'ordinary', '🗝']);
    await storage.close();
  });

  it('lists where the engine refuses an empty ArrayBuffer as a key, as fake-indexeddb does on Node.js 20', async () => {
    const storage = open(freshName());
    await storage.setMany([
      ['a', 1],
      ['\u{1f5dd}', 2],
      ['\uffff', 3],
    ]);
    // Node.js 20 does not know whether a buffer is detached.
    const detached = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'detached');
    Reflect.deleteProperty(ArrayBuffer.prototype, 'detached');
    try {
      expect(await storage.keys()).toEqual(['a', '\uffff', '\u{1f5dd}']);
      expect(await Array.fromAsync(storage.entries())).toHaveLength(3);
      expect(await storage.keys({ prefix: '\uffff' })).toEqual(['\uffff']);
      expect((await storage.stats()).keys).toBe(3);
    } finally {
      if (detached) Object.defineProperty(ArrayBuffer.prototype, 'detached', detached);
    }
    await storage.close();
  });

  for (const name of ['NotReadableError', 'UnknownError'])
    it(`reads everything but one value that the engine refuses with ${name}, and names its key`, async () => {
      const storage = open(freshName());
      const entries = Array.from({ length: 100 }, (_, i) => [`k${String(i).padStart(3, '0')}`, i] as const);
      await storage.setMany([...entries, ['🗝1', 1], ['🗝2', 2], ['undefined', undefined]]);
      breakReads(['k050', '🗝2'], name);
      const named = { code: 'unsupported-value', message: expect.stringContaining(`Key k050: `) };
      const all = await Promise.allSettled(entries.map(([key]) => storage.get(key)));
      expect(all.filter(({ status }) => status === 'rejected')).toMatchObject([{ reason: named }]);
      await expect(storage.getMany(entries.map(([key]) => key))).rejects.toMatchObject(named);
      const listed: string[] = [];
      const listing = (async () => {
        for await (const [key] of storage.entries()) listed.push(key);
      })();
      await expect(listing).rejects.toMatchObject(named);
      expect(listed).toEqual(entries.slice(0, 50).map(([key]) => key));
      expect(await storage.stats()).toMatchObject({ keys: 103 });
      expect(await storage.keys()).toHaveLength(103);
      await expect(storage.export({ as: 'blob' })).rejects.toMatchObject(named);
      const refused: string[] = [];
      const backup = await storage.export({ as: 'blob', onRefused: ({ key }) => void refused.push(key) });
      expect(refused).toEqual(['k050', '🗝2']);
      const copy = open(freshName());
      expect(await copy.import(backup)).toBe(101);
      expect(await copy.has('undefined')).toBe(true);
      await Promise.all([storage.close(), copy.close()]);
    });

  it('reads Errors as another program or an older version has stored them', async () => {
    const database = freshName();
    await fillAsAnotherProgram(database, [['e', { list: [new RangeError('raw')] }]]);
    const storage = open(database);
    const { list } = (await storage.get('e')) as { list: [RangeError] };
    expect(list[0]).toBeInstanceOf(RangeError);
    expect(list[0].message).toBe('raw');
    await storage.close();
  });

  it('leaves it to no engine to clone an Error, and stores every other value as it is', async () => {
    const storage = open(freshName());
    const put = vi.spyOn(IDBObjectStore.prototype, 'put');
    const value = { a: [new Map([[1, new Date(5)]])] };
    await storage.set('plain', value);
    await storage.set('error', new Map([['e', new Error('e', { cause: new Error('cause') })]]));
    // Others are numbers of commits.
    const values = put.mock.calls.filter(([, key]) => typeof key === 'string');
    const [[plain], [error]] = values as unknown as [[unknown], [unknown]];
    expect(plain).toEqual(value);
    const seen = new Set<unknown>();
    const visit = (member: unknown): void => {
      if (typeof member !== 'object' || member === null || seen.has(member)) return;
      seen.add(member);
      expect(member).not.toBeInstanceOf(Error);
      (member instanceof Map ? [...member].flat() : Object.values(member)).forEach(visit);
    };
    visit(error);
    expect(seen.size).toBeGreaterThan(4);
    await storage.close();
  });

  it('does not count the time for which the page was suspended as silence of the engine', async () => {
    const timeout = 400;
    const storage = createStorage({ database: freshName(), logger: false, timeout });
    await storage.ready();
    const calls = [storage.set('a', 1), storage.update('b', () => 2)];
    // The calls of this turn are sent in its microtasks.
    for (let i = 0; i < 20; i += 1) await undefined;
    const until = performance.now() + 3 * timeout;
    while (performance.now() < until);
    await Promise.all(calls);
    expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
    await storage.close();
  });

  it('gives similar values different revisions, and equal values equal ones', async () => {
    const shared = { a: 1 };
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    const sparse: number[] = [];
    sparse[1] = 1;
    const bytes = new Uint8Array([1, 2, 3, 4]);
    const values: unknown[] = [
      ...[null, undefined, 'undefined', 'null', 0, -0, '0', 0n, '0n', 1n, Number.NaN, 'NaN', true, 'true'],
      ...[{}, [], [null], [undefined], [[]], { a: undefined }, { a: null }, ['a', undefined]],
      ...[new Map(), new Set(), new Map([['a', 1]]), new Set(['a', 1]), new Map([['a', 1n]])],
      ...[[shared, shared], [shared, { a: 1 }], cyclic, sparse, [undefined, 1]],
      ...[new Date(5), 5, new Date(6), [new Date(5)], /a/, /a/g, '/a/'],
      ...[bytes, bytes.buffer, new Int8Array([1, 2, 3, 4]), bytes.subarray(1), bytes.subarray(0, 2)],
      ...[new Uint8Array([1, 2, 3, 5]), new Uint8Array(20_000), new Uint8Array(20_001)],
      ...[new Blob(['a']), new Blob(['ab']), new File(['a'], 'a'), new File(['a'], 'b', { lastModified: 1 })],
      ...[new TypeError('a'), new Error('a'), new Error('a', { cause: 1n })],
    ];
    const storage = open(freshName());
    const revisionOf = async (value: unknown): Promise<string> => {
      await storage.set('k', value);
      return (await storage.getEntry('k'))?.revision ?? '';
    };
    const revisions: string[] = [];
    for (const value of values) revisions.push(await revisionOf(value));
    expect(new Set(revisions).size).toBe(values.length);
    for (const [i, value] of values.entries()) expect(await revisionOf(value)).toBe(revisions[i]);
    await storage.close();
  });
});
