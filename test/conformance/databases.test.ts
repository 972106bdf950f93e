/** The conformance suite against the TypeScript server over each database server, and against several processes over one. */
import { describe, it, type TestContext } from 'vitest';
import { startMariadb } from '../support/databases/mariadb.ts';
import { startPostgres } from '../support/databases/postgres.ts';
import { DATABASES, databaseSkipReason } from '../support/databases/programs.ts';
import { startRoundRobin } from '../support/round-robin.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { ONLY_WITH_TOKENS, outcomesOf, RUN_TIMEOUT } from './outcomes.ts';
import { newTokens } from './run.ts';

/** What only a server with tokens can show. */
const TOKEN_CLAUSES = '4.4,9.10,9.11,9.16';

const PROCESSES = 3;

/** A server that ends with its test. */
async function start(
  onTestFinished: TestContext['onTestFinished'],
  databaseUrl: string,
  env: Record<string, string> = {},
): Promise<RunningServer> {
  const server = await startTypescriptServer({ databaseUrl, env });
  onTestFinished(async () => {
    await server.stop();
  });
  return server;
}

const SUITES = [
  ['postgres', startPostgres],
  ['mysql', startMariadb],
] as const;

for (const [name, startDatabase] of SUITES) {
  const { title } = DATABASES[name];
  const skipped = databaseSkipReason(name);
  describe.skipIf(skipped !== undefined)(`${title}${skipped === undefined ? '' : `: ${skipped}`}`, () => {
    it(
      'the TypeScript server keeps every clause of the contract',
      async ({ annotate, expect, onTestFinished }) => {
        const database = await startDatabase();
        onTestFinished(() => database.stop());
        const { url } = await start(onTestFinished, database.url);
        expect(await outcomesOf(url, [], annotate)).toEqual({
          code: 0,
          failed: [],
          notAnnounced: ONLY_WITH_TOKENS,
        });
        const { env, args } = newTokens();
        const withTokens = await start(onTestFinished, database.url, env);
        const outcomes = await outcomesOf(withTokens.url, [...args, '--only', TOKEN_CLAUSES], annotate);
        expect(outcomes).toEqual({ code: 0, failed: [], notAnnounced: [] });
      },
      RUN_TIMEOUT,
    );

    if (name === 'postgres')
      it(
        'several processes behind a load balancer keep every clause of the contract',
        async ({ annotate, expect, onTestFinished }) => {
          const database = await startDatabase();
          onTestFinished(() => database.stop());
          const servers = await Promise.all(
            Array.from({ length: PROCESSES }, () => start(onTestFinished, database.url)),
          );
          const balancer = await startRoundRobin(servers.map(({ url }) => url));
          onTestFinished(() => balancer.close());
          expect(await outcomesOf(balancer.url, [], annotate)).toEqual({
            code: 0,
            failed: [],
            notAnnounced: ONLY_WITH_TOKENS,
          });
        },
        RUN_TIMEOUT,
      );
  });
}
