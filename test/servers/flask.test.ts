/**
 * The Flask server under gunicorn: level 0 like every server, and what is its own to promise, which is that many
 * workers over one SQLite file lose nothing and take over an old server's file.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { freePort } from '../support/ports.ts';
import type { RunningServer } from '../support/running-server.ts';
import { SERVER_MAIN, startTypescriptServer } from '../support/typescript-server.ts';
import { level0 } from './level0.ts';

const reason = flaskSkipReason();

if (reason === undefined) {
  level0('Flask server under gunicorn', startFlaskServer);
  describe('Flask server under gunicorn', ownPromises);
} else {
  it.skip(`Flask server under gunicorn: ${reason}`);
}

function ownPromises(): void {
  let folder = '';
  let databasePath = '';
  const running = new Set<RunningServer>();

  /** A server over this test's database, whatever ran there before. */
  async function start(starter = startFlaskServer): Promise<RunningServer> {
    const server = await starter({ databasePath });
    running.add(server);
    return server;
  }

  async function stop(server: RunningServer): Promise<void> {
    running.delete(server);
    await server.stop();
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'codeforge-flask-test-'));
  });
  afterEach(async () => {
    await Promise.all([...running].map(stop));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  let tests = 0;
  const test = (name: string, run: () => Promise<void>, skip = false) =>
    it.skipIf(skip)(name, async () => {
      tests += 1;
      databasePath = join(folder, `${tests}.db`);
      await run();
    });

  test('concurrent first writes of one key all succeed', async () => {
    const { url } = await start();
    for (let round = 0; round < 5; round += 1) {
      const puts = Array.from({ length: 50 }, (_, index) => put(url, `new-${round}`, index));
      const statuses = (await Promise.all(puts)).map(({ status }) => status);
      expect(statuses).toEqual(Array(50).fill(200));
    }
  });

  test('of concurrent writes that demand a new key, one succeeds', async () => {
    const { url } = await start();
    const puts = Array.from({ length: 50 }, (_, index) => put(url, 'one', index, { 'if-none-match': '*' }));
    const statuses = (await Promise.all(puts)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 412)).toHaveLength(49);
  });

  test('two servers that make one file at once agree on its epoch', async () => {
    const [one, other] = await Promise.all([start(), start()]);
    const tags = await Promise.all([put(one.url, 'a', 1), put(other.url, 'b', 1)]);
    const epochs = tags.map(({ headers }) => headers.get('etag')?.split('.')[0]);
    expect(epochs[0]).toMatch(/^"\w+$/);
    expect(epochs[1]).toBe(epochs[0]);
    const third = await put((await start()).url, 'c', 1);
    expect(third.headers.get('etag')).toBe(`${epochs[0]}.3"`);
  });

  test('a write that was answered survives SIGKILL', async () => {
    const answered: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const server = await start();
      const storm = Array.from({ length: 16 }, async (_, client) => {
        for (let index = 0; ; index += 1) {
          const key = `${round}-${client}-${index}`;
          const response = await put(server.url, key, key).catch(() => undefined);
          if (response === undefined) return;
          if (response.ok) answered.push(key);
        }
      });
      const enough = answered.length + 30;
      for (let looks = 0; answered.length < enough && looks < 200; looks += 1) {
        await new Promise((done) => setTimeout(done, 50));
      }
      running.delete(server);
      await server.kill();
      await Promise.all(storm);
    }
    const { url } = await start();
    const stored = (await (await fetch(`${url}/api/storage/export`)).json()) as Record<string, unknown>;
    expect(answered.length).toBeGreaterThan(100);
    expect(answered.filter((key) => stored[key] !== key)).toEqual([]);
  });

  test('values come back as the text they were, whatever JSON they are', async () => {
    const { url } = await start();
    const texts = fc
      .tuple(fc.jsonValue({ noUnicodeString: false }), fc.constantFrom(0, 1, '\t', ' \r\n'))
      .map(([value, indent]) => JSON.stringify(value, null, indent));
    await fc.assert(
      fc.asyncProperty(texts, fc.constantFrom('', ' ', '\n\t'), async (text, space) => {
        const body = `${space}{${space}"value"${space}:${space}${text}${space}}${space}`;
        expect((await send(url, 'PUT', 'text', body)).status).toBe(200);
        expect(await (await fetch(`${url}/api/storage/text`)).text()).toBe(`{"value":${text}}`);
      }),
      { numRuns: 200 },
    );
  });

  test('an export is the state of the moment it began, though all is wiped meanwhile', async () => {
    const { url } = await start();
    const value = 'x'.repeat(4_000_000);
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) await put(url, key, value);
    const response = await fetch(`${url}/api/storage/export`);
    await fetch(`${url}/api/storage/clear`, { method: 'POST' });
    expect(await (await fetch(`${url}/api/storage/keys`)).json()).toEqual({ keys: [] });
    expect(Object.keys((await response.json()) as object)).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  });

  test('a caller that sends too much is told so, not cut off', async () => {
    const { url } = await start();
    for (let round = 0; round < 5; round += 1) {
      const response = await put(url, 'large', 'x'.repeat(20_000_000));
      expect(response.status).toBe(413);
      expect(await response.json()).toMatchObject({ error: expect.stringContaining('8388608') });
    }
  });

  test('half a body is not stored, though it is JSON', async () => {
    const { url } = await start();
    const head =
      'PUT /api/storage/half HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n';
    const socket = connect(Number(new URL(url).port), '127.0.0.1').end(`${head}{"value":1}`);
    const answer = Buffer.concat(await Array.fromAsync(socket)).toString();
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect((await fetch(`${url}/api/storage/half`)).status).toBe(404);
  });

  test('SIGTERM does not wait for idle connections, and lets a request under way finish', async () => {
    const server = await start();
    for (const key of ['a', 'b', 'c', 'd', 'e']) await put(server.url, key, 'x'.repeat(8_000_000));
    const idle = connect(Number(new URL(server.url).port), '127.0.0.1');
    idle.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(idle, 'data');
    const underWay = await fetch(`${server.url}/api/storage/export`);
    const began = performance.now();
    running.delete(server);
    const stopped = server.stop();
    await once(idle.resume(), 'close');
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(Object.keys((await underWay.json()) as object)).toHaveLength(5);
    expect(await stopped).toBe(0);
  });

  test('an old file is adopted once, and its table left as it was', async () => {
    const long = 'k'.repeat(2_000);
    const rows = [
      ['a/b', '{"b": 1.10, "a": 12345678901234567890}'],
      ['keys', '"\\ud800"'],
      [long, 'null'],
      ['broken', '{'],
      ['nan', 'NaN'],
      ['none', null],
      ['', '1'],
      [null, '1'],
    ] as const;
    makeOldFile(databasePath, rows);

    const first = await start();
    const exported = await (await fetch(`${first.url}/api/storage/export`)).text();
    expect(exported).toBe(`{"a/b":{"b": 1.10, "a": 12345678901234567890},"keys":"\\ud800","${long}":null}`);
    expect(await (await fetch(`${first.url}/api/storage/${long}`)).text()).toBe('{"value":null}');
    expect(first.output().match(/Did not adopt 5 rows/g)).toHaveLength(1);
    expect((await fetch(`${first.url}/api/storage/${long}`, { method: 'DELETE' })).status).toBe(200);
    await put(first.url, 'a/b', 2);
    await stop(first);

    const again = await start();
    expect(await (await fetch(`${again.url}/api/storage/export`)).text()).toBe('{"a/b":2,"keys":"\\ud800"}');
    await stop(again);
    using database = open(databasePath);
    const left = database.prepare('SELECT key, value FROM storage ORDER BY rowid').all();
    expect(left).toEqual(rows.map(([key, value]) => ({ key, value })));
  });

  test('the key "" of an old file is in no list, no count and no export, also where an earlier version adopted it', async () => {
    makeOldFile(databasePath, [
      ['', '1'],
      ['a', '2'],
    ]);
    const expectWithoutIt = async ({ url }: RunningServer): Promise<void> => {
      const texts = ['keys', 'stats', 'export'].map(async (path) =>
        (await fetch(`${url}/api/storage/${path}`)).text(),
      );
      expect(await Promise.all(texts)).toEqual([
        '{"keys":["a"]}',
        expect.stringContaining('"total_keys":1,'),
        '{"a":2}',
      ]);
      const exported = await (await fetch(`${url}/api/v1/export`)).text();
      const headers = { 'content-type': 'application/x-ndjson' };
      const imported = await fetch(`${url}/api/v1/import`, { method: 'POST', headers, body: exported });
      expect(await imported.json()).toMatchObject({ imported: 1 });
    };
    const first = await start();
    await expectWithoutIt(first);
    expect(first.output()).toContain('Did not adopt 1 rows');
    await stop(first);
    open(databasePath).exec("INSERT INTO records (tenant, key, value, rev) VALUES ('default', '', '1', 1)");

    const second = await start();
    await expectWithoutIt(second);
    expect(second.output()).toContain('Deleted the key ""');
  });

  test('a deployment that sets only DATABASE_PATH and PORT is told what to set to be reachable', async () => {
    const { output } = await start();
    expect(output()).toMatch(
      /only programs on this machine can reach this server.* set HOST=0\.0\.0\.0 and TOKENS_FILE or TOKENS/,
    );
    expect(output()).toMatch(/only pages from this machine may read and write.* set ALLOWED_ORIGINS=/);
    const told = await startFlaskServer({
      env: { HOST: '0.0.0.0', TOKENS: `team:read:${'0'.repeat(64)}`, ALLOWED_ORIGINS: 'https://app.example' },
    });
    expect(told.output()).not.toMatch(/this machine/);
    await told.stop();
  });

  test(
    'it opens what the TypeScript server wrote, and the other way round',
    async () => {
      const values = { 'a/b': '{"z":1.10,"a":12345678901234567890}', keys: '[]', ключ: '"\\ud800"' };
      const typescript = await start(startTypescriptServer);
      for (const [key, text] of Object.entries(values))
        await send(typescript.url, 'PUT', key, `{"value":${text}}`);
      const written = await state(typescript.url, Object.keys(values));
      await stop(typescript);

      const flask = await start();
      expect(await state(flask.url, Object.keys(values))).toEqual(written);
      const changed = await put(flask.url, 'keys', 'by Flask');
      expect(revision(changed)).toBeGreaterThan(Math.max(...written.map(({ rev }) => rev)));
      const rewritten = await state(flask.url, Object.keys(values));
      await stop(flask);

      const back = await start(startTypescriptServer);
      expect(await state(back.url, Object.keys(values))).toEqual(rewritten);
      expect(revision(await put(back.url, 'new', 1))).toBeGreaterThan(revision(changed));
    },
    !existsSync(SERVER_MAIN),
  );

  it('npm run flask: puts the database where it is called, and SIGTERM ends it with 0', async () => {
    const port = await freePort();
    const server = command({ PORT: `${port}`, DATABASE_PATH: 'here.db', WORKERS: '2' });
    while (!(await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined))) {
      await new Promise((done) => setTimeout(done, 50));
    }
    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
    expect((await stat(join(folder, 'here.db'))).isFile()).toBe(true);
  });

  it('npm run flask: serves other machines only when told that anyone may call', async () => {
    const server = command({ HOST: '0.0.0.0', PORT: `${await freePort()}` });
    const printed = Array.fromAsync(server.stderr);
    const [code] = await once(server, 'exit');
    expect(code).toBeGreaterThan(0);
    expect((await printed).join('')).toContain('ALLOW_ANONYMOUS=true');
  });

  /** What `npm run flask` runs, called from the tests' folder. */
  function command(env: Record<string, string>) {
    const { INIT_CWD: _npms, ...inherited } = process.env;
    const script = resolve(import.meta.dirname, '../../scripts/flask.mjs');
    return spawn(process.execPath, [script], { cwd: folder, env: { ...inherited, ...env }, stdio: 'pipe' });
  }
}

