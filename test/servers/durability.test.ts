/**
 * What the server has acknowledged is there after it was killed.
 *
 * Each writer owns its keys and waits for each answer, so the order of a key's values is known: after the kill a key
 * holds the value acknowledged last, or the one that was sent after it and never answered.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { randomOf, seedFrom } from '../faults/random.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const ROUNDS = 20;
const WRITERS = 16;
const PADDING = 'x'.repeat(1000);

/** What is known of a key. Versions of a key count up from 1. */
interface Known {
  sent: number;
  acknowledged: number;
}

it('every acknowledged write survives a killed server, 20 times over', async ({ annotate }) => {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-durability-'));
  const databasePath = join(folder, 'storm.db');
  const known = new Map<string, Known>();
  const perRound: number[] = [];
  const seed = seedFrom('DURABILITY_SEED');
  process.stdout.write(`DURABILITY_SEED=${seed}\n`);
  const random = randomOf(seed);
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const server = await startTypescriptServer({ databasePath });
      expectAcknowledged(known, await exported(server));
      const enough = Promise.withResolvers<void>();
      let left = WRITERS * (2 + random.below(20));
      const acknowledged = (): void => {
        left -= 1;
        if (left <= 0) enough.resolve();
      };
      const storm = Array.from({ length: WRITERS }, (_, writer) =>
        write(server, round, writer, known, acknowledged),
      );
      await enough.promise;
      await server.kill();
      perRound.push((await Promise.all(storm)).reduce((a, b) => a + b));
    }
    const server = await startTypescriptServer({ databasePath });
    expectAcknowledged(known, await exported(server));
    await server.stop();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const total = perRound.reduce((a, b) => a + b);
  await annotate(`${ROUNDS} kills, ${total} writes acknowledged to ${known.size} keys, 0 lost`);
}, 600_000);

/** A client that sends one mutation after another, and after a kill the one again that had no answer. */
interface Client {
  readonly client: string;
  m: number;
  readonly revs: string[];
}

it('a mutation without an answer is sent again after the kill, and applies once, 10 times over', async ({
  annotate,
}) => {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-durability-'));
  const databasePath = join(folder, 'storm.db');
  const random = randomOf(seedFrom('DURABILITY_SEED'));
  const clients = Array.from(
    { length: WRITERS },
    (_, i): Client => ({
      client: `client-of-the-storm-${i}`,
      m: 1,
      revs: [],
    }),
  );
  try {
    for (let round = 0; round < 10; round += 1) {
      const server = await startTypescriptServer({ databasePath });
      const enough = Promise.withResolvers<void>();
      let left = WRITERS * (2 + random.below(20));
      const storm = clients.map((client) =>
        mutate(server, client, () => {
          left -= 1;
          if (left <= 0) enough.resolve();
        }),
      );
      await enough.promise;
      await server.kill();
      await Promise.all(storm);
    }
    const server = await startTypescriptServer({ databasePath });
    for (const client of clients) expect((await send(server, client))?.status).toBe(200);
    const { seq } = await fetch(`${server.url}/health`).then((response) => response.json());
    const revs = clients.flatMap(({ revs }) => revs);
    expect(new Set(revs).size).toBe(revs.length);
    // Beside those in `revs`, each client has sent one more just now.
    expect(seq).toBe(revs.length + WRITERS);
    await server.stop();
    await annotate(`10 kills, ${revs.length + WRITERS} mutations, each applied once`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 600_000);

/** Sends mutations until the server is gone. */
async function mutate(server: RunningServer, client: Client, answered: () => void): Promise<void> {
  for (;;) {
    const response = await send(server, client);
    const text = await response?.text().catch(() => undefined);
    if (response === undefined || text === undefined) return;
    expect(response.status).toBe(200);
    const { results, top } = JSON.parse(text);
    // The same mutation before the kill, or the one before it.
    expect([client.m, client.m - 1]).toContain(top);
    client.revs.push(results[0].rev);
    client.m += 1;
    answered();
  }
}

function send(server: RunningServer, { client, m }: Client): Promise<Response | undefined> {
  return fetch(`${server.url}/api/v1/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client,
      m,
      settled: m - 1,
      ops: [{ op: 'put', key: `${client}-${m}`, value: PADDING }],
    }),
  }).catch(() => undefined);
}

/** Write one key after another, old ones and new ones, until the server is gone. Resolves with how many were acknowledged. */
async function write(
  server: RunningServer,
  round: number,
  writer: number,
  known: Map<string, Known>,
  acknowledged: () => void,
): Promise<number> {
  for (let count = 0; ; count += 1) {
    const key = count % 2 === 0 ? `writer-${writer}-hot-${count % 6}` : `writer-${writer}-${round}-${count}`;
    const state = known.get(key) ?? { sent: 0, acknowledged: 0 };
    known.set(key, state);
    state.sent += 1;
    const response = await fetch(`${server.url}/api/storage/${key}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ value: { version: state.sent, padding: PADDING } }),
    }).catch(() => undefined);
    if (response === undefined) return count;
    expect(response.status).toBe(200);
    state.acknowledged = state.sent;
    acknowledged();
    await response.body?.cancel();
  }
}

async function exported(server: RunningServer): Promise<Map<string, number>> {
  const entries: Record<string, { version: number; padding: string }> = await fetch(
    `${server.url}/api/storage/export`,
  ).then((response) => response.json());
  return new Map(
    Object.entries(entries).map(([key, { version, padding }]) => {
      expect(padding).toBe(PADDING);
      return [key, version];
    }),
  );
}

function expectAcknowledged(known: Map<string, Known>, stored: Map<string, number>): void {
  const wrong = [...known].filter(([key, { sent, acknowledged }]) => {
    const version = stored.get(key) ?? 0;
    return version < acknowledged || version > sent;
  });
  expect(wrong).toEqual([]);
  expect([...stored.keys()].filter((key) => !known.has(key))).toEqual([]);
  // What was not answered is known now: later versions count from what is there.
  for (const [key, state] of known) {
    state.acknowledged = stored.get(key) ?? 0;
    state.sent = state.acknowledged;
  }
}
