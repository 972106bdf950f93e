/**
 * The conformance suite against the servers of this repository, and against one that breaks clauses on purpose.
 *
 * What a server does not announce is written down here: a clause that is silently no longer asked fails.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { startOldServer } from '../support/old-server.ts';
import { freePort, listen } from '../support/ports.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { ONLY_WITH_TOKENS, ONLY_WITHOUT_TOKENS, outcomesOf, RUN_TIMEOUT } from './outcomes.ts';
import { conform, newTokens } from './run.ts';
import { ALL_CHECKS } from './suite.ts';
import { startViolatingServer } from './violating-server.ts';

/** What no request shows: durability, how tokens are held, what clients do, and limits that an operator may set (test/servers/quota.test.ts). */
const NOT_VISIBLE = ['1.3', '9.12', '9.17', '11.1', '11.2', '11.4', '11.5'];

const EVENT_STREAM = ['7.6', '7.7'];

const ended: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const end of ended.splice(0)) await end();
});

describe('conformance', () => {
  const servers = [
    ['the TypeScript server', startTypescriptServer, undefined, []],
    ['the Flask server', startFlaskServer, flaskSkipReason(), EVENT_STREAM],
  ] as const;
  for (const [name, start, skipped, notAnnounced] of servers) {
    if (skipped !== undefined) {
      it.skip(`${name} keeps the contract: ${skipped}`);
      continue;
    }

    it(
      `${name} keeps every clause of the contract`,
      async ({ annotate }) => {
        const server = await start();
        ended.push(() => server.stop());
        expect(await outcomesOf(server.url, [], annotate)).toEqual({
          code: 0,
          failed: [],
          notAnnounced: [...ONLY_WITH_TOKENS, ...notAnnounced].sort(byClause),
        });
      },
      RUN_TIMEOUT,
    );

    it(
      `${name} keeps every clause with tokens, of scopes and tenants too`,
      async ({ annotate }) => {
        const { env, args } = newTokens();
        const server = await start({ env });
        ended.push(() => server.stop());
        expect(await outcomesOf(server.url, args, annotate)).toEqual({
          code: 0,
          failed: [],
          notAnnounced: [...ONLY_WITHOUT_TOKENS, ...notAnnounced].sort(byClause),
        });
      },
      RUN_TIMEOUT,
    );
  }

  it('asks for every clause of the contract that can be seen from outside', () => {
    const contract = readFileSync(new URL('../../docs/contract.md', import.meta.url), 'utf8');
    const servers = [...contract.matchAll(/\*\*(\d+\.\d+)\*\*/g)]
      .map(([, clause = '']) => clause)
      .filter((clause) => !clause.startsWith('12.'));
    const asked = ALL_CHECKS.map(({ clause }) => clause);
    expect(new Set([...asked, ...NOT_VISIBLE])).toEqual(new Set(servers));
  });

  it('an old server keeps sections 1 and 2, and is asked for nothing else', async ({ annotate }) => {
    const server = await startOldServer('/deep/base');
    ended.push(() => server.close());
    const { notAnnounced, ...rest } = await outcomesOf(server.url, [], annotate);
    expect(rest).toEqual({ code: 0, failed: [] });
    const sections = new Set(notAnnounced.map((clause) => clause.split('.')[0]));
    expect([...sections]).toEqual(['1', '3', '4', '5', '6', '7', '8', '9', '10', '11']);
    expect(notAnnounced.filter((clause) => clause.startsWith('1.'))).toEqual(['1.4', '1.5', '1.6', '1.7']);
    expect(server.data.size).toBe(0);
  });

  it('a server of level 1 without checksums keeps section 8, and is not asked for them', async ({
    annotate,
  }) => {
    const server = await startTypescriptServer();
    ended.push(() => server.stop());
    const older = await startViolatingServer(server.url, async (request, pass) => {
      const body = request.path.startsWith('/api/v1/import')
        ? request.body.replace(/,"sha256":[^}]*\}/, '}')
        : request.body;
      const reply = await pass({ ...request, body });
      if (request.path !== '/health' && request.path !== '/api/v1/export') return reply;
      const text = reply.body.toString().replace(/,"checksum"|,"sha256":"[^"]*"/, '');
      return { ...reply, body: text };
    });
    ended.push(() => older.close());
    expect(await outcomesOf(older.url, ['--only', '4,8'], annotate)).toEqual({
      code: 0,
      failed: [],
      notAnnounced: ['4.4', '8.6', '8.7'],
    });
  });

  it('without the options for tokens their clauses are not announced, and the option is named', async () => {
    const { env, args } = newTokens();
    const server = await startTypescriptServer({ env });
    ended.push(() => server.stop());
    const { code, stdout } = await conform(server.url, ...args.slice(0, 2), '--only', '9.10,9.11');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^not announced {2}9\.10 .*--read-token is missing/m);
    expect(stdout).toMatch(/^not announced {2}9\.10 .*--write-token is missing/m);
    expect(stdout).toMatch(/^not announced {2}9\.11 .*--other-token is missing/m);
    expect(stdout).toMatch(/^2 clauses passed, 0 failed, 0 not announced /m);
  });
});