function send(url: string, method: string, key: string, body: string, headers = {}): Promise<Response> {
  return fetch(`${url}/api/storage/${encodeURIComponent(key)}`, {
    method,
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

function put(url: string, key: string, value: unknown, headers = {}): Promise<Response> {
  return send(url, 'PUT', key, JSON.stringify({ value }), headers);
}

function revision({ headers }: Response): number {
  return Number(headers.get('etag')?.match(/\.(\d+)"$/)?.[1]);
}

/** The text and the revision under each key, read through the export where GET of a key is a route. */
async function state(
  url: string,
  keys: string[],
): Promise<{ text: string; rev: number; tag: string | null }[]> {
  const exported = await (await fetch(`${url}/api/storage/export`)).text();
  const answers = await Promise.all(
    keys.filter((key) => key !== 'keys').map((key) => fetch(`${url}/api/storage/${encodeURIComponent(key)}`)),
  );
  const entries = answers.map(async (answer) => ({
    text: await answer.text(),
    rev: revision(answer),
    tag: answer.headers.get('etag'),
  }));
  return [{ text: exported, rev: 0, tag: null }, ...(await Promise.all(entries))];
}

function open(path: string): DatabaseSync {
  return new DatabaseSync(path);
}

/** The table of a server as deployed long ago. */
function makeOldFile(path: string, rows: readonly (readonly [string | null, string | null])[]): void {
  using database = open(path);
  database.exec(`CREATE TABLE storage (
    key TEXT PRIMARY KEY, value TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP)`);
  const insert = database.prepare('INSERT INTO storage (key, value) VALUES (?, ?)');
  for (const row of rows) insert.run(...row);
}
