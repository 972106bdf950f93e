/** The server while its database, or the server itself, is killed: what was acknowledged stays, and writes go on. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, type TestContext } from 'vitest';
import { startMariadb } from '../support/databases/mariadb.ts';
import { query, startPostgres, startPostgresPair } from '../support/databases/postgres.ts';
import { DATABASES, databaseSkipReason } from '../support/databases/programs.ts';
import { freePort } from '../support/ports.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { Storm } from './storm.ts';

const WRITERS = 32;
const KILLS = 3;

/** Acknowledged writes between two kills, so that each one meets a server at work. */
async function calm(storm: Storm): Promise<void> {
  const enough = storm.acknowledged + 4 * WRITERS;
  while (storm.acknowledged < enough) await storm.nextAcknowledged();
}

async function start(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  databaseUrl: string,
): Promise<RunningServer> {
  const server = await startTypescriptServer({ databaseUrl });
  onTestFinished(async () => {
    await server.stop();
  });
  return server;
}

function figures(storm: Storm, seconds: readonly number[]): string {
  const refused = Array.from(
    storm.refused,
    ([status, count]) => `, ${count} x ${status || 'no answer'}`,
  ).join('');
  const times = seconds.map((time) => time.toFixed(1)).join(', ');
  return `${seconds.length} kills, ${storm.acknowledged} acknowledged, 0 lost${refused}; writes went on after ${times} s`;
}

const SERVERS = [
  ['postgres', startPostgres],
  ['mysql', startMariadb],
] as const;

for (const [name, startDatabase] of SERVERS) {
  const skipped = databaseSkipReason(name);
  const title = `${DATABASES[name].title}${skipped === undefined ? '' : `: ${skipped}`}`;
  describe.skipIf(skipped !== undefined)(title, () => {
    it('when the database is killed, writes are answered with 503, then go on by themselves, and none is lost', async (test) => {
      const database = await startDatabase();
      test.onTestFinished(() => database.stop());
      const server = await start(test, database.url);
      const storm = new Storm(server.url);
      storm.start(WRITERS);
      const seconds: number[] = [];
      for (let kill = 0; kill < KILLS; kill += 1) {
        await calm(storm);
        const began = performance.now();
        await database.kill();
        expect(await statusOf(`${server.url}/api/storage/writer-0-0`)).toBe(503);
        expect([await statusOf(`${server.url}/ready`), await statusOf(`${server.url}/live`)]).toEqual([
          503, 200,
        ]);
        const goesOn = storm.nextAcknowledged();
        await database.restart();
        await goesOn;
        seconds.push((performance.now() - began) / 1000);
      }
      await storm.stop();
      await storm.check();
      expect([...storm.refused.keys()]).toEqual([503]);
      await test.annotate(figures(storm, seconds));
    });

    it('when the server is killed, no acknowledged write is lost', async (test) => {
      const database = await startDatabase();
      test.onTestFinished(() => database.stop());
      const port = await freePort();
      const begin = () => startTypescriptServer({ databaseUrl: database.url, port });
      let server = await begin();
      test.onTestFinished(async () => {
        await server.stop();
      });
      const storm = new Storm(server.url);
      storm.start(WRITERS);
      const seconds: number[] = [];
      for (let kill = 0; kill < KILLS; kill += 1) {
        await calm(storm);
        const began = performance.now();
        await server.kill();
        server = await begin();
        await storm.nextAcknowledged();
        seconds.push((performance.now() - began) / 1000);
      }
      await storm.stop();
      await storm.check();
      await test.annotate(figures(storm, seconds));
    });
  });
}

const skipped = databaseSkipReason('postgres');
describe.skipIf(skipped !== undefined)(
  `PostgreSQL with a synchronous standby${skipped ? `: ${skipped}` : ''}`,
  () => {
    it('after the primary is killed and the standby promoted, the same server goes on, and no write is lost', async (test) => {
      const pair = await startPostgresPair();
      test.onTestFinished(() => pair.stop());
      const server = await start(test, pair.url);
      const { epoch } = await (await fetch(`${server.url}/health`)).json();
      const storm = new Storm(server.url);
      storm.start(WRITERS);
      await calm(storm);
      const began = performance.now();
      await pair.primary.kill();
      const goesOn = storm.nextAcknowledged();
      await pair.promote();
      await goesOn;
      const seconds = (performance.now() - began) / 1000;
      await calm(storm);
      await storm.stop();
      await storm.check();
      expect([...storm.refused.keys()].filter((status) => status !== 503)).toEqual([]);
      expect((await (await fetch(`${server.url}/health`)).json()).epoch).toBe(epoch);
      await test.annotate(figures(storm, [seconds]));
    });

    it('a commit that is cancelled while it waits for the standby is answered with outcome-unknown', async (test) => {
      const pair = await startPostgresPair();
      test.onTestFinished(() => pair.stop());
      const server = await start(test, pair.url);
      const send = () =>
        fetch(`${server.url}/api/v1/batch`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({
            client: 'a-client-of-this-test',
            m: 1,
            ops: [{ op: 'put', key: 'a', value: 1 }],
          }),
        });
      await fetch(`${server.url}/health`);
      await pair.standby.kill();
      const answer = send();
      const waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
      let waiting: unknown[] = [];
      while (waiting.length === 0) {
        await delay(20);
        waiting = await query(pair.primary.url, waits);
      }
      await query(pair.primary.url, `SELECT pg_cancel_backend(pid) FROM (${waits}) AS waiting`);
      const response = await answer;
      expect(response.status).toBe(503);
      expect(response.headers.get('retry-after')).toBe('1');
      expect(await response.json()).toMatchObject({ type: 'urn:codeforge-storage:outcome-unknown' });
      await pair.standby.restart();
      const again = await send();
      expect(again.status).toBe(200);
      expect(await again.json()).toMatchObject({ seq: 1, results: [{ status: 200, rev: '1' }] });
    });
  },
);

/** The status of a read; waits for none that is sent again by itself. */
async function statusOf(url: string): Promise<number> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.status;
}
