import { describe, expect, inject, it } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import type { ServerAddress } from '../support/servers.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { contract } from './contract.ts';

withoutIndexedDb();

const open = (server: ServerAddress): KeyValueStorage =>
  createStorage({ useFlask: true, flaskUrl: server.url, logger: false, timeout: 30_000 });

function runOn(name: string, server: ServerAddress): void {
  const openEmpty = async (): Promise<KeyValueStorage> => {
    await fetch(`${server.control}/restore`, { method: 'POST' });
    const storage = open(server);
    await storage.clear();
    expect(storage.getBackendType()).toBe('flask');
    return storage;
  };
  contract({
    name,
    gaps: [],
    state: 'online',
    level: 1,
    open: openEmpty,
    async openBroken() {
      const storage = await openEmpty();
      await fetch(`${server.control}/cut`, { method: 'POST' });
      return storage;
    },
  });

  describe(name, () => {
    it('shows what one storage wrote to every other', async () => {
      const writer = await openEmpty();
      const reader = open(server);
      await writer.set('shared', { by: 'writer' });
      expect(await reader.get('shared')).toEqual({ by: 'writer' });
      await Promise.all([writer.close(), reader.close()]);
    });

    it('adds up the increments of four storages that update one key at once', async () => {
      const storages = [await openEmpty(), open(server), open(server), open(server)];
      const results: number[] = [];
      const increment = (n: unknown): number => Number(n ?? 0) + 1;
      const increments = storages.map(async (storage) => {
        // Turn by turn, so that the storages meet in each.
        for (let turn = 0; turn < 5; turn += 1) {
          const ofTurn = Array.from({ length: 5 }, () => storage.update('n', increment));
          results.push(...(await Promise.all(ofTurn)).map(Number));
        }
      });
      await Promise.all(increments);
      results.sort((a, b) => a - b);
      expect(results).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
      await Promise.all(storages.map((storage) => storage.close()));
    });

    it('lets exactly one of many creators create', async () => {
      const storages = [await openEmpty(), ...Array.from({ length: 7 }, () => open(server))];
      const outcomes = await Promise.allSettled(
        storages.map((storage, i) => storage.set('once', i, { ifRevision: null })),
      );
      const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const [i, outcome] of outcomes.entries())
        if (i !== winner)
          expect(outcome).toMatchObject({
            reason: { code: 'conflict', attempted: i, current: { value: winner } },
          });
      await Promise.all(storages.map((storage) => storage.close()));
    });

    it('reads more than one answer may hold, in program order with what is written after it', async () => {
      const storage = await openEmpty();
      const keys = Array.from({ length: 5 }, (_, i) => `k${i}`);
      const text = 'x'.repeat(3 * 1024 * 1024);
      for (const key of keys) await storage.set(key, key + text);
      const reads = storage.getMany(keys);
      const later = storage.setMany(keys.map((key) => [key, 'later']));
      expect((await reads).map((value) => String(value).slice(0, 2 + 1))).toEqual(
        keys.map((key) => `${key}x`),
      );
      await later;
      expect(await storage.getMany(keys)).toEqual(keys.map(() => 'later'));
      await storage.setMany(keys.map((key) => [key, text]));
      let bytes = 0;
      for await (const [, value] of storage.entries()) bytes += String(value).length;
      expect(bytes).toBe(5 * text.length);
      // A conflict shows the value that is there, also where an answer has no room for it.
      const conflicts = await Promise.allSettled(
        keys.map((key) => storage.set(key, 0, { ifRevision: null })),
      );
      for (const outcome of conflicts)
        expect(outcome).toMatchObject({ reason: { code: 'conflict', current: { value: text } } });
      await storage.close();
      // 45 MB go through two processes.
    }, 60_000);

    it('refuses a value over the limit as too-large, stores nothing of it, and stores what came with it', async () => {
      const storage = await openEmpty();
      const outcomes = await Promise.allSettled([
        storage.set('small', 1),
        storage.set('large', 'x'.repeat(9 * 1024 * 1024)),
        storage.set('other', 2),
      ]);
      expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'too-large' } });
      expect(await storage.keys()).toEqual(['other', 'small']);
      await storage.close();
    });
  });
}

runOn('The Flask backend on the TypeScript server', inject('typescriptServer'));
const flask = inject('flaskServer');
if (flask) runOn('The Flask backend on the Flask server', flask);
const manyProcesses = inject('manyProcesses');
if (manyProcesses) runOn('The Flask backend on three processes over one PostgreSQL', manyProcesses);
