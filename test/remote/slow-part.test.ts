/**
 * A call whose time limit is used up before its first request, such as by a slow download of a part, still asks its server
 * (docs/guarantees.md, 11).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import * as codec from '../../src/core/json.ts';
import { buildStorage } from '../../src/storage.ts';
import * as server from '../../src/sync/index.ts';
import * as transfer from '../../src/transfer/index.ts';
import { startOldServer } from '../support/old-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';

const TIMEOUT_MS = 3000;
/** More than the part of its time limit that a call has at least. */
const HEALTH_MS = 900;

withoutIndexedDb();

it('a call whose part loads for longer than its time limit is answered by the server', async () => {
  const oldServer = await startOldServer();
  const { url } = oldServer;
  oldServer.intercept = (request, response) => {
    if (request.url !== '/health') return false;
    setTimeout(() => response.writeHead(404).end(), HEALTH_MS);
    return true;
  };
  const storage = buildStorage<Record<string, number>>(
    { useFlask: true, flaskUrl: url, timeout: TIMEOUT_MS, logger: false },
    {
      server: async () => {
        await delay(TIMEOUT_MS + 100);
        return server;
      },
      codec: async () => codec,
      transfer: async () => transfer,
    },
  );
  await storage.set('a', 1);
  expect(await storage.get('a')).toBe(1);
  await storage.close();
  await oldServer.close();
});
