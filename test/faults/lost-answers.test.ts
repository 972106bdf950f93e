/**
 * Writes whose answers are lost: they apply once, and a write in doubt never overtakes a later one (docs/contract.md, 12.4
 * and 12.5).
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import {
  answerLost,
  type Ending,
  type Fault,
  htmlAnswer,
  type ProxiedRequest,
  requestHeld,
} from '../support/faults.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { withoutIndexedDb } from '../support/without-indexeddb.ts';
import { closeLanes, first, type Lane, openLane } from './lanes.ts';

withoutIndexedDb();

type Write = (storage: KeyValueStorage) => Promise<unknown>;

/** Writes to `key`, which holds `old`: what the key holds then, and how many changes that is. */
const WRITES: Record<string, { readonly write: Write; readonly leaves: unknown; readonly changes: number }> =
  {
    set: { write: (storage) => storage.set('key', 'new'), leaves: 'new', changes: 1 },
    'set with ifRevision': {
      async write(storage) {
        const entry = await storage.getEntry('key');
        return storage.set('key', 'new', { ifRevision: entry?.revision ?? null });
      },
      leaves: 'new',
      changes: 1,
    },
    delete: { write: (storage) => storage.delete('key'), leaves: undefined, changes: 1 },
    clear: { write: (storage) => storage.clear(), leaves: undefined, changes: 1 },
    update: { write: (storage) => storage.update('key', (old) => `${old}er`), leaves: 'older', changes: 1 },
    setMany: {
      write: (storage) =>
        storage.setMany([
          ['key', 1],
          ['other', 2],
          ['key', 3],
        ]),
      leaves: 3,
      changes: 3,
    },
    'a turn of different writes': {
      write: (storage) =>
        Promise.all([
          storage.clear(),
          storage.set('key', 1),
          storage.update('key', (old) => [old]),
          storage.delete('none'),
        ]),
      leaves: [1],
      changes: 3,
    },
  };

const isWrite = ({ target, body }: ProxiedRequest): boolean =>
  target === '/api/v1/batch' && body.includes('"m":');

const LOST = { 'lost by FIN': answerLost('fin'), 'lost by RST': answerLost('rst') };
const REPLACED = {
  'replaced by an HTML page with 200': htmlAnswer(200, true),
  'replaced by an HTML page with 404': htmlAnswer(404, true),
  'replaced by an HTML page with 502': htmlAnswer(502, true),
};

interface Subject {
  readonly name: string;
  readonly start: () => Promise<RunningServer>;
  readonly skip: string | undefined;
  readonly losses: Readonly<Record<string, Fault>>;
  /** What becomes of the connection of a request that is held. */
  readonly endings: readonly Ending[];
}

const SUBJECTS: Subject[] = [
  {
    name: 'TypeScript server',
    start: startTypescriptServer,
    skip: undefined,
    losses: { ...LOST, ...REPLACED },
    endings: ['silence', 'rst'],
  },
  {
    name: 'Flask server',
    start: startFlaskServer,
    skip: flaskSkipReason(),
    losses: LOST,
    endings: ['silence'],
  },
];

for (const { name, start, skip, losses, endings } of SUBJECTS)
  describe.skipIf(skip)(name, () => {
    let server: RunningServer;
    let direct: KeyValueStorage;
    let patient: Lane;
    let impatient: Lane;

    beforeAll(async () => {
      server = await start();
      direct = createStorage({ useFlask: true, flaskUrl: server.url, logger: false });
      patient = await openLane(server.url, 10_000);
      impatient = await openLane(server.url, 1000);
    });
    afterAll(async () => {
      await closeLanes([patient, impatient]);
      await direct.close();
      await server.stop();
    });
    beforeEach(async () => {
      await direct.clear();
      await direct.set('key', 'old');
    });

    async function seq(): Promise<number> {
      return (await (await fetch(`${server.url}/health`)).json()).seq;
    }

    for (const [name, { write, leaves, changes }] of Object.entries(WRITES))
      for (const [loss, fault] of Object.entries(losses))
        it(`applies ${name} once, its answers ${loss} twice`, async () => {
          const before = await seq();
          patient.faults = first(2, isWrite, fault);
          await write(patient.storage);
          expect(await direct.get('key')).toEqual(leaves);
          expect((await seq()) - before).toBe(changes);
        });

    const later: Record<string, { readonly write: Write; readonly leaves: unknown }> = {
      set: { write: (storage) => storage.set('key', 'later'), leaves: 'later' },
      delete: { write: (storage) => storage.delete('key'), leaves: undefined },
      update: { write: (storage) => storage.update('key', (old) => [old]), leaves: ['old'] },
    };
    const stragglers: Record<string, Write> = {
      set: (storage) => storage.set('key', 'straggler'),
      delete: (storage) => storage.delete('key'),
      clear: (storage) => storage.clear(),
    };
    for (const [first, straggle] of Object.entries(stragglers))
      for (const [second, { write, leaves }] of Object.entries(later))
        for (const ending of endings)
          it(`lets no ${first} that timed out (${ending}) overtake the ${second} after it`, async () => {
            const held = holdWrites(impatient, ending);
            await expect(straggle(impatient.storage)).rejects.toMatchObject({ code: /timeout|unavailable/ });
            held.letOthersPass();
            await write(impatient.storage);
            expect(await direct.get('key')).toEqual(leaves);
            const before = await seq();
            const answers = await held.deliver();
            expect(answers.length).toBeGreaterThan(0);
            for (const answer of answers) expect(answer).toMatch(/urn:codeforge-storage:(?:void|settled)/);
            expect(await direct.get('key')).toEqual(leaves);
            expect(await seq()).toBe(before);
          });
  });

/** Writes of a lane that are held on their way. */
interface Held {
  /** Holds those that were held, also when they are sent again, and no others. */
  letOthersPass(): void;
  /** Delivers them. Resolves with the server's answers. */
  deliver(): Promise<string[]>;
}

/** Holds all writes of a lane, and lets its connections end. */
function holdWrites(lane: Lane, ending: Ending): Held {
  const release = Promise.withResolvers<void>();
  const answers: Array<Promise<string>> = [];
  const mutations = new Set<string | undefined>();
  let passes = false;
  lane.faults = (request) => {
    const [mutation] = /"m":\d+/.exec(request.body) ?? [];
    if (!isWrite(request) || (passes && !mutations.has(mutation))) return undefined;
    mutations.add(mutation);
    const answered = Promise.withResolvers<string>();
    answers.push(answered.promise);
    return {
      ...requestHeld(release.promise, ending),
      observe: (answer) => answered.resolve(answer.toString()),
    };
  };
  return {
    letOthersPass() {
      passes = true;
    },
    deliver() {
      release.resolve();
      return Promise.all(answers);
    },
  };
}
