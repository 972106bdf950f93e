/**
 * Level 1: an answer that is cut is never believed, wherever it is cut. It is asked for again, and what was asked is done
 * once. Each kind of answer is cut after each of its bytes, by FIN and by RST in turn.
 */
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import {
  CONFLICT,
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

const isBatch = goesTo('POST', /^\/api\/v1\/batch$/);
const LISTED = ['listed-1', 'listed-2', 'listed-3'];

const get: Kind = {
  name: 'get',
  cuts: isBatch,
  call: (storage, key) => storage.get(key),
  outcome: oldValueOf,
  changes: 0,
};
const set: Kind = {
  name: 'set',
  cuts: isBatch,
  call: (storage, key) => storage.set(key, newValueOf(key)),
  outcome: nothing,
  leaves: newValueOf,
  changes: 1,
};
const conflict: Kind = {
  name: 'set that meets another revision',
  cuts: isBatch,
  call: (storage, key) => storage.set(key, 'lost', { ifRevision: null }),
  outcome: () => CONFLICT,
  leaves: oldValueOf,
  changes: 0,
};
const keys: Kind = {
  name: 'keys',
  cuts: goesTo('GET', /^\/api\/v1\/keys/),
  call: (storage) => storage.keys({ prefix: 'listed' }),
  outcome: () => LISTED,
  changes: 0,
};
const KINDS: Kind[] = [
  get,
  {
    name: 'get of what is not there',
    cuts: isBatch,
    call: (storage, key) => storage.get(`${key} is missing`),
    outcome: nothing,
    changes: 0,
  },
  { name: 'has', cuts: isBatch, call: (storage, key) => storage.has(key), outcome: () => true, changes: 0 },
  set,
  conflict,
  {
    name: 'delete',
    cuts: isBatch,
    call: (storage, key) => storage.delete(key),
    outcome: nothing,
    leaves: nothing,
    changes: 1,
  },
  keys,
  {
    name: 'stats',
    cuts: goesTo('GET', /^\/api\/v1\/stats/),
    call: async (storage) => (await storage.stats()).keys >= LISTED.length,
    outcome: () => true,
    changes: 0,
  },
  {
    name: 'clear',
    cuts: isBatch,
    call: (storage) => storage.clear(),
    outcome: nothing,
    leaves: nothing,
    changes: 1,
  },
];

/** Milliseconds; long enough for a call to be sent again on a busy machine … */
const PATIENT = 5000;
/** … and short enough for it to be given up. */
const IMPATIENT = 500;

const SUBJECTS = [
  {
    name: 'TypeScript server',
    start: startTypescriptServer,
    skip: undefined,
    kinds: KINDS,
    never: [set, keys],
  },
  {
    name: 'Flask server',
    start: startFlaskServer,
    skip: flaskSkipReason(),
    kinds: [set],
    never: [],
  },
];

for (const { name, start, skip, kinds, never } of SUBJECTS)
  describe.skipIf(skip)(`${name}, level 1`, () => {
    let server: RunningServer;
    let direct: KeyValueStorage;
    let patient: Lane[];
    let impatient: Lane[];

    beforeAll(async () => {
      server = await start();
      direct = createStorage({ useFlask: true, flaskUrl: server.url, logger: false });
      patient = await openLanes(24, server.url, PATIENT);
      impatient = await openLanes(20, server.url, IMPATIENT);
    });
    afterAll(async () => {
      await closeLanes([...patient, ...impatient]);
      await direct.close();
      await server.stop();
    });

    const held = (key: string): Promise<unknown> => direct.get(key);
    /** A write that changes nothing: what was in doubt before it has happened by then, or never does. */
    async function settled(storage: KeyValueStorage): Promise<void> {
      // Again while the machine is busy: this storage may be impatient.
      await vi.waitFor(() => storage.delete('nothing'), { timeout: 60_000, interval: 50 });
    }
    async function seq(): Promise<number> {
      return (await (await fetch(`${server.url}/health`)).json()).seq;
    }

    /** Cut, and count what the server has changed. */
    async function sweep(kind: Kind, lanes: readonly Lane[], attempts: number) {
      const entries = (keys: readonly string[]) => keys.map((key) => [key, oldValueOf(key)] as const);
      await direct.setMany(entries([...LISTED, 'whole']));
      const length = await lengthOf(kind, lanes[0] as Lane);
      await direct.setMany(entries([...LISTED, ...keysOf(length)]));
      const before = await seq();
      const tally = await cutEverywhere(kind, { lanes, attempts, length, held, settled });
      return { tally, changes: (await seq()) - before };
    }

    for (const kind of kinds)
      it(`${kind.name}: cut once, after any byte, it is asked for again and done once`, async ({
        annotate,
      }) => {
        const { tally, changes } = await sweep(kind, patient, 1);
        await annotate(figures(tally));
        expect(tally.falseSuccesses).toEqual([]);
        expect(tally.believed).toBe(tally.cuts);
        expect(changes).toBe(tally.cuts * kind.changes);
      });

    for (const kind of never)
      it(`${kind.name}: cut each time, after any byte, it is never believed, and done once at most`, async ({
        annotate,
      }) => {
        const { tally, changes } = await sweep(kind, impatient, Number.POSITIVE_INFINITY);
        await annotate(figures(tally));
        expect(tally.believed).toBe(0);
        // On a busy machine a write may come so late that its number has been used up by then.
        const isDone = async (key: string) =>
          kind.changes > 0 && isDeepStrictEqual(await held(key), kind.leaves?.(key));
        const done = await Promise.all(keysOf(tally.cuts).map(isDone));
        expect(changes).toBe(done.filter(Boolean).length * kind.changes);
      });
  });

describe('The detection', () => {
  it('takes a server whose answer of /health was cut for what it is', async ({ annotate }) => {
    const server = await startTypescriptServer();
    const lanes = await openLanes(8, server.url, PATIENT);
    const detection: Kind = {
      name: 'health',
      cuts: goesTo('GET', /^\/health$/),
      async call(_, key, flaskUrl) {
        const storage = createStorage({ useFlask: true, flaskUrl, logger: false });
        await storage.set(key, newValueOf(key));
        await storage.close();
        const { backend, level } = storage.status();
        return { backend, level };
      },
      outcome: () => ({ backend: 'flask', level: 1 }),
      leaves: newValueOf,
      changes: 1,
    };
    const direct = createStorage({ useFlask: true, flaskUrl: server.url, logger: false });
    const length = await lengthOf(detection, lanes[0] as Lane);
    const held = (key: string): Promise<unknown> => direct.get(key);
    const tally = await cutEverywhere(detection, { lanes, attempts: 1, length, held });
    await annotate(figures(tally));
    expect(tally.falseSuccesses).toEqual([]);
    expect(tally.believed).toBe(length);
    await direct.close();
    await closeLanes(lanes);
    await server.stop();
  });
});
