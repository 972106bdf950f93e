/** The part of the contract suite about namespaces: the methods of a storage over the keys with a prefix, without it. */
import { expect, it } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { codeOf } from './codes.ts';

const OUTSIDE = ['a', 'b:', 'b;', 'bb', 'c:1', '🗝', '1'];

/** What storages promise about namespaces. */
export function namespaces(open: () => Promise<KeyValueStorage>, hasRevisions: boolean): void {
  const filled = async (): Promise<KeyValueStorage> => {
    const storage = await open();
    await storage.setMany(OUTSIDE.map((key) => [key, 'outside']));
    return storage;
  };
  const outside = (storage: KeyValueStorage) => storage.getMany(OUTSIDE);

  it('a namespace reads and writes the keys with its prefix, without it', async () => {
    const storage = await filled();
    const space = storage.namespace('n:');
    expect(await space.keys()).toEqual([]);
    await space.set('1', 'one');
    await space.setMany([
      ['2', 'two'],
      ['🗝', 'key'],
    ]);
    expect(await storage.getMany(['n:1', 'n:2', 'n:🗝'])).toEqual(['one', 'two', 'key']);
    expect(await space.getMany(['2', 'n:1', '1'])).toEqual(['two', undefined, 'one']);
    expect(await space.get('🗝')).toBe('key');
    expect(await space.has('1')).toBe(true);
    expect(await space.has('a')).toBe(false);
    expect(await space.keys()).toEqual(['1', '2', '🗝']);
    expect(await Array.fromAsync(space.entries())).toEqual([
      ['1', 'one'],
      ['2', 'two'],
      ['🗝', 'key'],
    ]);
    expect(await space.count()).toBe(3);
    await space.delete('1');
    await space.deleteMany(['🗝', 'a']);
    expect(await space.keys()).toEqual(['2']);
    expect(await outside(storage)).toEqual(OUTSIDE.map(() => 'outside'));
    expect(space.status()).toBe(storage.status());
    expect(space.getBackendType()).toBe(storage.getBackendType());
    await space.ready();
  });

  it('ranges of a namespace are those of its own keys', async () => {
    const storage = await filled();
    const space = storage.namespace('n:');
    const keys = Array.from({ length: 9 }, (_, i) => `k${i}`);
    await space.setMany(keys.map((key) => [key, key]));
    expect(await space.keys({ start: 'k3', end: 'k6' })).toEqual(['k3', 'k4', 'k5']);
    expect(await space.keys({ prefix: 'k', start: 'k5', limit: 2 })).toEqual(['k5', 'k6']);
    expect(await space.keys({ reverse: true, limit: 2 })).toEqual(['k8', 'k7']);
    expect(await space.keys({ start: '', end: '' })).toEqual([]);
    expect(await space.count({ end: 'k4' })).toBe(4);
    expect((await Array.fromAsync(space.entries({ start: 'k7' }))).map(([key]) => key)).toEqual(['k7', 'k8']);
  });

  it('namespaces nest, and calls of several keep the order of a turn', async () => {
    const storage = await filled();
    const [outer, inner] = [storage.namespace('n:'), storage.namespace('n:').namespace('m:')];
    const results = await Promise.all([
      outer.set('m:1', 1),
      inner.get('1'),
      inner.set('1', 2),
      storage.get('n:m:1'),
      inner.keys(),
      storage.delete('n:m:1'),
      inner.has('1'),
    ]);
    expect(results).toEqual([undefined, 1, undefined, 2, ['1'], undefined, false]);
  });

  it('clear() of a namespace deletes its keys, and no others', async () => {
    const storage = await filled();
    const space = storage.namespace('n:');
    await space.setMany(['1', '2', 'sub:1', 'sub:2'].map((key) => [key, key]));
    await space.clear({ prefix: 'sub:' });
    expect(await space.keys()).toEqual(['1', '2']);
    for (const options of [{}, { prefix: '' }, null, 'sub:'])
      expect(await codeOf(space.clear(options as never))).toBe('invalid-option');
    await space.clear();
    expect(await space.count()).toBe(0);
    expect(await outside(storage)).toEqual(OUTSIDE.map(() => 'outside'));
  });

  if (hasRevisions) {
    it('a conflict in a namespace names the key without the prefix', async () => {
      const space = (await open()).namespace('n:');
      await space.set('a', 1);
      const error = await space.set('a', 2, { ifRevision: null }).catch((error) => error);
      expect(error).toMatchObject({ code: 'conflict', key: 'a', attempted: 2, current: { value: 1 } });
      await space.set('a', 3, { ifRevision: error.current.revision });
      expect(await space.get('a')).toBe(3);
    });

    it('a namespace has revisions and updates', async () => {
      const storage = await filled();
      const space = storage.namespace('n:');
      expect(await space.update('n', (n) => Number(n ?? 0) + 1)).toBe(1);
      // With `ack: 'local'` the state has a second revision when the write has arrived. The first one stays valid.
      await storage.flush().catch(() => {});
      const entry = await space.getEntry('n');
      expect(entry).toEqual(await storage.getEntry('n:n'));
      await space.set('n', 2, { ifRevision: entry?.revision ?? null });
      expect(await codeOf(space.set('n', 3, { ifRevision: null }))).toBe('conflict');
      expect(await codeOf(space.delete('n', { ifRevision: 'k.1' }))).toBe('conflict');
      expect(await storage.get('n:n')).toBe(2);
    });
  }

  it('the key that equals the prefix is not part of a namespace', async () => {
    const storage = await open();
    await storage.setMany([
      ['n', 'me'],
      ['n:1', 1],
      ['n:2', 2],
    ]);
    const space = storage.namespace('n');
    expect(await space.keys()).toEqual([':1', ':2']);
    expect(await space.keys({ limit: 1 })).toEqual([':1']);
    expect(await space.count()).toBe(2);
    for (const call of [space.get(''), space.has(''), space.set('', 1), space.delete('')])
      expect(await codeOf(call)).toBe('invalid-key');
    expect(await (await space.export({ as: 'blob' })).text()).toContain('{"key":":1","value":1}');
  });

  it('a namespace checks the whole key, and each part of it', async () => {
    const storage = await open();
    const space = storage.namespace('n:');
    for (const key of ['', 'k'.repeat(1023), 'a\0', '\ud800', 1, undefined])
      expect(await codeOf(space.set(key as never, 1))).toBe('invalid-key');
    expect(await codeOf(space.get(undefined as never))).toBe('invalid-key');
    await space.set('k'.repeat(1022), 1);
    expect(await storage.keys()).toEqual([`n:${'k'.repeat(1022)}`]);
  });

  it('refuses what no key can begin with as the prefix of a namespace, at once', async () => {
    const storage = await open();
    for (const prefix of ['', undefined, null, 1, 'a\0', 'a\ud83d'])
      expect(() => storage.namespace(prefix as never)).toThrow(
        expect.objectContaining({ code: 'invalid-option' }),
      );
    expect(() => storage.namespace('n:').namespace('')).toThrow();
  });

  it('exports a namespace without its prefix, and imports that under another', async () => {
    const storage = await filled();
    const [from, to] = [storage.namespace('from:'), storage.namespace('to:')];
    await from.setMany([
      ['date', new Date(5)],
      ['🗝', [1n]],
      ['sub:1', 1],
    ]);
    await to.set('date', 'old');
    const backup = await from.export({ as: 'blob' });
    expect(await backup.text()).toContain('"key":"date"');
    expect(await backup.text()).not.toContain('from:');
    expect(await to.import(backup, { dryRun: true })).toMatchObject({ entries: 3, conflicts: ['date'] });
    expect(await to.import(backup, { mode: 'skip' })).toBe(2);
    expect(await to.get('date')).toBe('old');
    expect(await to.import(await from.export())).toBe(3);
    expect(await Array.fromAsync(to.entries())).toEqual(await Array.fromAsync(from.entries()));
    const part = await from.export({ as: 'blob', prefix: 'sub:', format: 'json' });
    expect(JSON.parse(await part.text())).toEqual({ 'sub:1': 1 });
    expect(await outside(storage)).toEqual(OUTSIDE.map(() => 'outside'));
  });

  it('an import into a namespace names a key that is too long under its prefix, and stores the others', async () => {
    const storage = await open();
    const long = 'k'.repeat(1020);
    const failed = await storage
      .namespace('prefix:')
      .import(JSON.stringify({ ok: 1, [long]: 2 }))
      .catch((error) => error);
    expect(failed).toMatchObject({ name: 'MigrationError', migrated: 1, failed: [{ key: long }] });
    expect(await storage.keys()).toEqual(['prefix:ok']);
  });

  it('a namespace ends with its storage', async () => {
    const storage = await open();
    const space = storage.namespace('n:');
    await storage.close();
    for (const call of [space.get('a'), space.keys(), space.clear(), space.conflicts(), space.export()])
      expect(await codeOf(call)).toBe('closed');
  });
}
