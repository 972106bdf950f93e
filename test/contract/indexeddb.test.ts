import { describe, expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { contract } from './contract.ts';
import { takeStore } from './without-anything.ts';

let databases = 0;
const freshName = (): string => `contract-${Date.now()}-${++databases}`;
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
});
