/**
 * The images of examples/deploy do what docs/deployment.md says. They are built from their own Dockerfiles and run as containers, by
 * podman.
 */
import { request } from 'node:http';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BaseName, baseImage, makeBase } from '../support/containers/base-images.ts';
import { Container, runToEnd } from '../support/containers/container.ts';
import { buildImages, type ImageName } from '../support/containers/images.ts';
import { Podman } from '../support/containers/podman.ts';
import { containersSkipReason } from '../support/containers/programs.ts';
import { chromiumSkipReason, launchChromium } from '../support/library-page.ts';

/** Milliseconds. All packages of the project are installed meanwhile, beside other tests. */
const BUILD_TIMEOUT = 1_200_000;

const skipped = containersSkipReason();

type Annotate = (message: string) => Promise<unknown>;

describe.skipIf(skipped !== undefined)(
  `the images${skipped === undefined ? '' : ` (skipped: ${skipped})`}`,
  () => {
    let podman: Podman;
    /** Why this machine runs no container at all, whatever is in it. */
    let refused: string | undefined;
    let built: ReadonlyMap<ImageName, number>;

    beforeAll(async () => {
      podman = await Podman.start();
      const bases: BaseName[] = ['node', 'python', 'nginx'];
      await Promise.all(bases.map((name) => makeBase(podman, name)));
      const { status, stderr } = await podman.run('run', '--rm', baseImage('node'), 'node', '--version');
      if (status === 0) built = await buildImages(podman);
      else refused = stderr.trim();
    }, BUILD_TIMEOUT);
    afterAll(() => podman?.remove());

    /** A test with containers. A machine whose kernel runs none says nothing about the images: that is noted. */
    const check = (name: string, test: (annotate: Annotate) => Promise<void>): void =>
      void it(name, async ({ annotate }) => {
        if (refused === undefined) await test(annotate);
        else await annotate(`not checked, because this machine runs no containers: ${refused}`);
      });

    const megabytes = async (image: string): Promise<number> =>
      Number(await podman.output('image', 'inspect', '--format', '{{.Size}}', image)) / 1e6;

    check('are small beside the images that they are based on', async (annotate) => {
      const bases: Readonly<Record<ImageName, BaseName>> = {
        'codeforge-backend': 'node',
        'codeforge-backend-flask': 'python',
        'codeforge-standalone': 'nginx',
        codeforge: 'nginx',
      };
      for (const [image, seconds] of built) {
        const all = await megabytes(image);
        const own = all - (await megabytes(baseImage(bases[image])));
        const sizes = `${all.toFixed(1)} MB, ${own.toFixed(1)} MB of them its own`;
        await annotate(`${image}: ${sizes}, built in ${seconds.toFixed(1)} s`);
        expect(own).toBeLessThan(25);
      }
    });

    const json = { 'content-type': 'application/json' };
    const put = (url: string, key: string, value: unknown): Promise<Response> =>
      fetch(`${url}/api/storage/${key}`, { method: 'PUT', headers: json, body: JSON.stringify({ value }) });
    const stored = async (url: string, key: string): Promise<unknown> =>
      (await fetch(`${url}/api/storage/${key}`)).json();

    const startServer = (image: ImageName, ...options: readonly string[]): Promise<Container> =>
      Container.start(podman, image, { ALLOW_ANONYMOUS: 'true' }, '/health', ...options);

    describe.each(['codeforge-backend', 'codeforge-backend-flask'] as const)('%s', (image) => {
      check('does not start where everybody could call it without a token', async () => {
        const { status, stderr } = await runToEnd(podman, image, {});
        expect(status).not.toBe(0);
        expect(stderr).toMatch(/TOKENS.*ALLOW_ANONYMOUS/);
      });

      check('keeps its data, and answers who waits when it is stopped', async () => {
        const volume = ['--volume', `${image}:/data`];
        const before = await startServer(image, ...volume);
        expect((await put(before.url, 'kept', 'yes')).status).toBe(200);
        const { epoch, seq } = (await (await fetch(`${before.url}/health`)).json()) as Record<string, string>;
        const waiting = fetch(`${before.url}/api/v1/changes?since=${epoch}.${seq}&wait=30`);
        // Waits as soon as a later request is answered: they share a connection's order of arrival.
        await fetch(`${before.url}/health`);
        expect(await before.stop()).toBe(0);
        expect((await waiting).status).toBe(200);
        // Without /tmp too.
        const after = await startServer(image, ...volume, '--read-only-tmpfs=false');
        expect(await stored(after.url, 'kept')).toEqual({ value: 'yes' });
        expect(await after.stop()).toBe(0);
      });

      check('is not root, writes to its volume only, and turns healthy', async () => {
        const server = await startServer(image);
        expect((await server.exec('id', '-u')).stdout.trim()).toBe('1000');
        expect((await server.exec('sh', '-c', 'echo > /app/file')).stderr).toContain('Read-only file system');
        expect((await server.exec('sh', '-c', 'echo > /data/file')).status).toBe(0);
        expect(await server.health()).toBe('healthy');
        expect((await server.checkOfNothing()).status).toBe(1);
        await server.stop();
      });
    });

    describe('the web app', () => {
      let backend: Container;
      let browser: Browser | undefined;
      beforeAll(async () => {
        if (refused === undefined) backend = await startServer('codeforge-backend');
        if (chromiumSkipReason === undefined) browser = await launchChromium();
      });
      afterAll(() => browser?.close());

      /** The host name is one that only the container knows. */
      const startWeb = (env: Readonly<Record<string, string>>): Promise<Container> =>
        Container.start(podman, 'codeforge', env, '/', '--add-host', 'backend:127.0.0.1');
      const oneOrigin = (): Promise<Container> =>
        startWeb({
          USE_FLASK_BACKEND: 'true',
          FLASK_BACKEND_URL: backend.url.replace('127.0.0.1', 'backend'),
          PROXY_BACKEND: 'true',
        });

      check('has its variables in the page, is not root, and turns healthy', async () => {
        const web = await startWeb({
          USE_FLASK_BACKEND: 'true',
          FLASK_BACKEND_URL: 'https://storage.example:5001/base',
        });
        const config = await fetch(`${web.url}/config.js`);
        expect(config.headers.get('cache-control')).toBe('no-store');
        expect(config.headers.get('content-type')).toContain('javascript');
        expect(await config.text()).toBe(
          "globalThis.USE_FLASK_BACKEND = true;\nglobalThis.FLASK_BACKEND_URL = 'https://storage.example:5001/base';\n",
        );
        const script = /src="\.(\/assets\/[^"]+\.js)"/.exec(await (await fetch(web.url)).text())?.[1];
        expect((await fetch(web.url + script)).headers.get('cache-control')).toContain('immutable');
        expect((await fetch(`${web.url}/api/storage/a`)).status).toBe(404);
        expect((await web.exec('id', '-u')).stdout.trim()).toBe('101');
        expect((await web.exec('sh', '-c', 'echo > /srv/web/file')).stderr).toContain(
          'Read-only file system',
        );
        expect(await web.health()).toBe('healthy');
        expect((await web.checkOfNothing()).status).toBe(1);
        expect(await web.stop()).toBe(0);
      });

      check('names a variable that is wrong, and does not start', async () => {
        const wrong: Array<Record<string, string>> = [
          { USE_FLASK_BACKEND: 'yes' },
          { PROXY_BACKEND: '1' },
          { PORT: '80;' },
          { FLASK_BACKEND_URL: 'localhost:5001' },
          { FLASK_BACKEND_URL: "http://a';alert(1);'" },
          { FLASK_BACKEND_URL: 'http://a\nalert(1)' },
          { PROXY_BACKEND: 'true', FLASK_BACKEND_URL: 'http://a;return 200' },
          { PROXY_BACKEND: 'true', FLASK_BACKEND_URL: 'http://a/base' },
          { PROXY_BACKEND: 'true', FLASK_BACKEND_URL: 'https://a' },
        ];
        const runs = wrong.map(async (env) => {
          const { status, stderr } = await runToEnd(podman, 'codeforge', env);
          expect([env, status]).toEqual([env, 2]);
          expect(stderr).toContain(Object.keys(env).at(-1));
        });
        await Promise.all(runs);
      });

      check('says so where browsers cannot find the server', async () => {
        const web = await startWeb({ USE_FLASK_BACKEND: 'true', FLASK_BACKEND_URL: 'http://backend:5001' });
        expect(await web.log()).toContain('PROXY_BACKEND=true');
        await web.stop();
      });

      check('passes every key, large bodies and live changes on to the server', async () => {
        const web = await oneOrigin();
        const health = (await (await fetch(`${web.url}/health`)).json()) as Record<string, string>;
        expect(health).toMatchObject({ status: 'ok', contract: 1 });
        for (const key of ['plain', 'a/b', 'a//b', '../x', '%2F', 'ä ö', 'a?b#c', '.', 'x'.repeat(1024)]) {
          const path = `/api/storage/${encodeURIComponent(key).replaceAll('.', '%2E')}`;
          expect([key, (await send(web.url, path, 'PUT', JSON.stringify({ value: key }))).status]).toEqual([
            key,
            200,
          ]);
          expect((await send(backend.url, path)).text).toBe(JSON.stringify({ value: key }));
        }
        expect((await put(web.url, 'large', 'x'.repeat(8_000_000))).status).toBe(200);
        const stream = await fetch(`${web.url}/api/v1/changes?since=${health.epoch}.${health.seq}`, {
          headers: { accept: 'text/event-stream' },
        });
        let text = '';
        const heard = (async () => {
          for await (const chunk of stream.body?.pipeThrough(new TextDecoderStream()) ?? []) {
            // Only its end: the large body is in it too.
            text = (text + chunk).slice(-1000);
            if (text.includes('"told"')) return true;
          }
          return false;
        })();
        await put(web.url, 'told', 1);
        expect(await heard).toBe(true);
        // An open stream does not keep nginx from ending in order.
        expect(await web.stop()).toBe(0);
      });

      check('without variables, it is a page for IndexedDB', async () => {
        const id = await podman.output(
          'run',
          '--detach',
          '--read-only',
          '--network=none',
          'codeforge-standalone',
        );
        const get = `exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /config.js HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
        const answer = (): Promise<string> =>
          podman.run('exec', id, 'bash', '-c', get).then(({ stdout }) => stdout);
        await expect.poll(answer, { timeout: 60_000 }).toContain('USE_FLASK_BACKEND = false');
        await podman.output('healthcheck', 'run', id);
        await podman.output('rm', '--force', id);
      });

      describe.skipIf(chromiumSkipReason)('in Chromium', () => {
        /** Opens the page, stores an entry, and looks it up at the server. Resolves with the origins that were called. */
        async function store(web: Container, serverUrl: string, key: string): Promise<Set<string>> {
          const page = await (browser as Browser).newPage();
          const origins = new Set<string>();
          page.on('request', (sent) => origins.add(new URL(sent.url()).origin));
          const errors: string[] = [];
          page.on('pageerror', (error) => errors.push(String(error)));
          await page.goto(web.url);
          await message(page, 'Ready');
          expect(await page.locator('#backend').textContent()).toBe(
            `Flask backend at ${serverUrl} (level 1)`,
          );
          await page.getByLabel('Key').first().fill(key);
          await page.getByLabel('Value (JSON)').fill('{"from":"the page"}');
          await page.getByRole('button', { name: 'Save' }).click();
          await message(page, `Saved ${key}`);
          await page.close();
          expect(errors).toEqual([]);
          expect(await stored(backend.url, key)).toEqual({ value: { from: 'the page' } });
          origins.delete('null');
          return origins;
        }

        const message = (page: Page, text: string): Promise<void> =>
          page.locator('#message', { hasText: text }).waitFor({ timeout: 60_000 });

        check('it reaches the server through its own origin', async () => {
          const web = await oneOrigin();
          expect(await store(web, web.url, 'one-origin')).toEqual(new Set([web.url]));
          await web.stop();
        });

        check('it reaches the server at an origin of its own', async () => {
          const web = await startWeb({ USE_FLASK_BACKEND: 'true', FLASK_BACKEND_URL: backend.url });
          expect(await store(web, backend.url, 'two-origins')).toEqual(new Set([web.url, backend.url]));
          await web.stop();
        });
      });
    });

    /** Sends a request whose path stays as it is: `fetch` would change it. */
    const send = (
      url: string,
      path: string,
      method = 'GET',
      body?: string,
    ): Promise<{ status: number; text: string }> =>
      new Promise((done, fail) => {
        const { hostname, port } = new URL(url);
        request({ hostname, port, path, method, headers: json }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => {
            text += chunk;
          });
          response.once('end', () => done({ status: response.statusCode ?? 0, text }));
        })
          .once('error', fail)
          .end(body);
      });
  },
);
