/**
 * The Flask server's own promises at level 1: what many workers over one SQLite file could break, what becomes of older
 * files, and that long polls, imports and exports take no more than they may. What every server of level 1 promises is
 * asked by test/conformance.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { getUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

interface Change {
  readonly type: 'put' | 'delete' | 'clear';
  readonly key: string;
  readonly rev: string;
  readonly value?: unknown;
}

interface Changes {
  readonly epoch: string;
  readonly seq: number;
  readonly changes: Change[];
  readonly next: string;
  readonly more: boolean;
}

interface BatchAnswer {
  readonly epoch: string;
  readonly seq: number;
  readonly results: ReadonlyArray<{
    readonly status: number;
    readonly rev?: string;
    readonly value?: unknown;
  }>;
}

const DAY = 24 * 60 * 60 * 1000;
const CLIENT = 'client-of-the-tests-01';

describe.skipIf(flaskSkipReason())('Flask server under gunicorn: level 1', () => {
  let folder = '';
  let databasePath = '';
  let tests = 0;
  const running = new Set<RunningServer>();

  /** A server over this test's database, whatever ran there before. */
  async function start(env: Record<string, string> = {}, starter = startFlaskServer): Promise<RunningServer> {
    const server = await starter({ databasePath, env });
    running.add(server);
    return server;
  }

  async function stop(server: RunningServer): Promise<void> {
    running.delete(server);
    await server.stop();
  }

  /** Change the file while no server runs. */
  function edit(change: (database: DatabaseSync) => void): void {
    using database = new DatabaseSync(databasePath);
    change(database);
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'codeforge-flask-level1-'));
  });
  afterEach(async () => {
    await Promise.all([...running].map(stop));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  // Thirty workers start in one of them.
  const test = (name: string, run: () => Promise<void>, skip = false): void =>
    it.skipIf(skip)(name, { timeout: 180_000 }, async () => {
      tests += 1;
      databasePath = join(folder, `${tests}.db`);
      await run();
    });

  describe('many workers', () => {
    test('a cursor skips nothing, whatever the workers commit at the same time', async () => {
      const { url } = await start();
      const { epoch } = await changes(url);
      const acknowledged = new Map<string, number>();
      let writing = true;
      const writers = Array.from({ length: 6 }, async (_, writer) => {
        for (let i = 0; i < 60; i += 1) {
          const key = `${writer}-${i % 20}`;
          const op = i % 7 === 6 ? { op: 'delete', key } : { op: 'put', key, value: i };
          const { results } = await batch(url, { ops: [op] });
          if (results[0]?.rev !== undefined) acknowledged.set(key, Number(results[0].rev));
        }
      });
      const reader = (async () => {
        const seen = new Map<string, number>();
        let cursor = `${epoch}.0`;
        for (let last = false; !last; ) {
          last = !writing;
          const page = await changes(url, { since: cursor, wait: last ? 0 : 1, limit: 7 });
          for (const { key, rev } of page.changes) {
            // In order, or a cursor in between would skip one.
            expect(Number(rev)).toBeGreaterThan(Number(cursor.split('.')[1]));
            cursor = `${epoch}.${rev}`;
            seen.set(key, Number(rev));
          }
          expect(page.next).toBe(page.more ? cursor : `${epoch}.${page.seq}`);
          cursor = page.next;
          if (page.more) last = false;
        }
        return seen;
      })();
      await Promise.all(writers);
      writing = false;
      const seen = await reader;
      expect(seen.size).toBe(120);
      expect([...seen].sort()).toEqual([...acknowledged].sort());
    });

    test('a mutation that is sent several times at once is applied once', async () => {
      const { url } = await start();
      for (let m = 1; m <= 30; m += 1) {
        const body = {
          client: CLIENT,
          m,
          ops: [
            { op: 'put', key: 'a', value: m },
            { op: 'delete', key: 'none' },
          ],
        };
        const answers = await Promise.all([batch(url, body), batch(url, body), batch(url, body)]);
        for (const { results } of answers)
          expect(results).toEqual([
            { status: 200, rev: `${m}` },
            { status: 404, error: 'Key not found' },
          ]);
      }
      expect((await changes(url)).changes).toEqual([{ type: 'put', key: 'a', rev: '30', value: 30 }]);
    });

    test('of batches that meet a condition together, one applies', async () => {
      const { url } = await start();
      const ops = [
        { op: 'put', key: 'first', value: 1 },
        { op: 'put', key: 'second', value: 1, ifRev: null },
      ];
      const answers = await Promise.all(Array.from({ length: 20 }, () => batch(url, { atomic: true, ops })));
      const statuses = answers.map(({ results }) => results.map(({ status }) => status).join());
      expect(statuses.filter((each) => each === '200,200')).toHaveLength(1);
      expect(statuses.filter((each) => each === '424,412')).toHaveLength(19);
      expect((await changes(url)).seq).toBe(2);
    });
  });

  describe('long poll', () => {
    test('a change of one worker ends the waiting in the others', async () => {
      const { url } = await start();
      const waiting = await waiters(url, 8);
      await batch(url, { ops: [{ op: 'put', key: 'a', value: 1 }] });
      for (const page of await Promise.all(waiting)) expect(page.changes).toHaveLength(1);
    });

    test('8 callers of a worker may wait, the ninth is answered immediately, and other requests are served', async () => {
      const { url } = await start({ WORKERS: '1' });
      const polls = await waiters(url, 9);
      expect((await Promise.race(polls)).changes).toEqual([]);
      await batch(url, { ops: [{ op: 'put', key: 'a', value: 1 }] });
      const counts = (await Promise.all(polls)).map((page) => page.changes.length);
      expect(counts.sort()).toEqual([0, ...Array(8).fill(1)]);
    });

    test('a place is free again when its caller has left', async () => {
      const { url } = await start({ WORKERS: '1' });
      for (let round = 0; round < 3; round += 1) {
        const leaving = new AbortController();
        const left = await waiters(url, 8, leaving.signal);
        leaving.abort();
        const outcomes = await Promise.allSettled(left);
        expect(outcomes.map(({ status }) => status)).toEqual(Array(8).fill('rejected'));
        // Who has no place is answered at once.
        await expect.poll(() => secondsWaited(url), { timeout: 20_000 }).toBeGreaterThan(0.9);
      }
    });

    test('SIGTERM ends the waiting with an answer', async () => {
      const server = await start();
      const [waiting] = await waiters(server.url, 1);
      running.delete(server);
      const [page, code] = await Promise.all([waiting, server.stop()]);
      expect([page?.changes, code]).toEqual([[], 0]);
    });
  });

  test('SIGTERM right after the start reaches the workers that are still starting', async () => {
    for (let round = 0; round < 5; round += 1) {
      const server = await start({ WORKERS: '6' });
      running.delete(server);
      expect(await server.stop()).toBe(0);
      // After 30 s gunicorn would have killed the one that did not hear.
      expect(server.output()).not.toContain('SIGKILL');
    }
  });

  describe('older files', () => {
    test('after 30 days tombstones are forgotten, and cursors from before are gone', async () => {
      const server = await start();
      const ops = ['a', 'b', 'c'].map((key) => ({ op: 'put', key, value: 1 }));
      const { epoch } = await batch(server.url, { ops });
      await batch(server.url, { client: CLIENT, m: 7, ops: [{ op: 'delete', key: 'a' }] });
      await batch(server.url, { ops: [{ op: 'delete', key: 'b' }] });
      await stop(server);
      edit((database) => {
        const age = database.prepare('UPDATE records SET deleted_at_ms = ? WHERE key = ?');
        age.run(Date.now() - 31 * DAY, 'a');
        age.run(Date.now() - 29 * DAY, 'b');
        database.prepare('UPDATE mutation_clients SET used_at_ms = ?').run(Date.now() - 31 * DAY);
      });

      const { url } = await start();
      for (const seq of [1, 2, 3]) {
        const gone = await fetch(`${url}/api/v1/changes?since=${epoch}.${seq}`);
        expect([seq, gone.status]).toEqual([seq, 410]);
        expect(await gone.json()).toMatchObject({ type: 'urn:codeforge-storage:cursor-gone' });
      }
      const kept: Change[] = [{ type: 'delete', key: 'b', rev: '5' }];
      expect((await changes(url, { since: `${epoch}.4` })).changes).toEqual(kept);
      const all = [{ type: 'put', key: 'c', rev: '3', value: 1 }, ...kept];
      expect((await changes(url, { since: `${epoch}.0` })).changes).toEqual(all);
      expect((await changes(url)).changes).toEqual(all);
      expect(await batch(url, { client: CLIENT, ops: [] })).toMatchObject({ top: 0 });
      const again = await batch(url, { client: CLIENT, m: 7, ops: [{ op: 'delete', key: 'a' }] });
      expect(again.results).toMatchObject([{ status: 404 }]);
    });
  });

  test('the mutations of one server are known to the other over the same file', async () => {
    const ops = [
      { op: 'put', key: 'a', value: 1 },
      { op: 'put', key: 'a', value: 2, ifRev: '9' },
      { op: 'check', key: 'none', ifRev: null },
      { op: 'check', key: 'a', ifRev: '1' },
      { op: 'delete', key: 'none' },
      { op: 'put', key: '', value: 1 },
    ];
    const send = (url: string) => batch(url, { client: CLIENT, m: 2, ops });
    const giveUp = (url: string) => batch(url, { client: CLIENT, void: 3 });
    for (const [first, second] of [
      [startFlaskServer, startTypescriptServer],
      [startTypescriptServer, startFlaskServer],
    ] as const) {
      databasePath = join(folder, `${tests}-${first.name}.db`);
      const one = await start({}, first);
      const before = await send(one.url);
      expect(before.results.map(({ status }) => status)).toEqual([200, 412, 200, 200, 404, 400]);
      await giveUp(one.url);
      await stop(one);

      const other = await start({}, second);
      const { value: _told, ...unmet } = before.results[1] as { value: unknown };
      const results = [before.results[0], unmet, ...before.results.slice(2)];
      expect(await send(other.url)).toEqual({ ...before, results, top: 3 });
      expect(await giveUp(other.url)).toMatchObject({ top: 3, void: true, results: [] });
      await stop(other);
    }
  });

  test('both servers name a tenant with the same account', async () => {
    const env = { TOKENS: `team:admin:${createHash('sha256').update('token').digest('hex')}` };
    const accounts: unknown[] = [];
    for (const launch of [startFlaskServer, startTypescriptServer]) {
      const { url } = await start(env, launch);
      const headers = { 'content-type': 'application/json', authorization: 'Bearer token' };
      const answer = await fetch(`${url}/api/v1/batch`, { method: 'POST', headers, body: '{"ops":[]}' });
      accounts.push((await answer.json()).account);
    }
    expect(accounts[0]).toEqual(accounts[1]);
    expect(accounts[0]).toMatch(/^[\w-]{22}$/);
  });

  describe('export and import', () => {
    test(
      '50,000 keys of 1 KB go in and out with flat memory',
      async () => {
        const count = 50_000;
        const { url, pid } = await start({ WORKERS: '1' });
        await changes(url);
        const before = residentMebibytes(pid);
        let most = before;
        const watch = setInterval(() => {
          most = Math.max(most, residentMebibytes(pid));
        }, 20);
        const imported = await importing(url, records(count, 'x'.repeat(1000)));
        expect(JSON.parse(imported)).toMatchObject({ imported: count, skipped: 0, seq: count });
        let bytes = 0;
        let end = '';
        const exported = await fetch(`${url}/api/v1/export`, { headers: { 'accept-encoding': 'identity' } });
        for await (const chunk of exported.body ?? []) {
          bytes += chunk.length;
          end = (end + Buffer.from(chunk).toString()).slice(-200);
        }
        clearInterval(watch);
        expect(bytes).toBeGreaterThan(count * 1000);
        expect(end).toMatch(/\n{"end":true,"count":50000,"sha256":"[0-9a-f]{64}"}\n$/);
        expect(most - before).toBeLessThan(25);
      },
      !existsSync('/proc/self/statm'),
    );

    test('an import that ends early has stored what it says, and holds nobody up meanwhile', async () => {
      const { url } = await start();
      async function* broken() {
        yield* Readable.from(records(1200, 1)).take(1101);
        const others = await batch(url, { ops: [{ op: 'put', key: 'of another', value: 1 }] });
        expect(others.results[0]?.status).toBe(200);
        yield '{"key":"after","value":nonsense}\n';
      }
      const answer = JSON.parse(await importing(url, broken()));
      expect(answer).toMatchObject({ status: 400, imported: 1000 });
      const stats = await (await fetch(`${url}/api/v1/stats`)).json();
      expect(stats).toMatchObject({ keys: 1001 });
    });
  });

  test('TOKENS: a wrong entry ends the start, and is not printed', async () => {
    const secret = 'secret-that-nobody-may-see';
    const failed = await start({ TOKENS: `team:admin:${hashOf('good')},team:admin:${secret}` }).catch(String);
    expect(failed).toContain('TOKENS: entry 2');
    expect(failed).not.toContain(secret);
  });

  test('TOKENS: other machines may be served, for who has none gets nothing', async () => {
    const { url } = await start({ TOKENS: `team:read:${hashOf('good')}`, HOST: '0.0.0.0' });
    expect((await fetch(`${url}/api/v1/keys`)).status).toBe(401);
    const headers = { authorization: 'Bearer good' };
    expect((await fetch(`${url}/api/v1/keys`, { headers })).status).toBe(200);
  });
});

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

