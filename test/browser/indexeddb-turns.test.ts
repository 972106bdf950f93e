/**
 * What the IndexedDB backend makes of the calls of one turn, and of calls that follow each other, in a real browser.
 */
import { describe, expect, it, vi } from 'vitest';
import { databaseOfEachTest } from '../support/browser-database.ts';

const { open } = databaseOfEachTest();

/** Looks like a Blob, and cannot be cloned. */
class Blob {
  text = () => '';
  get [Symbol.toStringTag]() {
    return 'Blob';
  }
}

/** 40 keys that exist, with values that tell them apart. */
const FORTY = Array.from({ length: 40 }, (_, i) => `k${i + 10}`);

describe('reads that follow each other', () => {
  it('see every write that had resolved before them, of other tabs too', async () => {
    const [reader, writer] = [open(), open()];
    await writer.set('n', 0);
    let written = 0;
    const writing = (async () => {
      for (let n = 1; n <= 100; n += 1) {
        await writer.set('n', n);
        written = n;
      }
    })();
    let reads = 0;
    for (let last = 0; last < 100 && reads < 100_000; reads += 1) {
      const before = written;
      const read = Number(await reader.get('n'));
      expect(read).toBeGreaterThanOrEqual(Math.max(before, last));
      last = read;
    }
    await writing;
    expect(written).toBe(100);
  });

  it('share a transaction, but none for so long that a writer starves', async () => {
    const [reader, writer] = [open(), open()];
    await reader.set('a', 1);
    const transactions = vi.spyOn(IDBDatabase.prototype, 'transaction');
    for (let i = 0; i < 50; i += 1) await reader.get('a');
    expect(transactions).toHaveBeenCalledTimes(1);
    for (let i = 0; i < 50; i += 1) await reader.get('a');
    expect(transactions).toHaveBeenCalledTimes(2);
    let done = false;
    const writing = writer.set('a', 2).then(() => {
      done = true;
    });
    let reads = 0;
    while (!done && reads < 100_000) {
      await reader.get('a');
      reads += 1;
    }
    await writing;
    expect(reads).toBeLessThan(100_000);
  });

  it('each get its own failure, and leave the others theirs', async () => {
    const storage = open();
    await storage.setMany([
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ]);
    const { get } = IDBObjectStore.prototype;
    vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(function (this: IDBObjectStore, key) {
      const request = get.call(this, key);
      if (key !== 'c') return request;
      // What an engine does with a value that it cannot read.
      Object.defineProperty(request, 'error', { value: new DOMException('unreadable', 'DataError') });
      Object.defineProperty(request, 'result', { value: undefined });
      return request;
    });
    const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((key) => storage.get(key)));
    expect(outcomes).toMatchObject([
      { value: 1 },
      { value: 2 },
      { status: 'rejected', reason: { code: 'unsupported-value' } },
    ]);
  });
});

describe('writes of one turn', () => {
  it('store the last value of a key once, and what was read in between as it was', async () => {
    const storage = open();
    await storage.ready();
    const puts = vi.spyOn(IDBObjectStore.prototype, 'put');
    await Promise.all(Array.from({ length: 100 }, (_, i) => storage.set('hot', i)));
    // The number of the commit is no key of the app.
    expect(puts.mock.calls.filter(([, key]) => key === 'hot')).toHaveLength(1);
    const [, read] = await Promise.all([
      storage.set('hot', 'a'),
      storage.get('hot'),
      storage.set('hot', 'b'),
    ]);
    expect(read).toBe('a');
    expect(await storage.get('hot')).toBe('b');
  });

  it('are stored where the write that would replace them cannot be', async () => {
    const storage = open();
    const calls = [storage.set('a', 1), storage.set('a', new Blob()), storage.set('b', 2)];
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'unsupported-value' } },
      { status: 'fulfilled' },
    ]);
    expect(await storage.getMany(['a', 'b'])).toEqual([1, 2]);
  });

  it('take effect before many reads that come after them: two tabs cannot both be first', async () => {
    const tabs = [open(), open()];
    await tabs[0]?.setMany(FORTY.map((key) => [key, key]));
    await Promise.all(tabs.map((tab) => tab.ready()));
    for (let round = 0; round < 30; round += 1) {
      await Promise.all([tabs[0]?.delete('tab 0'), tabs[1]?.delete('tab 1')]);
      const met = await Promise.all(
        tabs.map(async (tab, i) => {
          void tab.set(`tab ${i}`, true);
          const [other] = await tab.getMany([`tab ${1 - i}`, ...FORTY]);
          return other;
        }),
      );
      expect(met).toContain(true);
    }
  });

  it('reject alone where what was decided on cannot be cloned', async () => {
    const storage = open();
    await storage.set('a', 1);
    const { revision } = (await storage.getEntry('a')) ?? { revision: '' };
    const outcomes = await Promise.allSettled([
      storage.update('a', () => new Blob()),
      storage.set('a', new Blob(), { ifRevision: revision }),
      storage.update('a', (current) => Number(current) + 1),
    ]);
    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'unsupported-value' } },
      { status: 'rejected', reason: { code: 'unsupported-value' } },
      { status: 'fulfilled', value: 2 },
    ]);
  });
});

describe('many gets of one turn', () => {
  it('are ranges where nothing else lies between their keys, and only there', async () => {
    const storage = open();
    await storage.setMany(FORTY.map((key) => [key, key]));
    const ranges = vi.spyOn(IDBObjectStore.prototype, 'getAll');
    expect(await storage.getMany(FORTY)).toEqual(FORTY);
    expect(ranges).toHaveBeenCalled();
    await storage.setMany(FORTY.map((key) => [`${key}-image`, 'large']));
    ranges.mockClear();
    expect(await storage.getMany(FORTY)).toEqual(FORTY);
    expect(ranges).not.toHaveBeenCalled();
  });

  it('are read again on a new connection when theirs is lost, as one get is', async () => {
    const storage = open();
    await storage.setMany(FORTY.map((key) => [key, key]));
    const { get } = IDBObjectStore.prototype;
    for (const keys of [FORTY.slice(0, 1), FORTY]) {
      let lost = false;
      vi.spyOn(IDBObjectStore.prototype, 'get').mockImplementation(function (this: IDBObjectStore, key) {
        const request = get.call(this, key);
        if (!lost) queueMicrotask(() => this.transaction.abort());
        lost = true;
        return request;
      });
      expect(await storage.getMany(keys)).toEqual(keys);
      expect(lost).toBe(true);
      vi.restoreAllMocks();
    }
  });
});
