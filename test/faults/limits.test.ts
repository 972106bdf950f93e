/**
 * Whatever becomes of the connection, every call settles within its time limit, and no call takes something for an answer
 * that is none.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ConflictError, createStorage, type KeyValueStorage } from '../../src/index.ts';
import { answerCutAfter, answerLost, type Fault, htmlAnswer, requestLost } from '../support/faults.ts';
import { startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { closeLanes, inLanes, type Lane, openLanes } from './lanes.ts';

/** Milliseconds that a call may take, and what a busy machine may add. */
const TIMEOUT = 300;
const MARGIN = 1500;

const FAULTS: Record<string, Fault> = {
  'is accepted and never read': requestLost('silence'),
  'is reset before the request arrives': requestLost('rst'),
  'is reset in the middle of the request': requestLost('rst', 60),
  'is reset when the server has answered': answerLost('rst'),
  'is closed when the server has answered': answerLost('fin'),
  'falls silent when the server has answered': answerLost('silence'),
  'falls silent in the middle of the head': answerCutAfter(40, 'silence'),
  'falls silent one byte before the end': { rewrite: (answer) => answer.subarray(0, -1), ending: 'silence' },
  'is answered by a page with 200': htmlAnswer(200, true),
  'is answered by a page with 404': htmlAnswer(404, true),
  'is answered by a page with 502': htmlAnswer(502, false),
  'is slower than the limit': { delayMs: TIMEOUT * 4 },
};

type Call = (storage: KeyValueStorage) => Promise<unknown>;

const CALLS: Record<string, Call> = {
  get: (storage) => storage.get('a'),
  'get of what is not there': (storage) => storage.get('missing'),
  getMany: (storage) => storage.getMany(['a', 'b', 'missing']),
  has: (storage) => storage.has('a'),
  keys: (storage) => storage.keys(),
  entries: async (storage) => {
    for await (const entry of storage.entries()) return entry;
    return undefined;
  },
  stats: (storage) => storage.stats(),
  set: (storage) => storage.set('a', 2),
  setMany: (storage) =>
    storage.setMany([
      ['a', 2],
      ['b', 3],
    ]),
  delete: (storage) => storage.delete('a'),
  deleteMany: (storage) => storage.deleteMany(['a', 'b']),
  clear: (storage) => storage.clear(),
};
const REVISION_CALLS: Record<string, Call> = {
  getEntry: (storage) => storage.getEntry('a'),
  'set with ifRevision': (storage) => storage.set('a', 2, { ifRevision: null }),
  'delete with ifRevision': (storage) => storage.delete('a', { ifRevision: 'none.1' }),
  update: (storage) => storage.update('a', () => 2),
};

for (const { name, open, calls } of [
  {
    name: 'level 1',
    async open() {
      const { url, stop } = await startTypescriptServer();
      return { url, close: stop };
    },
    calls: { ...CALLS, ...REVISION_CALLS },
  },
  { name: 'level 0', open: startOldServer, calls: CALLS },
])
  describe(name, () => {
    withoutIndexedDb();
    let server: { readonly url: string; close(): Promise<unknown> };
    let lanes: Lane[];
    beforeAll(async () => {
      server = await open();
      lanes = await openLanes(Object.keys(calls).length, server.url, TIMEOUT);
    });
    afterAll(async () => {
      await closeLanes(lanes);
      await server.close();
    });

    for (const [what, fault] of Object.entries(FAULTS))
      it(`every call is rejected in time where the connection ${what}`, async () => {
        const wrong: string[] = [];
        const all = Object.entries(calls);
        await inLanes(lanes, all.length, async (lane, i) => {
          const [call, run] = all[i] as [string, Call];
          lane.faults = () => fault;
          const begun = performance.now();
          const outcome = await run(lane.storage).then(
            (value) => `resolved with ${JSON.stringify(value)}`,
            ({ code, message }) => (/^(?:timeout|unavailable)$/.test(code) ? 'rejected' : message),
          );
          const took = Math.round(performance.now() - begun);
          if (outcome !== 'rejected') wrong.push(`${call} ${outcome}`);
          if (took > TIMEOUT + MARGIN) wrong.push(`${call} took ${took} ms`);
        });
        expect(wrong).toEqual([]);
      });

    it('every call works again afterwards', async () => {
      const all = Object.entries(calls);
      await inLanes(lanes, all.length, async (lane, i) => {
        lane.faults = undefined;
        const [call, run] = all[i] as [string, Call];
        // The machine may be too busy for the short time limit at first.
        const repeat = (): Promise<unknown> =>
          run(lane.storage).catch((error) => {
            if (!(error instanceof ConflictError)) throw new Error(`${call}: ${error}`);
          });
        await vi.waitFor(repeat, { timeout: 10_000, interval: 100 });
      });
    });
  });

it('a storage that is created while nothing answers settles its first calls within the limits, out of what is here', async () => {
  const server = await startOldServer();
  const [lane] = (await openLanes(1, server.url, TIMEOUT)) as [Lane];
  let begins = 0;
  for (const fault of [requestLost('silence'), requestLost('rst'), htmlAnswer(200, false)]) {
    lane.faults = () => fault;
    const storage = createStorage({
      useFlask: true,
      flaskUrl: lane.proxy.url,
      database: `limits-${begins++}`,
      logger: false,
      timeout: TIMEOUT,
    });
    const begun = performance.now();
    // Each of the two requests of the detection has 2,000 ms.
    expect(await storage.get('a')).toBeUndefined();
    expect(storage.getBackendType()).toBe('indexeddb');
    expect(performance.now() - begun).toBeLessThan(2 * 2000 + MARGIN);
    // From now on nothing waits for the server.
    const next = performance.now();
    await storage.set('a', 1);
    expect(await storage.get('a')).toBe(1);
    expect(await storage.keys()).toEqual(['a']);
    expect(performance.now() - next).toBeLessThan(TIMEOUT + MARGIN);
    expect(storage.status()).toMatchObject({
      backend: 'indexeddb',
      state: expect.stringMatching(/^(offline|reconnecting)$/),
      pending: 1,
    });
    expect(server.data.size).toBe(0);
    await storage.close();
  }
  await closeLanes([lane]);
  await server.close();
});