describe('the command', () => {
  it('prints a line a check, names exactly what a server breaks, and ends with 1', async () => {
    const server = await startOldServer();
    ended.push(() => server.close());
    server.intercept = (request, response) => {
      if (`${request.method} ${request.url}` !== 'DELETE /api/storage') return false;
      server.data.clear();
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"success":true}');
      return true;
    };
    const { code, stdout } = await conform(server.url);
    expect(code).toBe(1);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.filter((line) => line.startsWith('failed'))).toEqual([
      'failed         2.10  DELETE /api/storage is 404 and wipes nothing',
    ]);
    expect(stdout).toContain('    DELETE /api/storage must answer 404 or 405, but answered 200');
    expect(lines.at(-1)).toMatch(
      /^11 clauses passed, 1 failed, \d+ not announced \(level 0, \d+ checks, [\d.]+ s\)$/,
    );
    for (const line of lines.slice(0, -1))
      expect(line).toMatch(/^(passed {7}|failed {7}|not announced) {2}\d|^ {4}/);
  });

  it('refuses a server that holds keys, unless told to wipe it', async () => {
    const server = await startOldServer();
    ended.push(() => server.close());
    server.data.set('precious', 1);
    const refused = await conform(server.url);
    expect([refused.code, refused.stdout]).toEqual([2, '']);
    expect(refused.stderr).toContain('holds 1 keys');
    expect([...server.data]).toEqual([['precious', 1]]);
    expect((await conform(server.url, '--wipe', '--only', '2.3')).code).toBe(0);
    expect(server.data.size).toBe(0);
  });

  it('refuses another tenant that holds keys too', async () => {
    const { env, args } = newTokens();
    const server = await startTypescriptServer({ env });
    ended.push(() => server.stop());
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${args.at(-1)}` };
    await fetch(`${server.url}/api/storage/a`, { method: 'PUT', headers, body: '{"value":1}' });
    expect(await conform(server.url, ...args)).toMatchObject({ code: 2, stdout: '' });
    expect((await fetch(`${server.url}/api/storage/a`, { headers })).status).toBe(200);
  });

  it('ends with 2 when it cannot be used, and says why', async () => {
    const port = await freePort();
    const web = createServer((_, response) => response.end('<html>'));
    const webPort = await listen(web);
    ended.push(async () => web.close());
    const { env, args } = newTokens();
    const withTokens = await startTypescriptServer({ env });
    ended.push(() => withTokens.stop());
    const uses: ReadonlyArray<readonly [args: readonly string[], says: string]> = [
      [[], 'One URL is needed'],
      [['localhost:5001'], "must be the server's address"],
      [['http://localhost:1', 'http://localhost:2'], 'One URL is needed'],
      [['--unknown', 'http://localhost:1'], '--unknown'],
      [[`http://127.0.0.1:${port}`], 'cannot be reached'],
      [[`http://127.0.0.1:${webPort}`], 'is no storage server'],
      [[withTokens.url], '--token'],
      [[withTokens.url, '--token', 'unknown'], '401'],
      [[withTokens.url, '--token', args[3] ?? ''], 'must be a token with scope admin'],
      [[withTokens.url, ...args, '--only', '12.1'], '--only'],
    ];
    for (const [use, says] of uses) {
      const { code, stdout, stderr } = await conform(...use);
      expect([use, code, stdout]).toEqual([use, 2, '']);
      expect(stderr).toContain(says);
    }
  });

  it('--help says how it is used', async () => {
    const { code, stdout } = await conform('--help');
    expect(code).toBe(0);
    for (const option of [
      '<url>',
      '--token',
      '--read-token',
      '--write-token',
      '--other-token',
      '--wipe',
      '--json',
    ])
      expect(stdout).toContain(option);
  });
});

function byClause(a: string, b: string): number {
  const [first = 0, second = 0] = a.split('.').map(Number);
  const [otherFirst = 0, otherSecond = 0] = b.split('.').map(Number);
  return first - otherFirst || second - otherSecond;
}
