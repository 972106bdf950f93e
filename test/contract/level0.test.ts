/** The contract on a server of level 0 as old apps have it: with a copy of its data beside it, and alone, where there is no IndexedDB. */
import { afterAll, beforeAll, describe } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { contract } from './contract.ts';
import { openWithNothing } from './without-anything.ts';

let server: OldServer;
let databases = 0;

beforeAll(async () => {
  server = await startOldServer();
});
afterAll(() => server.close());

function open() {
  databases += 1;
  const database = `level0-copy-${databases}`;
  return createStorage({ useFlask: true, flaskUrl: server.url, logger: false, database });
}

contract({
  name: 'The Flask backend with a copy of what a server of level 0 holds',
  gaps: ['path-keys', 'revisions', 'member-order'],
  state: 'online',
  level: 0,
  synced: true,
  async open() {
    server.data.clear();
    server.intercept = undefined;
    return open();
  },
  async openBroken() {
    // It is met first: a server that was never reached may be of any level.
    server.intercept = undefined;
    const storage = await openWithNothing(open);
    server.intercept = (request) => Boolean(request.socket.destroy());
    return storage;
  },
});

describe('without IndexedDB', () => {
  withoutIndexedDb();

  contract({
    name: 'The Flask backend on a server of level 0',
    gaps: ['path-keys', 'revisions', 'member-order'],
    state: 'online',
    level: 0,
    async open() {
      server.data.clear();
      server.intercept = undefined;
      return open();
    },
    async openBroken() {
      server.intercept = undefined;
      const storage = open();
      await storage.ready();
      server.intercept = (request) => Boolean(request.socket.destroy());
      return storage;
    },
  });
});
