/**
 * The servers that the contract suite runs against, one of each kind a project, each behind a proxy that can cut it.
 */
import type { TestProject } from 'vitest/node';
import { startPostgres } from './databases/postgres.ts';
import { databaseSkipReason } from './databases/programs.ts';
import { flaskSkipReason, startFlaskServer } from './flask-server.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import { startRoundRobin } from './round-robin.ts';
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
    /** Three processes over one PostgreSQL, behind a load balancer. `undefined` in browsers, and without PostgreSQL. */
    manyProcesses: ServerAddress | undefined;
  }
}

interface StartedServer {
  readonly url: string;
  stop(): Promise<unknown>;
}

/** Three reference servers over one new PostgreSQL. Each connection goes to the next of them. */
async function startManyProcesses(): Promise<StartedServer> {
  const database = await startPostgres();
  const starting = Array.from({ length: 3 }, () => startTypescriptServer({ databaseUrl: database.url }));
  const servers = await Promise.all(starting);
  const balancer = await startRoundRobin(servers.map(({ url }) => url));
  return {
    url: balancer.url,
    async stop() {
      await balancer.close();
      await Promise.all(servers.map((server) => server.stop()));
      await database.stop();
    },
  };
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stops: Array<{ server: StartedServer; proxy: TcpProxy }> = [];
  const start = async (starting: Promise<StartedServer>): Promise<ServerAddress> => {
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
  const withPostgres = project.name === 'servers' && databaseSkipReason('postgres') === undefined;
  project.provide('manyProcesses', withPostgres ? await start(startManyProcesses()) : undefined);
  return async () => {
    for (const { server, proxy } of stops) {
      await proxy.close();
      await server.stop();
    }
  };
}
