import { describe, expect, inject, it } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { contract } from '../contract.ts';
import type { ServerAddress } from '../support/servers.ts';

const open = (server: ServerAddress): KeyValueStorage =>
  createStorage({ useFlask: true, flaskUrl: server.url, logger: false, timeout: 5000 });

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
