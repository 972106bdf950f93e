/**
 * Level 0: an answer that is cut is never believed, wherever it is cut. No write is sent again there, so the call is rejected.
 * Each kind of answer is cut after each of its bytes, by FIN and by RST in turn.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createStorage } from '../../src/index.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import {
  cutEverywhere,
  figures,
  goesTo,
  type Kind,
  keysOf,
  lengthOf,
  newValueOf,
  nothing,
  oldValueOf,
} from './cutting.ts';
import { closeLanes, type Lane, openLanes } from './lanes.ts';

withoutIndexedDb();

const changes = 0;
const KEY = /^\/api\/storage\/(?:key-|whole)/;
const LISTED = ['listed-1', 'listed-2', 'listed-3'];

const KINDS: Kind[] = [
  {
    name: 'get',
    cuts: goesTo('GET', KEY),
    call: (storage, key) => storage.get(key),
    outcome: oldValueOf,
    changes,
  },
  {
    name: 'get of what is not there',
    cuts: goesTo('GET', /missing/),
    call: (storage, key) => storage.get(`missing-${key}`),
    outcome: nothing,
    changes,
  },
  {
    name: 'get of what only an export shows',
    cuts: goesTo('GET', /\/export$/),
    call: (storage) => storage.get('keys'),
    outcome: () => 'shadowed',
    changes,
  },
  {
    name: 'has',
    cuts: goesTo('GET', KEY),
    call: (storage, key) => storage.has(key),
    outcome: () => true,
    changes,
  },
  {
    name: 'set',
    cuts: goesTo('PUT', KEY),
    call: (storage, key) => storage.set(key, newValueOf(key)),
    outcome: nothing,
    leaves: newValueOf,
    changes,
  },
  {
    name: 'setMany',
    cuts: goesTo('POST', /\/import$/),
    call: (storage, key) =>
      storage.setMany([
        [key, newValueOf(key)],
        [`${key}-too`, 1],
      ]),
    outcome: nothing,
    leaves: newValueOf,
    changes,
  },
  {
    name: 'delete',
    cuts: goesTo('DELETE', KEY),
    call: (storage, key) => storage.delete(key),
    outcome: nothing,
    leaves: nothing,
    changes,
  },
  {
    name: 'keys',
    cuts: goesTo('GET', /\/keys$/),
    call: (storage) => storage.keys({ prefix: 'listed' }),
    outcome: () => LISTED,
    changes,
  },
  {
    name: 'stats',
    cuts: goesTo('GET', /\/stats$/),
    call: async (storage) => (await storage.stats()).keys >= LISTED.length,
    outcome: () => true,
    changes,
  },
  {
    name: 'clear',
    cuts: goesTo('POST', /\/clear$/),
    call: (storage) => storage.clear(),
    outcome: nothing,
    leaves: nothing,
    changes,
  },
];

let server: OldServer;
let lanes: Lane[];

beforeAll(async () => {
  server = await startOldServer();
  lanes = await openLanes(8, server.url, 5000);
});
afterAll(async () => {
  await closeLanes(lanes);
  await server.close();
});
beforeEach(() => {
  server.data.clear();
  server.data.set('keys', 'shadowed');
});

const held = async (key: string): Promise<unknown> => server.data.get(key);

for (const kind of KINDS)
  it(`${kind.name}: cut after any byte, the call is rejected, and no write is sent again`, async ({
    annotate,
  }) => {
    for (const key of [...LISTED, 'whole']) server.data.set(key, oldValueOf(key));
    const length = await lengthOf(kind, lanes[0] as Lane);
    // The export of a kind that is about one: as long as when it was measured.
    if (kind.outcome('') !== 'shadowed')
      for (const key of keysOf(length)) server.data.set(key, oldValueOf(key));
    server.seen.length = 0;
    const tally = await cutEverywhere(kind, { lanes, attempts: Number.POSITIVE_INFINITY, length, held });
    await annotate(figures(tally));
    expect(length).toBeGreaterThan(100);
    expect(tally.falseSuccesses).toEqual([]);
    expect(tally.believed).toBe(0);
    const writes = server.seen.filter(({ method }) => method !== 'GET');
    expect(writes).toHaveLength(kind.leaves ? length : 0);
  });

it('detection: cut after any byte, it does not take the server for one', async ({ annotate }) => {
  const detection: Kind = {
    name: 'detection',
    cuts: goesTo('GET', /\/_health_check$/),
    async call(_, key, flaskUrl) {
      const storage = createStorage({
        useFlask: true,
        flaskUrl,
        logger: false,
        database: key,
      });
      await storage.ready().finally(() => storage.close());
      return storage.getBackendType();
    },
    outcome: () => 'indexeddb',
    changes,
  };
  const length = await lengthOf(detection, lanes[0] as Lane);
  const tally = await cutEverywhere(detection, { lanes, attempts: 1, length, held });
  await annotate(figures(tally));
  expect(tally.falseSuccesses).toEqual([]);
  expect(tally.believed).toBe(0);
});
