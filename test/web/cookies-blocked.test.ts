/**
 * Firefox with all cookies blocked: nothing can be stored on this device, and the server serves all calls (docs/guarantees.md, 5.5 and
 * 7.2).
 *
 * The page runs the program itself and reports what came of it: a driver cannot evaluate anything in such a page.
 */
import { createServer } from 'node:http';
import { firefox } from 'playwright';
import { expect, it, onTestFinished } from 'vitest';
import { browserPath } from '../support/browsers.ts';
import { serveLibrary } from '../support/library-page.ts';
import { listen } from '../support/ports.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const executablePath = browserPath('firefox');

/** All cookies and site data are blocked. */
const BLOCKED = { 'network.cookie.cookieBehavior': 2 };

const programOf = (library: string, server: string): string => `<!doctype html><script type="module">
  const report = (found) => fetch('/found', { method: 'POST', body: JSON.stringify(found) });
  try {
    const { createStorage } = await import('${new URL('/src/index.ts', library)}');
    const storage = createStorage({ useFlask: true, flaskUrl: '${server}', logger: false });
    const heard = [];
    storage.watch(undefined, ({ type, key, value, source }) => heard.push([type, key, value, source]));
    const states = [];
    storage.watchStatus(({ state }) => states.push(state));
    await storage.set('a', 1);
    await storage.setMany([['b', 2], ['c', 3]]);
    await storage.update('c', (n) => n + 1);
    await storage.delete('b');
    await storage.ready();
    await storage.flush();
    const { state, backend, level, pending } = storage.status();
    await report({
      values: await storage.getMany(['a', 'b', 'c']),
      keys: await storage.keys(),
      conflicts: await storage.conflicts(),
      heard,
      states,
      status: { state, backend, level, pending },
      isForbidden: await new Promise((resolve) => {
        try {
          indexedDB.open('x').onsuccess = () => resolve(false);
        } catch (error) {
          resolve(error.name);
        }
      }),
    });
  } catch (error) {
    await report({ error: String(error) });
  }
</script>`;

it.skipIf(executablePath === undefined)(
  'with all cookies blocked in Firefox, every call is served by the server',
  async () => {
    const { server: library, url } = await serveLibrary();
    onTestFinished(() => library.close());
    const server = await startTypescriptServer();
    onTestFinished(async () => void (await server.stop()));
    let tell = (_: string): void => {};
    const found = new Promise<string>((resolve) => {
      tell = resolve;
    });
    const page = createServer(async (request, response) => {
      let text = '';
      for await (const chunk of request) text += chunk;
      if (request.url === '/found') tell(text);
      response.writeHead(200, { 'content-type': 'text/html' }).end(programOf(url, server.url));
    });
    const port = await listen(page);
    onTestFinished(() => void page.close());
    // Playwright drives the Firefox of a distribution only through a channel.
    const browser = await firefox.launch({
      channel: 'moz-firefox',
      firefoxUserPrefs: BLOCKED,
      ...(executablePath && { executablePath }),
    });
    onTestFinished(() => browser.close());
    const tab = await browser.newPage();
    // It may never be told that the page has loaded.
    void tab.goto(`http://127.0.0.1:${port}/`).catch(() => undefined);
    expect(JSON.parse(await found)).toEqual({
      values: [1, null, 4],
      keys: ['a', 'c'],
      conflicts: [],
      heard: [
        ['set', 'a', 1, 'local'],
        ['set', 'b', 2, 'local'],
        ['set', 'c', 3, 'local'],
        ['set', 'c', 4, 'local'],
        ['delete', 'b', null, 'local'],
      ],
      states: ['reconnecting', 'online'],
      status: { state: 'online', backend: 'flask', level: 1, pending: 0 },
      isForbidden: 'SecurityError',
    });
  },
);
