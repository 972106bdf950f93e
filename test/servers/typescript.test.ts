/**
 * The reference server: level 0 like every server, and what is its own to promise as a process: to take over an old
 * server's file, to start only with a configuration that makes sense, and to end without losing a request.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SETTINGS } from '../../examples/server/src/config.ts';
import { makeOldFile } from '../support/old-file.ts';
import { ownDatabase } from '../support/own-database.ts';
import { freePort } from '../support/ports.ts';
import { sendUntilReceived } from '../support/received.ts';
import type { RunningServer } from '../support/running-server.ts';
import { SERVER_MAIN, startTypescriptServer } from '../support/typescript-server.ts';
import { level0 } from './level0.ts';

level0('TypeScript server', startTypescriptServer);

/** A PUT whose body is sent in parts. */
const SLOW_PUT = { method: 'PUT', headers: { 'content-type': 'application/json' } };

describe('TypeScript server', () => {
  const { folder, path, start, stop } = ownDatabase();

  describe('adopts the file of an old server', () => {
    const makeOldDatabase = (rows: Record<string, string>): void => makeOldFile(path(), rows);

    function oldRows(): unknown[] {
      using database = new DatabaseSync(path(), { readOnly: true });
      return database.prepare('SELECT * FROM storage ORDER BY rowid').all();
    }

    it('with every value as it was written, and leaves its table untouched', async () => {
      makeOldDatabase({
        b: '{"z": 1, "a": 1.10}',
        a: '12345678901234567890',
        [`long${'k'.repeat(2000)}`]: '"\\ud800"',
      });
      const before = oldRows();
      const server = await start();
      expect(await textAt(server, '/api/storage/export')).toBe(
        `{"a":12345678901234567890,"b":{"z": 1, "a": 1.10},"long${'k'.repeat(2000)}":"\\ud800"}`,
      );
      await put(server, 'a', '2');
      await stop(server);
      expect(messages(server)).toContain('adopted 3 keys of an old server');
      expect(oldRows()).toEqual(before);
    });

    it('once', async () => {
      makeOldDatabase({ a: '1', b: '2' });
      const first = await start();
      await fetch(`${first.url}/api/storage/a`, { method: 'DELETE' });
      await put(first, 'b', '3');
      await stop(first);
      const second = await start();
      expect(await textAt(second, '/api/storage/export')).toBe('{"b":3}');
      await stop(second);
      expect(messages(second).join()).not.toContain('adopted');
    });

    it('but not its rows without a key or without JSON, and says how many they are', async () => {
      makeOldDatabase({ good: '1', '': '1', nan: 'NaN', text: 'plain', empty: '', cut: '{"a":' });
      const old = new DatabaseSync(path());
      old.exec("INSERT INTO storage (key, value) VALUES (NULL, '1'), (x'00', '1'), ('blob', x'00')");
      old.close();
      const server = await start();
      expect(await textAt(server, '/api/storage/export')).toBe('{"good":1}');
      expect(await textAt(server, '/api/storage/keys')).toBe('{"keys":["good"]}');
      expect(JSON.parse(await textAt(server, '/api/storage/stats'))).toMatchObject({ total_keys: 1 });
      expect(JSON.parse(await textAt(server, '/api/v1/changes'))).toMatchObject({
        changes: [{ key: 'good' }],
      });
      await stop(server);
      const warning = logLines(server).find(({ level }) => level === 'warn');
      expect(warning?.msg).toMatch(/\b8 rows\b.*an empty key/);
      expect(oldRows()).toHaveLength(9);
    });

    it('and deletes the empty key that an earlier version has adopted', async () => {
      makeOldDatabase({ good: '1' });
      await stop(await start());
      const database = new DatabaseSync(path());
      database.exec("INSERT INTO records (tenant, key, value, rev) VALUES ('default', '', '1', 2)");
      database.close();
      const server = await start();
      expect(JSON.parse(await textAt(server, '/api/v1/changes'))).toMatchObject({
        changes: [{ key: 'good' }],
      });
    });

    it('and lets keys be read and deleted that are too long to be written', async () => {
      const key = 'k'.repeat(2000);
      makeOldDatabase({ [key]: '1' });
      const server = await start();
      expect(await textAt(server, `/api/storage/${key}`)).toBe('{"value":1}');
      expect((await put(server, key, '2')).status).toBe(400);
      expect((await fetch(`${server.url}/api/storage/${key}`, { method: 'DELETE' })).status).toBe(200);
    });
  });

  describe('ends without losing a request', () => {
    it('answers a slow PUT that is under way when SIGTERM comes, and exits with 0', async () => {
      const server = await start();
      const slow = await sendUntilReceived(`${server.url}/api/storage/slow`, SLOW_PUT);
      slow.write('{"val');
      const begun = Date.now();
      const stopping = stop(server);
      const refuses = async () => (await fetch(`${server.url}/health`).catch(() => 'refused')) === 'refused';
      await expect.poll(refuses, { timeout: 5000 }).toBe(true);
      slow.write('ue":1');
      slow.end('}');
      expect(await slow.answer).toMatchObject({ status: 200, text: '{"success":true}' });
      expect(await stopping).toBe(0);
      // It did not wait for the kept-alive connection either.
      expect(Date.now() - begun).toBeLessThan(3000);
      expect(messages(server).slice(-2)).toEqual(['stopping', 'stopped']);
      expect(await textAt(await start(), '/api/storage/export')).toBe('{"slow":1}');
    });

    it('does not wait for connections that carry no request', async () => {
      const server = await start();
      const silent = await raw(server, '');
      const idle = await raw(server, 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await once(idle.socket, 'data');
      const begun = Date.now();
      expect(await stop(server)).toBe(0);
      expect(Date.now() - begun).toBeLessThan(2000);
      silent.socket.destroy();
    });

    it('does not wait for ever for a request that never ends', async () => {
      const server = await start();
      const stuck = await sendUntilReceived(`${server.url}/api/storage/stuck`, SLOW_PUT);
      const answer = stuck.answer.then(
        ({ status }) => status,
        () => 'none',
      );
      const begun = Date.now();
      expect(await stop(server)).toBe(0);
      expect(Date.now() - begun).toBeLessThan(25_000);
      expect([408, 503, 'none']).toContain(await answer);
    });

    it('ends in the same way by SIGINT, however often it comes', async () => {
      const child = spawnServer({ PORT: '0', DATABASE_PATH: path() });
      await child.listening;
      child.process.kill('SIGINT');
      child.process.kill('SIGINT');
      expect(await child.exit).toBe(0);
    });

    it('leaves the database in one file', async () => {
      const server = await start();
      await put(server, 'a', '1');
      await stop(server);
      expect(existsSync(`${path()}-wal`)).toBe(false);
    });
  });

  describe('starts only with what makes sense', () => {
    const wrong: Record<string, string[]> = {
      PORT: ['65536', '-1', 'http', '80.5', ' '],
      HOST: ['http://localhost', 'a b', 'storage.example'],
      MAX_BODY_BYTES: ['0', '-1', '8MB', '1e99', '999999999999'],
      ALLOWED_ORIGINS: ['app.example', 'https://app.example/path', 'https://a.example;https://b.example/'],
      LOG_LEVEL: ['loud'],
      MAX_REQUESTS: ['0', 'many'],
      RESTORED: ['yes'],
      DATABASE_POOL: ['0', 'ten'],
      TOKENS: ['team:owner:x'],
    };
    for (const [name, values] of Object.entries(wrong))
      for (const value of values)
        it(`refuses ${name}=${JSON.stringify(value)}, and says why`, async () => {
          const child = spawnServer({ PORT: '0', DATABASE_PATH: path(), [name]: value });
          expect(await child.exit).toBe(2);
          expect(child.output()).toContain(name);
          expect(child.output().trim().split('\n')).toHaveLength(1);
          expect(existsSync(path())).toBe(false);
        });

    it('refuses a wrong DATABASE_URL, and does not print its password', async () => {
      const url = 'postgres://user:secret@host:port/database';
      const child = spawnServer({ PORT: '0', DATABASE_PATH: '', DATABASE_URL: url });
      expect(await child.exit).toBe(2);
      expect(child.output()).toContain('DATABASE_URL');
      expect(child.output()).not.toContain('secret');
      expect(child.output().trim().split('\n')).toHaveLength(1);
    });

    it('refuses DATABASE_URL and DATABASE_PATH together', async () => {
      const child = spawnServer({ PORT: '0', DATABASE_PATH: path(), DATABASE_URL: `sqlite:${path()}` });
      expect(await child.exit).toBe(2);
      expect(child.output()).toMatch(/either DATABASE_URL or DATABASE_PATH/);
    });

    it('opens the SQLite file of DATABASE_URL', async () => {
      const child = spawnServer({ PORT: '0', DATABASE_PATH: '', DATABASE_URL: `sqlite:${path()}` });
      await child.listening;
      expect(existsSync(path())).toBe(true);
      child.process.kill('SIGTERM');
      expect(await child.exit).toBe(0);
    });

    for (const scheme of ['postgres', 'mysql'])
      it(`ends with a message without the password where the ${scheme} database cannot be reached`, async () => {
        const url = `${scheme}://user:secret@127.0.0.1:${await freePort()}/database`;
        const child = spawnServer({ PORT: '0', DATABASE_PATH: '', DATABASE_URL: url });
        expect(await child.exit).toBe(1);
        expect(logLines(child).at(-1)?.msg).toMatch(
          /cannot open \w+:\/\/user@127.0.0.1:\d+\/database, .*DATABASE_URL/,
        );
        expect(child.output()).not.toContain('secret');
      });

    it('names PORT where the port is taken', async () => {
      const other = createServer().listen(0, '127.0.0.1');
      await once(other, 'listening');
      const { port } = other.address() as { port: number };
      const child = spawnServer({ PORT: String(port), DATABASE_PATH: path() });
      expect(await child.exit).toBe(1);
      expect(logLines(child).at(-1)?.msg).toMatch(new RegExp(`${port} is taken.*PORT`));
      other.close();
    });

    it('names DATABASE_PATH where that is no database', async () => {
      await writeFile(
        path(),
        'This is a text, and long enough to be read as the header of a database. '.repeat(9),
      );
      for (const wrongPath of [path(), folder(), join(folder(), 'missing', 'a.db')]) {
        const child = spawnServer({ PORT: '0', DATABASE_PATH: wrongPath });
        expect(await child.exit).toBe(1);
        expect(logLines(child).at(-1)?.msg).toContain('DATABASE_PATH');
      }
      expect(await readFile(path(), 'utf8')).toMatch(/^This is a text/);
    });

    it('logs the address where it listens, also where PORT=0 chose it', async () => {
      const child = spawnServer({ PORT: '0', DATABASE_PATH: path() });
      const url = await child.listening;
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:[1-9]\d+$/);
      expect((await fetch(`${url}/health`)).status).toBe(200);
      child.process.kill('SIGTERM');
      expect(await child.exit).toBe(0);
    });
  });

  describe('logs', () => {
    it('JSON lines with a level, a time and a message', async () => {
      const server = await start({ LOG_LEVEL: 'debug' });
      await put(server, 'a', '1');
      await fetch(`${server.url}/api/storage/%zz`);
      await stop(server);
      for (const { level, time, msg } of logLines(server)) {
        expect(['debug', 'info']).toContain(level);
        expect(new Date(time).toISOString()).toBe(time);
        expect(msg).toMatch(/\w/);
      }
      const requests = logLines(server).filter(({ msg, url }) => msg === 'request' && url !== '/health');
      expect(requests.map(({ method, url, status }) => [method, url, status])).toEqual([
        ['PUT', '/api/storage/a', 200],
        ['GET', '/api/storage/%zz', 400],
      ]);
    });

    it('no requests unless told', async () => {
      const server = await start();
      await put(server, 'secret-key', '"secret-value"');
      await stop(server);
      expect(messages(server)).toEqual([
        'listening',
        expect.stringMatching(/HOST.*ALLOWED_ORIGINS/),
        ...['stopping', 'stopped'],
      ]);
      expect(server.output()).not.toContain('secret');
    });

    it('what made a request fail, with its stack, and tells the caller nothing of it', async () => {
      const server = await start();
      using other = new DatabaseSync(path());
      other.exec('DROP TABLE records');
      for (const method of ['GET', 'DELETE']) {
        const response = await fetch(`${server.url}/api/storage/a`, { method });
        expect(response.status).toBe(503);
        expect(await response.text()).not.toMatch(/table|records|sqlite|\//i);
      }
      const response = await put(server, 'a', '1');
      expect(response.status).toBe(503);
      expect((await fetch(`${server.url}/api/storage/export`)).status).toBe(503);
      await stop(server);
      const errors = logLines(server).filter(({ level }) => level === 'error');
      expect(errors).toHaveLength(4);
      for (const { err } of errors) expect(err.stack).toMatch(/no such table[\s\S]*at .*\.ts/);
    });
  });

  it('--help names each setting with its default, as the documentation does', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [SERVER_MAIN, '--help']);
    const page = readFileSync(new URL('../../examples/server/README.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `([A-Z_]+)` \|(.*?)\|/gm)].map(([, name, fallback = '']) => [
      name,
      fallback.replaceAll('`', '').trim(),
    ]);
    expect(rows.map(([name]) => name).sort()).toEqual(SETTINGS.map(([name]) => name).sort());
    for (const [name, fallback] of SETTINGS) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
      expect(rows).toContainEqual([name, fallback === 'false' ? '' : fallback]);
    }
  });

  it('says what to set so that other machines and pages of other origins can call, as they could an old server', async () => {
    const server = await start();
    await expect
      .poll(() => messages(server)[1])
      .toBe(
        'other machines cannot reach this server: set HOST=0.0.0.0 and TOKENS_FILE or TOKENS (codeforge-storage token add) to serve them; ' +
          'pages of other origins than loopback cannot call it: set ALLOWED_ORIGINS to serve them',
      );
    const open = await start({ HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true', ALLOWED_ORIGINS: '*' });
    expect(messages(open).join()).not.toContain('ALLOWED_ORIGINS');
  });

  it('lists and exports many keys as it does few', async () => {
    const server = await start();
    const entries = Object.fromEntries(
      Array.from({ length: 2500 }, (_, index) => [`k${10_000 + index}`, index]),
    );
    const headers = { 'content-type': 'application/json' };
    const sent = { method: 'POST', headers, body: JSON.stringify(entries) };
    expect((await fetch(`${server.url}/api/storage/import`, sent)).status).toBe(200);
    expect(JSON.parse(await textAt(server, '/api/storage/keys'))).toEqual({ keys: Object.keys(entries) });
    expect(JSON.parse(await textAt(server, '/api/storage/export'))).toEqual(entries);
    const head = await fetch(`${server.url}/api/storage/keys`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  it('answers what is no HTTP with JSON', async () => {
    const server = await start();
    const head = 'GET /health HTTP/1.1\r\nHost: localhost\r\n';
    const broken: Array<[request: string, status: number]> = [
      ['nonsense\r\n\r\n', 400],
      ['GET /health HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
      ['GET /health HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\nConnection: close\r\n\r\n', 400],
      ['GET http://a@localhost/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
      [`${head}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
      [`GET /api/storage/${'x'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 431],
      ['GET /api/storage/é HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
      ['GET /api/storage/a\\b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
      [
        'PUT /api/storage/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
          'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
        400,
      ],
    ];
    for (const [request, status] of broken) {
      const answer = await (await raw(server, request)).answer;
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(answer).toMatch(/\r\n(?:content-type: application\/json)\r\n/i);
      expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({
        error: expect.any(String),
        status,
      });
    }
  });

  it('takes a target in absolute form, whose host replaces the Host header', async () => {
    const server = await start();
    const close = 'Host: localhost\r\nConnection: close\r\n\r\n';
    await put(server, 'é', '1');
    const absolute = `GET http://localhost/api/storage/%C3%A9?a HTTP/1.1\r\n${close}`;
    expect(await (await raw(server, absolute)).answer).toMatch(/{"value":1}$/);
    const foreign = absolute.replace('http://localhost', 'http://evil.example');
    expect(await (await raw(server, foreign)).answer).toMatch(/^HTTP\/1\.1 403 /);
  });

  it.runIf(existsSync('/proc/self/status'))(
    'exports with flat memory, however much and however slowly',
    async () => {
      const server = await start();
      const value = `"${'x'.repeat(1024 * 1024)}"`;
      for (let index = 0; index < 200; index += 1) await put(server, `key-${index}`, value);
      const before = await residentMebibytes(server.pid);
      const response = await fetch(`${server.url}/api/storage/export`);
      let size = 0;
      let most = 0;
      let looks = 0;
      for await (const chunk of response.body ?? []) {
        size += chunk.length;
        if (size < looks * 1024 * 1024) continue;
        looks += 1;
        await delay(1);
        most = Math.max(most, await residentMebibytes(server.pid));
      }
      expect(size).toBeGreaterThan(200 * 1024 * 1024);
      expect(most - before).toBeLessThan(100);
      // 200 MiB are written and read.
    },
    180_000,
  );
});

async function textAt(server: RunningServer, path: string): Promise<string> {
  return (await fetch(server.url + path)).text();
}

function put(server: RunningServer, key: string, value: string): Promise<Response> {
  return fetch(`${server.url}/api/storage/${encodeURIComponent(key)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: `{"value":${value}}`,
  });
}

// biome-ignore lint/suspicious/noExplicitAny: a test says what it expects.
function logLines({ output }: { output(): string }): any[] {
  return output()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

function messages(server: { output(): string }): string[] {
  return logLines(server).map(({ msg }) => msg);
}

async function residentMebibytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

/** The head of a PUT of `length` bytes. */
/** A connection on which `bytes` have been sent. */
async function raw(server: RunningServer, bytes: string) {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
  await once(socket, 'connect');
  if (bytes !== '') socket.write(bytes);
  return { socket, answer: textOf(socket) };
}

/** The server, started by hand: it need not come up. */
function spawnServer(env: Record<string, string>) {
  const child = spawn(process.execPath, [SERVER_MAIN], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const listening = new Promise<string>((resolve) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        const url = /"url":"([^"]+)"/.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      });
  });
  const exit = once(child, 'close').then(([code]) => code as number | null);
  return { process: child, output: () => output, listening, exit };
}
