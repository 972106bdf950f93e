/** The reverse proxies of docs/deployment.md, with the configuration that stands there, in front of a server. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ProxyName, proxyProgram, proxySkipReason } from '../support/containers/programs.ts';
import { freePort } from '../support/ports.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const guide = await readFile(resolve(import.meta.dirname, '../../docs/deployment.md'), 'utf8');

interface Proxy {
  /** The language of its block in the guide. */
  readonly language: string;
  /** What stands around it in a file, with paths below `folder`. */
  around(block: string, folder: string): string;
  /** The arguments that check the file. */
  check(file: string): string[];
  /** The arguments that run it in the foreground. */
  run(file: string): string[];
}

const PROXIES: Readonly<Record<ProxyName, Proxy>> = {
  nginx: {
    language: 'nginx',
    around: (block, folder) => {
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (name) => `${name}_temp_path ${folder}/${name};`,
      );
      const http = ['access_log off;', ...temporary, block].join('\n');
      return `user root; pid ${folder}/nginx.pid; error_log stderr; events {}\nhttp {\n${http}\n}\n`;
    },
    check: (file) => ['-t', '-c', file, '-e', 'stderr'],
    run: (file) => ['-c', file, '-e', 'stderr', '-g', 'daemon off;'],
  },
  caddy: {
    language: 'caddyfile',
    // Its administration has a port of its own.
    around: (block) => `{\n  admin off\n  auto_https disable_redirects\n}\n${block}`,
    check: (file) => ['validate', '--adapter', 'caddyfile', '--config', file],
    run: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
};

