/**
 * What the server has acknowledged is on the disk when the power fails.
 *
 * strace writes down every system call by which the server changes its database, has it written to the disk, and answers. From
 * that follows what a disk may hold after a power cut at any moment: see power-cut/disk.ts.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../examples/server/src/store/sqlite/database.ts';
import { createSqliteStore } from '../../examples/server/src/store/sqlite/store.ts';
import { type Random, randomOf, seedFrom } from '../faults/random.ts';
import { startServer } from '../support/running-server.ts';
import { readTrace, type SystemCall, straceSkipReason, traced } from '../support/strace.ts';
import { SERVER_MAIN } from '../support/typescript-server.ts';
import { Client, markerOf, markersIn, NUMBER_KEY, partsOf } from './power-cut/clients.ts';
import { Disk } from './power-cut/disk.ts';

const CLIENTS = 8;
const STATES = 500;

/** How the server ended, and how many writes each client had sent it. The process that ends leaves the power on. */
const RUNS = [
  { writes: 60, end: 'kill' },
  { writes: 60, end: 'stop' },
  { writes: 20, end: 'kill' },
] as const;

/** The names of the database's files. SQLite makes the index of its log, `-shm`, anew. */
const SUFFIXES = ['', '-wal', '-journal'];

/** More than a client has. */
const MAX_KEYS = 1000;

/** Milliseconds. Recording waits for the disk, and so does each state. */
const TIMEOUT = 300_000;

const skipped = straceSkipReason();

describe.skipIf(skipped !== undefined)(
  `a power cut${skipped === undefined ? '' : ` (skipped: ${skipped})`}`,
  () => {
    const seed = seedFrom('POWER_CUT_SEED');
    process.stdout.write(`POWER_CUT_SEED=${seed}\n`);
    const random = randomOf(seed);
    const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(`tenant${i}`, random));
    let folder = '';
    let calls: SystemCall[] = [];
    const databasePath = (): string => join(folder, 'power.db');

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'codeforge-power-'));
      calls = await record();
    }, TIMEOUT);
    afterAll(() => rm(folder, { recursive: true, force: true }));

    /** Everything that servers did to the database, and sent. */
    async function record(): Promise<SystemCall[]> {
      const paths = new Set([folder, ...SUFFIXES.map((suffix) => databasePath() + suffix)]);
      const disk = new Disk();
      const recorded: SystemCall[] = [];
      for (const { writes, end } of RUNS) {
        const tracePath = join(folder, 'trace');
        const server = await startServer(...traced(tracePath, [process.execPath, SERVER_MAIN]), {
          env: {
            DATABASE_PATH: databasePath(),
            TOKENS: clients.map(({ setting }) => setting).join(' '),
            LOG_LEVEL: 'silent',
          },
        });
        await Promise.all(clients.map((client) => client.write(server.url, writes)));
        await server[end]();
        const run = readTrace(tracePath, paths);
        for (const call of run) if (call.type !== 'send') disk.apply(call);
        // Otherwise the trace does not tell everything.
        expect([...disk.files().keys()].toSorted()).toEqual(await existing(paths));
        for (const [path, bytes] of disk.files()) expect(bytes.equals(await readFile(path))).toBe(true);
        recorded.push(...run);
      }
      return recorded;
    }

    it('no answer leaves before the bytes of its write are synced to the disk', async ({ annotate }) => {
      const written = new Map<string, string[]>();
      const synced = new Set<string>();
      const answered = new Set<string>();
      const early: string[] = [];
      for (const call of calls) {
        if (call.type === 'write')
          written.set(call.path, [...(written.get(call.path) ?? []), ...markersIn(call.data)]);
        else if (call.type === 'sync') {
          for (const marker of written.get(call.path) ?? []) synced.add(marker);
          written.delete(call.path);
        } else if (call.type === 'send')
          for (const marker of markersIn(call.data)) {
            answered.add(marker);
            if (!synced.has(marker)) early.push(marker);
          }
      }
      expect(early).toEqual([]);
      expect(answered.size).toBe(clients.reduce((sum, { states }) => sum + states.length - 1, 0));
      const syncs = calls.filter(({ type }) => type === 'sync').length;
      await annotate(`${answered.size} answers, ${syncs} syncs, 0 answers before the sync of their write`);
    });

    it(
      `in ${STATES} states that it may leave, the database is whole and has every acknowledged write`,
      async ({ annotate }) => {
        const disk = new Disk();
        const acknowledged = new Map<string, number>();
        const moments = momentsOf(calls, random);
        let beyond = 0;
        for (const [index, call] of calls.entries()) {
          if (call.type !== 'send') disk.apply(call);
          else for (const marker of markersIn(call.data)) acknowledged.set(...partsOf(marker));
          for (let states = moments.get(index) ?? 0; states > 0; states -= 1) {
            const path = join(folder, 'after');
            for (const suffix of SUFFIXES) await rm(path + suffix, { force: true });
            for (const [name, bytes] of disk.afterPowerCut(random))
              await writeFile(name.replace(databasePath(), path), bytes);
            beyond += await expectWhole(path, clients, acknowledged);
          }
        }
        await annotate(
          `${STATES} states of ${calls.length} system calls, 0 acknowledged writes lost, ${beyond} tenants with one that was not acknowledged`,
        );
      },
      TIMEOUT,
    );
  },
);

/** The calls after which the power is cut, and how often: half of them anywhere, half of them just after an answer. */
function momentsOf(calls: readonly SystemCall[], random: Random): Map<number, number> {
  const answers = [...calls.entries()].filter(([, { type }]) => type === 'send').map(([index]) => index);
  const moments = new Map<number, number>();
  for (let i = 0; i < STATES; i += 1) {
    const index = i % 2 === 0 ? random.below(calls.length) : random.pick(answers);
    moments.set(index, (moments.get(index) ?? 0) + 1);
  }
  return moments;
}

/**
 * Opens a database, and expects that each tenant is in a state in which it was, not before its last acknowledged write.
 * Returns how many of them have a write that was not acknowledged.
 */
async function expectWhole(
  path: string,
  clients: readonly Client[],
  acknowledged: ReadonlyMap<string, number>,
): Promise<number> {
  const database = openDatabase(path);
  expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  const store = createSqliteStore(database, Number.POSITIVE_INFINITY);
  let beyond = 0;
  for (const { tenant, client, states } of clients) {
    const found = await store.changes(tenant, 0, MAX_KEYS);
    if ('lost' in found) throw new Error(found.lost);
    const state = new Map<string, string>();
    for (const change of found.changes) if (change.type === 'put') state.set(change.key, change.value);
    const [, number] = partsOf(state.get(NUMBER_KEY) ?? markerOf(tenant, 0));
    const least = acknowledged.get(tenant) ?? 0;
    expect(number).toBeGreaterThanOrEqual(least);
    expect(state).toEqual(states[number]);
    // A client that asks is told the same.
    const outcome = await store.run(tenant, { operations: [], client });
    expect(outcome).toMatchObject({ top: number });
    beyond += Number(number > least);
  }
  await store.close();
  return beyond;
}

async function existing(paths: Iterable<string>): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) if ((await stat(path).catch(() => undefined))?.isFile()) found.push(path);
  return found.toSorted();
}