function post(url: string, path: string, body: unknown): Promise<Response> {
  return fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

async function batch(url: string, body: object): Promise<BatchAnswer> {
  const response = await post(url, '/api/v1/batch', body);
  expect(response.status).toBe(200);
  return (await response.json()) as BatchAnswer;
}

async function changes(url: string, parameters: Record<string, string | number> = {}): Promise<Changes> {
  const query = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
  const response = await fetch(`${url}/api/v1/changes?${query.join('&')}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Changes;
}

/** Callers who wait for a change. Resolves when the server has received what each of them asks. */
async function waiters(url: string, count: number, signal?: AbortSignal): Promise<Array<Promise<Changes>>> {
  const sent = Array.from({ length: count }, () => getUntilReceived(`${url}/api/v1/changes?wait=60`, signal));
  return (await Promise.all(sent)).map(async ({ answer }) => JSON.parse((await answer).text));
}

/** How long the server lets a caller wait who asks for a second. */
async function secondsWaited(url: string): Promise<number> {
  const begun = performance.now();
  await changes(url, { wait: 1 });
  return (performance.now() - begun) / 1000;
}

/** The lines of an export of `count` keys. */
function* records(count: number, value: unknown): Generator<string> {
  yield '{"format":"codeforge-storage","version":1}\n';
  for (let i = 0; i < count; i += 1) yield `${JSON.stringify({ key: `key-${i}`, value })}\n`;
  yield `{"end":true,"count":${count}}\n`;
}

/** Import what is made while it is sent; the body of the answer. */
async function importing(url: string, lines: Iterable<string> | AsyncIterable<string>): Promise<string> {
  const request = httpRequest(`${url}/api/v1/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    agent: false,
  });
  const answered = once(request, 'response');
  Readable.from(lines).pipe(request);
  const [response] = await answered;
  return (await Array.fromAsync(response.setEncoding('utf8'))).join('');
}

/** The resident memory of gunicorn's workers. */
function residentMebibytes(gunicorn: number): number {
  const workers = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || !existsSync(`/proc/${name}/stat`)) return false;
    return /\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1] === `${gunicorn}`;
  });
  const pages = workers.map((name) => Number(readFileSync(`/proc/${name}/statm`, 'utf8').split(' ')[1]));
  return (pages.reduce((sum, each) => sum + each, 0) * 4096) / 2 ** 20;
}