describe.each(Object.keys(PROXIES) as ProxyName[])('%s', (name) => {
  const { language, around, check, run } = PROXIES[name];
  const skipped = proxySkipReason(name);

  describe.skipIf(skipped !== undefined)(
    `as in the guide${skipped === undefined ? '' : ` (skipped: ${skipped})`}`,
    () => {
      let folder = '';
      let block = '';
      let server: RunningServer;
      let proxy: ChildProcess;
      let port = 0;
      const env = (): NodeJS.ProcessEnv => ({
        ...process.env,
        HOME: folder,
        XDG_DATA_HOME: folder,
        XDG_CONFIG_HOME: folder,
      });

      beforeAll(async () => {
        folder = await mkdtemp(join(tmpdir(), 'codeforge-proxy-'));
        const [, found = ''] = new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 's').exec(guide) ?? [];
        const [key, certificate] = [join(folder, 'app.key'), join(folder, 'app.pem')];
        const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
        execFileSync(
          'openssl',
          [
            'req',
            '-x509',
            '-newkey',
            'rsa:2048',
            '-nodes',
            '-days',
            '1',
            '-keyout',
            key,
            '-out',
            certificate,
            ...subject,
          ],
          { stdio: 'ignore' },
        );
        server = await startTypescriptServer({ env: { ALLOWED_ORIGINS: 'https://app.example' } });
        port = await freePort();
        block = found
          .replace('127.0.0.1:8080', new URL(server.url).host)
          .replaceAll('/etc/ssl/app.example', join(folder, 'app'))
          .replace('listen 443', `listen 127.0.0.1:${port}`)
          .replace(
            'app.example {',
            `https://localhost:${port} {\n  bind 127.0.0.1\n  tls ${certificate} ${key}`,
          );
        const file = join(folder, 'proxy.conf');
        await writeFile(file, around(block, folder));
        proxy = spawn(proxyProgram(name), run(file), {
          cwd: folder,
          env: env(),
          stdio: 'ignore',
          detached: true,
        });
        await vi.waitFor(async () => expect((await send('/health')).status).toBe(200), { timeout: 60_000 });
      });
      afterAll(async () => {
        if (proxy?.pid !== undefined && proxy.exitCode === null) {
          // With the workers of nginx. In order, Caddy waits until the last stream has ended.
          process.kill(-proxy.pid, 'SIGKILL');
          await once(proxy, 'exit');
        }
        await server?.stop();
        await rm(folder, { recursive: true, force: true });
      });

      /** Sends a request to the proxy. Its path stays as it is. */
      function open(
        path: string,
        method: string,
        body: string | undefined,
        headers: Record<string, string>,
      ): Promise<IncomingMessage> {
        return new Promise((done, fail) => {
          const options = {
            hostname: '127.0.0.1',
            servername: 'localhost',
            port,
            path,
            method,
            rejectUnauthorized: false,
            agent: false,
          };
          request({ ...options, headers: { Host: `localhost:${port}`, ...headers } }, done)
            .once('error', fail)
            .end(body);
        });
      }

      async function send(
        path: string,
        method = 'GET',
        body?: string,
        type = 'application/json',
      ): Promise<{ status: number | undefined; text: string }> {
        const response = await open(path, method, body, body === undefined ? {} : { 'content-type': type });
        let text = '';
        for await (const chunk of response.setEncoding('utf8')) text += chunk;
        return { status: response.statusCode, text };
      }

      const put = (key: string, value: unknown): Promise<unknown> =>
        send(`/api/storage/${key}`, 'PUT', JSON.stringify({ value }));

      it('accepts the configuration, and refuses it with a typing error', async () => {
        const checked = async (text: string): Promise<boolean> => {
          const file = join(folder, 'checked.conf');
          await writeFile(file, around(text, folder));
          try {
            execFileSync(proxyProgram(name), check(file), { cwd: folder, env: env(), stdio: 'pipe' });
            return true;
          } catch {
            return false;
          }
        };
        expect(await checked(block)).toBe(true);
        expect(await checked(block.replace('read_timeout 90s', 'reed_timeout 90s'))).toBe(false);
      });

      it('passes every key on as it was sent', async () => {
        for (const key of ['plain', 'a/b', 'a//b', '../x', '%2F', 'ä ö', 'a?b#c', 'x'.repeat(1024)]) {
          const path = `/api/storage/${encodeURIComponent(key).replaceAll('.', '%2E')}`;
          expect([key, (await send(path, 'PUT', JSON.stringify({ value: key }))).status]).toEqual([key, 200]);
          const keys = (await (await fetch(`${server.url}/api/storage/keys`)).json()) as { keys: string[] };
          expect(keys.keys).toContain(key);
        }
      });

      it('has no limit for the body of an import', async () => {
        const lines = [
          { format: 'codeforge-storage', version: 1 },
          ...Array.from({ length: 20 }, (_, i) => ({ key: `large-${i}`, value: 'x'.repeat(1_000_000) })),
          { end: true, count: 20 },
        ];
        const body = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
        const { status, text } = await send(
          '/api/v1/import?mode=overwrite',
          'POST',
          body,
          'application/x-ndjson',
        );
        expect([status, JSON.parse(text).imported]).toEqual([200, 20]);
      });

      it('hands on changes when they happen: to a long poll, and to an event stream', async () => {
        const { epoch, seq } = JSON.parse((await send('/health')).text);
        const polled = send(`/api/v1/changes?since=${epoch}.${seq}&wait=60`);
        const stream = await open(`/api/v1/changes?since=${epoch}.${seq}`, 'GET', undefined, {
          accept: 'text/event-stream',
        });
        await put('told', 1);
        expect(JSON.parse((await polled).text).changes).toHaveLength(1);
        let text = '';
        for await (const chunk of stream.setEncoding('utf8')) {
          text += chunk;
          if (text.includes('"told"')) break;
        }
        expect(text).toContain('event: put');
      });

      it('waits longer than a caller may wait for changes', () => {
        const [, seconds] = /read_timeout (\d+)s/.exec(block) ?? [];
        expect(Number(seconds)).toBeGreaterThan(60);
      });
    },
  );
});
