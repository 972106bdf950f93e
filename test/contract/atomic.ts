/** The part of the contract suite about `atomic()`: all or nothing. */
import { expect, it } from 'vitest';
import { ConflictError, type KeyValueStorage } from '../../src/index.ts';
import { codeOf } from './codes.ts';

const outcomeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (error) => error,
  );

/** What storages with revisions promise. */
export function atomicUnits(open: () => Promise<KeyValueStorage>): void {
  const revisionAt = async (storage: KeyValueStorage, key: string): Promise<string> => {
    const entry = await storage.getEntry(key);
    if (entry === undefined) throw new Error(`${key} is missing.`);
    return entry.revision;
  };
  const entriesOf = async (storage: KeyValueStorage) =>
    Object.fromEntries(await Array.fromAsync(storage.entries()));

  it('atomic() stores and deletes as a whole, and sees and is seen by the calls around it', async () => {
    const storage = await open();
    await storage.setMany([
      ['gone', 1],
      ['kept', new Date(1)],
    ]);
    const kept = await revisionAt(storage, 'kept');
    const [, , , read] = await Promise.all([
      storage.set('a', 'before'),
      storage.atomic([
        { set: 'a', value: new Map([['k', 1n]]) },
        { set: 'new', value: undefined, ifRevision: null },
        { delete: 'gone' },
        { delete: 'missing' },
        { check: 'kept', ifRevision: kept },
        { check: 'absent', ifRevision: null },
      ]),
      storage.set('b', 'after'),
      storage.getMany(['a', 'new', 'gone', 'b']),
    ]);
    expect(read).toEqual([new Map([['k', 1n]]), undefined, undefined, 'after']);
    expect(await storage.keys()).toEqual(['a', 'b', 'kept', 'new']);
    expect(await storage.get('kept')).toEqual(new Date(1));
  });

  it('atomic() changes nothing if one condition is not met, and names the key', async () => {
    const storage = await open();
    await storage.setMany([
      ['a', 1],
      ['b', 2],
    ]);
    const before = await entriesOf(storage);
    const revision = await revisionAt(storage, 'a');
    await storage.set('a', 'changed');
    const units: Array<[Parameters<KeyValueStorage['atomic']>[0], Partial<ConflictError>]> = [
      [
        [
          { set: 'c', value: 3 },
          { check: 'a', ifRevision: revision },
        ],
        { key: 'a' },
      ],
      [
        [{ set: 'c', value: 3 }, { delete: 'b' }, { set: 'a', value: 'mine', ifRevision: revision }],
        { key: 'a', attempted: 'mine' },
      ],
      [
        [
          { check: 'b', ifRevision: null },
          { set: 'c', value: 3 },
        ],
        { key: 'b' },
      ],
      [[{ set: 'b', value: 'mine', ifRevision: null }, { delete: 'a' }], { key: 'b', attempted: 'mine' }],
      [
        [
          { delete: 'a', ifRevision: revision },
          { set: 'c', value: 3 },
        ],
        { key: 'a' },
      ],
      [
        [
          { delete: 'missing', ifRevision: revision },
          { set: 'c', value: 3 },
        ],
        { key: 'missing' },
      ],
      [[{ check: 'missing', ifRevision: revision }, { delete: 'b' }], { key: 'missing' }],
    ];
    for (const [unit, error] of units) {
      const outcome = await outcomeOf(storage.atomic(unit));
      expect(outcome).toBeInstanceOf(ConflictError);
      expect(outcome).toMatchObject(error);
      expect(await entriesOf(storage)).toEqual({ ...before, a: 'changed' });
    }
    const current = await outcomeOf(storage.atomic([{ check: 'a', ifRevision: revision }]));
    expect(current).toMatchObject({ current: { value: 'changed' } });
  });

  it('atomic() takes a check and a write of one key, in either order', async () => {
    const storage = await open();
    await storage.set('balance', 10);
    const ifRevision = await revisionAt(storage, 'balance');
    await storage.atomic([
      { set: 'balance', value: 5 },
      { check: 'balance', ifRevision },
    ]);
    expect(await storage.get('balance')).toBe(5);
    const outcome = storage.atomic([{ check: 'balance', ifRevision }, { delete: 'balance' }]);
    expect(await codeOf(outcome)).toBe('conflict');
    expect(await storage.get('balance')).toBe(5);
    await storage.atomic([]);
  });

  it('atomic() of two clients that move the same amount lets one of them win', async () => {
    const storage = await open();
    await storage.setMany([
      ['from', 1],
      ['to', 0],
    ]);
    const [from, to] = [await revisionAt(storage, 'from'), await revisionAt(storage, 'to')];
    const move = () =>
      storage.atomic([
        { set: 'from', value: 0, ifRevision: from },
        { set: 'to', value: 1, ifRevision: to },
      ]);
    const outcomes = await Promise.allSettled([move(), move(), move()]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await storage.getMany(['from', 'to'])).toEqual([0, 1]);
  });

  it('atomic() refuses what is no list of operations, before anything is stored', async () => {
    const storage = await open();
    const wrong: unknown[] = [
      undefined,
      'abc',
      { set: 'a', value: 1 },
      [{}],
      [null],
      [{ set: 'a' }],
      [{ set: 'a', value: 1, delete: 'b' }],
      [{ set: 'a', value: 1, other: 1 }],
      [{ set: 'a', value: 1, ifRevision: undefined }],
      [{ delete: 'a', ifRevision: null }],
      [{ check: 'a' }],
      [{ set: 'a', value: 1 }, { delete: 'a' }],
      [
        { set: 'a', value: 1, ifRevision: null },
        { check: 'a', ifRevision: null },
      ],
      [
        { check: 'a', ifRevision: null },
        { check: 'a', ifRevision: null },
      ],
    ];
    for (const operations of wrong)
      expect(await codeOf(storage.atomic(operations as never))).toBe('invalid-option');
    expect(
      await codeOf(
        storage.atomic([
          { set: 'a', value: 1 },
          { set: '', value: 1 },
        ]),
      ),
    ).toBe('invalid-key');
    expect(
      await codeOf(
        storage.atomic([
          { set: 'a', value: 1 },
          { set: 'b', value: () => 1 },
        ]),
      ),
    ).toBe('unsupported-value');
    expect(await storage.keys()).toEqual([]);
  });

  it('atomic() of a namespace has keys without the prefix, also in its conflict', async () => {
    const storage = await open();
    const space = storage.namespace('n:');
    await space.atomic([{ set: 'a', value: 1 }]);
    expect(await storage.get('n:a')).toBe(1);
    expect(await outcomeOf(space.atomic([{ set: 'a', value: 2, ifRevision: null }]))).toMatchObject({
      key: 'a',
    });
  });
}
