/** The part of the contract suite that needs revisions: conditions, conflicts, updates. */
import { expect, it } from 'vitest';
import { ConflictError, type KeyValueStorage, StorageError } from '../../src/index.ts';
import { codeOf } from './codes.ts';
import { VALUES } from './samples.ts';

/** What storages with revisions promise. */
export function revisions(open: () => Promise<KeyValueStorage>, oneName: boolean): void {
  const conflict = async (promise: Promise<unknown>): Promise<ConflictError> => {
    const error = await promise.then(
      () => 'resolved',
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(ConflictError);
    expect(error).toBeInstanceOf(StorageError);
    expect(error).toMatchObject({ code: 'conflict', name: 'ConflictError' });
    return error as ConflictError;
  };
  const entry = async (storage: KeyValueStorage, key: string) => {
    const found = await storage.getEntry(key);
    if (found === undefined) throw new Error(`${key} is missing.`);
    return found;
  };

  it('reads a value with its revision, which stays while the value does', async () => {
    const storage = await open();
    expect(await storage.getEntry('k')).toBeUndefined();
    await storage.set('k', { a: [new Date(5), 1n] });
    const first = await entry(storage, 'k');
    expect(first).toEqual({ value: { a: [new Date(5), 1n] }, revision: expect.stringMatching(/./) });
    if (oneName) expect(await entry(storage, 'k')).toEqual(first);
    await storage.set('k', { a: [new Date(6), 1n] });
    expect((await entry(storage, 'k')).revision).not.toBe(first.revision);
  });

  for (const [name, value] of VALUES) {
    it(`has a revision for ${name}, and writes over it with that alone`, async () => {
      const storage = await open();
      await storage.set('v', value);
      const { revision } = await entry(storage, 'v');
      const refused = await conflict(storage.set('v', 'lost', { ifRevision: null }));
      if (oneName) expect(refused.current?.revision).toBe(revision);
      await storage.set('v', 'next', { ifRevision: revision });
      expect(await storage.get('v')).toBe('next');
      await conflict(storage.set('v', 'lost', { ifRevision: revision }));
      expect(await storage.get('v')).toBe('next');
    });
  }

  it('has a revision for Blobs, Files and Errors', async () => {
    const storage = await open();
    const file = new File(['text'], 'a.txt', { type: 'text/plain', lastModified: 1 });
    await storage.set('v', [new Blob(['one']), file, new TypeError('e')]);
    const { revision } = await entry(storage, 'v');
    if (oneName) expect((await entry(storage, 'v')).revision).toBe(revision);
    await storage.set('v', [new Blob(['other']), file], { ifRevision: revision });
    await conflict(storage.delete('v', { ifRevision: revision }));
  });

  it('creates with ifRevision null only what does not exist, and shows both sides of a conflict', async () => {
    const storage = await open();
    await storage.set('k', { mine: 1 }, { ifRevision: null });
    const error = await conflict(storage.set('k', { mine: 2 }, { ifRevision: null }));
    expect(error).toMatchObject({ key: 'k', attempted: { mine: 2 }, current: { value: { mine: 1 } } });
    expect(await storage.get('k')).toEqual({ mine: 1 });
    await storage.set('k', { merged: 3 }, { ifRevision: error.current?.revision ?? null });
    expect(await storage.get('k')).toEqual({ merged: 3 });
    await storage.set('u', undefined);
    expect((await conflict(storage.set('u', 1, { ifRevision: null }))).current).toMatchObject({
      value: undefined,
    });
  });

  it('writes and deletes only what is still at the revision, and is told when nothing is there', async () => {
    const storage = await open();
    await storage.set('k', 1);
    const { revision } = await entry(storage, 'k');
    await storage.set('k', 2);
    const set = await conflict(storage.set('k', 3, { ifRevision: revision }));
    expect(set).toMatchObject({ attempted: 3, current: { value: 2 } });
    const deleted = await conflict(storage.delete('k', { ifRevision: revision }));
    expect(deleted).toMatchObject({ key: 'k', attempted: undefined, current: { value: 2 } });
    expect(await storage.get('k')).toBe(2);
    await storage.delete('k', { ifRevision: set.current?.revision ?? '' });
    expect(await storage.has('k')).toBe(false);
    expect((await conflict(storage.set('k', 4, { ifRevision: revision }))).current).toBeUndefined();
    expect((await conflict(storage.delete('k', { ifRevision: revision }))).current).toBeUndefined();
    expect(await storage.keys()).toEqual([]);
  });

  it('takes a revision of another store, or what is none, for one that is not current', async () => {
    const storage = await open();
    await storage.set('k', 1);
    for (const ifRevision of [
      '0',
      '1',
      'k.1',
      'other-epoch.1',
      'idb.a-b',
      '.',
      '.1',
      '\ud800.1',
      'x'.repeat(5000),
    ]) {
      expect((await conflict(storage.set('k', 2, { ifRevision }))).current?.value).toBe(1);
      await conflict(storage.delete('k', { ifRevision }));
      expect((await conflict(storage.set('new', 2, { ifRevision }))).current).toBeUndefined();
    }
    expect(await Array.fromAsync(storage.entries())).toEqual([['k', 1]]);
  });

  it('keeps the program order around conditions, and lets each call of a turn fail by itself', async () => {
    const storage = await open();
    const outcomes = await Promise.allSettled([
      storage.set('k', 1, { ifRevision: null }),
      storage.get('k'),
      storage.set('k', 2, { ifRevision: null }),
      storage.get('k'),
      storage.set('k', 3),
      storage.delete('k', { ifRevision: 'k.1' }),
      storage.get('k'),
      storage.delete('k'),
      storage.set('k', 4, { ifRevision: null }),
      storage.get('k'),
      storage.clear(),
      storage.getEntry('k'),
    ]);
    expect(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code)),
    ).toEqual([
      ...[undefined, 1, 'conflict', 1, undefined, 'conflict', 3],
      ...[undefined, undefined, 4, undefined, undefined],
    ]);
  });

  it('refuses options that it does not know, before any I/O', async () => {
    const storage = await open();
    const wrong = (options: unknown) => options as never;
    // An undefined one is the revision of what was not there: to write regardless would lose what is.
    const noRevision = { ifRevision: undefined };
    for (const options of [
      null,
      1,
      'k.1',
      { ifRevision: '' },
      { ifRevision: 1 },
      { ifrevision: 'k.1' },
      noRevision,
    ]) {
      expect(await codeOf(storage.set('k', 1, wrong(options)))).toBe('invalid-option');
      expect(await codeOf(storage.delete('k', wrong(options)))).toBe('invalid-option');
    }
    expect(await codeOf(storage.delete('k', wrong({ ifRevision: null })))).toBe('invalid-option');
    await storage.delete('k', {});
    expect(await storage.keys()).toEqual([]);
  });

  it('updates every key that stands beside another, each call with its own result', async () => {
    const storage = await open();
    await storage.setMany([
      ['a', [1]],
      ['b', { n: 1 }],
    ]);
    const append = (item: number) => (list: unknown) => [...((list ?? []) as number[]), item];
    const outcomes = await Promise.allSettled([
      storage.update('a', append(2)),
      storage.update('b', (value) => Object.assign(value as object, { n: 2 })),
      storage.update('c', append(1)),
      storage.update('a', (list) => {
        (list as number[]).push(99);
        throw new Error('mine');
      }),
      storage.update('a', append(3)),
      storage.update('u', () => undefined),
    ]);
    expect(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.message)),
    ).toEqual([[1, 2], { n: 2 }, [1], 'mine', [1, 2, 3], undefined]);
    expect(await storage.getMany(['a', 'b', 'c'])).toEqual([[1, 2, 3], { n: 2 }, [1]]);
    expect(await storage.has('u')).toBe(true);
  });
}
