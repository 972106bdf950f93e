/**
 * The servers that the contract suite runs against, one of each kind a project, each behind a proxy that can cut it.
 */
import type { TestProject } from 'vitest/node';
import { flaskSkipReason, startFlaskServer } from './flask-server.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import type { RunningServer } from './running-server.ts';
import { startTypescriptServer } from './typescript-server.ts';

/** Where a server is. */
export interface ServerAddress {
  /** Its base URL, through the proxy. */
  readonly url: string;
  /** The proxy's control address. */
  readonly control: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    typescriptServer: ServerAddress;
    /** For storages that keep a copy of what it holds. */
    syncedServer: ServerAddress;
    /** For the code in the documentation. */
    documentedServer: ServerAddress;
    /** `undefined` where no Python can run it, which the test command names as a skip, and in Firefox and WebKitGTK. */
    flaskServer: ServerAddress | undefined;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stops: Array<{ server: RunningServer; proxy: TcpProxy }> = [];
  const start = async (starting: Promise<RunningServer>): Promise<ServerAddress> => {
    const server = await starting;
    const proxy = await startProxy(server.url);
    stops.push({ server, proxy });
    return { url: proxy.url, control: proxy.control };
  };
  project.provide('typescriptServer', await start(startTypescriptServer()));
  project.provide('syncedServer', await start(startTypescriptServer()));
  project.provide('documentedServer', await start(startTypescriptServer()));
  // What differs between the servers does not depend on the engine: one engine and Node.js are enough for the second server.
  const withFlask = !['firefox', 'webkit'].includes(project.name) && flaskSkipReason() === undefined;
  project.provide('flaskServer', withFlask ? await start(startFlaskServer()) : undefined);
  return async () => {
    for (const { server, proxy } of stops) {
      await proxy.close();
      await server.stop();
    }
  };
}
