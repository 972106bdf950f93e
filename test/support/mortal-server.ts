/** A reference server that dies and comes back: one address and one database, however often it is killed. */
import { freePort } from './ports.ts';
import type { RunningServer } from './running-server.ts';
import { startTypescriptServer } from './typescript-server.ts';

/** A server that may be away. */
export interface MortalServer {
  readonly url: string;
  /** So often it was killed. */
  readonly kills: number;
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Writes a key, as another client. */
  put(key: string, value: unknown): Promise<void>;
  /** Every key with its value, asked of the server itself. */
  entries(): Promise<Record<string, unknown>>;
  /** How many writes have applied since its database was made. */
  applied(): Promise<number>;
}

/** One over the database at `databasePath`. It does not run yet. */
export async function mortalServer(databasePath: string, env: Record<string, string>): Promise<MortalServer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const ask = async (path: string) => (await fetch(url + path)).json();
  let running: RunningServer | undefined;
  let kills = 0;
  return {
    url,
    get kills() {
      return kills;
    },
    async start() {
      running = await startTypescriptServer({ databasePath, port, env });
    },
    async kill() {
      if (running === undefined) return;
      kills += 1;
      await running.kill();
      running = undefined;
    },
    async put(key, value) {
      const { status } = await fetch(`${url}/api/storage/${key}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ value }),
      });
      if (status !== 200) throw new Error(`PUT of ${key} was answered with ${status}.`);
    },
    entries: () => ask('/api/storage/export'),
    applied: async () => (await ask('/health')).seq,
  };
}
