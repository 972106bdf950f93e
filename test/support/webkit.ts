/**
 * A browser provider of Vitest for WebKitGTK's MiniBrowser.
 *
 * WebDriver is not used: a session that it starts is ephemeral, and WebKit stores no Blobs in the databases of such a session.
 * MiniBrowser opens the page with a profile of its own, on a virtual display of its own. Both end with the run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBrowserProvider } from '@vitest/browser';
import type { BrowserCommands } from 'vitest/browser';
import type { BrowserProvider, BrowserProviderOption } from 'vitest/node';

class WebkitProvider implements BrowserProvider {
  readonly name = 'webkitgtk';
  /** One page runs one file after the other. */
  readonly supportsParallelism = false;
  readonly #path: string | undefined;
  #home: string | undefined;
  #display: ChildProcess | undefined;
  #browser: ChildProcess | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
    // Where a signal ends the run, nobody calls `close()`.
    process.once('exit', () => {
      this.#browser?.kill('SIGKILL');
      this.#display?.kill('SIGKILL');
      this.#forget();
    });
  }

  getCommandsContext(): Record<string, unknown> {
    return {};
  }

  async openPage(_session: string, url: string): Promise<void> {
    const path = this.#path;
    if (path === undefined)
      throw new Error('There is no MiniBrowser with an Xvfb: install webkit2gtk-driver and xvfb.');
    await this.close();
    const home = mkdtempSync(join(profiles(), 'storage-webkit-'));
    this.#home = home;
    const display = spawn('Xvfb', ['-displayfd', '3', '-nolisten', 'tcp', '-screen', '0', '1280x800x24'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    this.#display = display;
    this.#browser = spawn(path, [url], {
      stdio: 'ignore',
      env: {
        ...process.env,
        DISPLAY: `:${await numberOf(display)}`,
        GDK_BACKEND: 'x11',
        HOME: home,
        XDG_DATA_HOME: join(home, 'data'),
        XDG_CACHE_HOME: join(home, 'cache'),
        XDG_CONFIG_HOME: join(home, 'config'),
      },
    });
    await once(this.#browser, 'spawn');
  }

  async close(): Promise<void> {
    await end(this.#browser);
    await end(this.#display);
    this.#forget();
  }

  #forget(): void {
    if (this.#home !== undefined) rmSync(this.#home, { recursive: true, force: true, maxRetries: 10 });
    this.#browser = undefined;
    this.#display = undefined;
    this.#home = undefined;
  }
}

/**
 * The folder of profiles: in memory where there is room. WebKit waits for the disk at each transaction of IndexedDB, which takes
 * most of the time of the tests where others use the disk too.
 */
function profiles(): string {
  const memory = '/dev/shm';
  const gibibyte = 2 ** 30;
  try {
    const { bavail, bsize } = statfsSync(memory);
    if (bavail * bsize >= gibibyte) return memory;
  } catch {
    // There is no such folder outside of Linux.
  }
  return tmpdir();
}

/** The number of the display: Xvfb chooses a free one, and writes it when it is ready. */
async function numberOf(display: ChildProcess): Promise<string> {
  const pipe = display.stdio[3];
  if (pipe === undefined || pipe === null || !('on' in pipe) || !('read' in pipe))
    throw new Error('Xvfb was started without a pipe for the number of its display.');
  const [number] = await Promise.race([once(pipe, 'data'), once(display, 'exit')]);
  if (!(number instanceof Buffer)) throw new Error(`Xvfb ended with code ${number}.`);
  return String(number).trim();
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill();
  await ended;
}

/** @param path Of MiniBrowser. `undefined` fails when the first page is opened, not before: other projects need no WebKit. */
export function webkit(path: string | undefined): BrowserProviderOption {
  return defineBrowserProvider({
    name: 'webkitgtk',
    supportedBrowser: ['webkit'],
    options: {},
    providerFactory(project) {
      // Tests here do not depend on the size of the window, and MiniBrowser cannot change it.
      project.browser?.registerCommand('__vitest_viewport' as keyof BrowserCommands, async () => {});
      return new WebkitProvider(path);
    },
  });
}
