/**
 * Whatever is sent, the servers answer with no 5xx but 503 and 507, in JSON, and go on serving (docs/contract.md, 9.4).
 *
 * `FUZZ_SEED` repeats a run; a finding prints the request itself.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { figures, fuzz } from './fuzzing.ts';
import { seedFrom } from './random.ts';

/** For each of the two ways to run a server. */
const EXECUTIONS = 2000;
/** MiB by which a server may grow meanwhile, all its processes together. */
const MOST_GROWTH = 300;
const seed = seedFrom('FUZZ_SEED');

interface Subject {
  readonly name: string;
  readonly start: (env: Record<string, string>) => Promise<RunningServer>;
  readonly skip: string | undefined;
  /** gunicorn's threads forget a request that came with the one before it, until more bytes come. */
  readonly pipelining: boolean;
  /** What its output tells of a crash. */
  readonly crash: RegExp;
}

const SUBJECTS: Subject[] = [
  {
    name: 'TypeScript server',
    start: (env) => startTypescriptServer({ env }),
    skip: undefined,
    pipelining: true,
    crash: /"level":"(?:error|fatal)"|^ {4}at /m,
  },
  {
    name: 'Flask server',
    start: (env) => startFlaskServer({ env: { WORKERS: '2', ...env } }),
    skip: flaskSkipReason(),
    pipelining: false,
    crash: /Traceback|\[(?:ERROR|CRITICAL)\]/,
  },
];

for (const { name, start, skip, pipelining, crash } of SUBJECTS)
  describe.skipIf(skip)(name, () => {
    it('answers whatever anybody sends, and goes on serving', async ({ annotate }) => {
      const server = await start({});
      const before = residentMebibytes(server.pid);
      const campaign = await fuzz({ url: server.url, seed, executions: EXECUTIONS, pipelining });
      const growth = Math.round(residentMebibytes(server.pid) - before);
      await annotate(`seed ${seed}: ${figures(campaign)}; memory grew by ${growth} MiB`);
      expect(campaign.findings).toEqual([]);
      expect(server.output()).not.toMatch(crash);
      expect(growth).toBeLessThan(MOST_GROWTH);
      await expectInOrder(server);
      await server.stop();
    }, 90_000);

    it('answers whatever a tenant sends, and keeps what is another one’s', async ({ annotate }) => {
      const server = await start({
        TOKENS: `fuzzer:admin:${hashOf('fuzz')} witness:admin:${hashOf('watch')}`,
      });
      const asWitness = { authorization: 'Bearer watch' };
      const exported = async () =>
        (await fetch(`${server.url}/api/v1/export`, { headers: asWitness })).text().then(withoutTime);
      await expectInOrder(server, asWitness);
      const before = await exported();
      const headers = ['Authorization: Bearer fuzz'];
      const campaign = await fuzz({ url: server.url, seed, executions: EXECUTIONS, headers, pipelining });
      await annotate(`seed ${seed}: ${figures(campaign)}`);
      expect(campaign.findings).toEqual([]);
      expect(server.output()).not.toMatch(crash);
      expect(before).toContain('"key":"__proto__"');
      expect(await exported()).toBe(before);
      await server.stop();
    }, 90_000);
  });

/** Clear it and store some keys, among them what a polluted prototype would show. */
async function expectInOrder({ url }: RunningServer, headers: Record<string, string> = {}): Promise<void> {
  const send = (method: string, path: string, body?: string) =>
    fetch(url + path, {
      method,
      headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body }),
    });
  const exported = async () => (await send('GET', '/api/storage/export')).text();
  expect((await send('POST', '/api/storage/clear')).status).toBe(200);
  expect(await exported()).toBe('{}');
  for (const key of ['polluted', '__proto__', 'constructor', 'toString'])
    expect((await send('GET', `/api/storage/${key}`)).status).toBe(404);
  for (const key of ['a', '__proto__']) await send('PUT', `/api/storage/${key}`, '{"value":{"polluted":1}}');
  expect(await exported()).toBe('{"__proto__":{"polluted":1},"a":{"polluted":1}}');
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

const withoutTime = (text: string): string => text.replace(/"(?:timestamp|sha256)":"[^"]*"/g, '');

/** The resident memory of a process and its children, in MiB; 0 where the system does not tell. */
function residentMebibytes(pid: number): number {
  let pages = 0;
  try {
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      const [, parent] = /\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
      if (Number(name) === pid || Number(parent) === pid)
        pages += Number(readFileSync(`/proc/${name}/statm`, 'utf8').split(' ')[1]);
    }
  } catch {
    // Not Linux, or a process that ended while it was looked at.
  }
  return (pages * 4096) / 2 ** 20;
}
