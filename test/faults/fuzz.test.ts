/**
 * Whatever is sent, the servers answer with no 5xx but 503 and 507, in JSON, and go on serving (docs/contract.md, 9.4).
 *
 * `FUZZ_SEED` repeats a run; what a finding prints is the request itself.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { type Loot, newClient } from './fuzz-bodies.ts';
import { type FuzzRequest, fuzzRequest } from './fuzz-requests.ts';
import { randomOf, seedFrom } from './random.ts';
import { type Heard, type RawAnswer, sendRaw } from './raw-http.ts';

const EXECUTIONS = 4000;
const TIME_LIMIT = 30_000;
const LANES = 4;
/** Milliseconds that an answer may take; and a whole request may be waited for that is none. */
const ANSWER_LIMIT = 15_000;
const SILENCE = 40;
const seed = seedFrom('FUZZ_SEED');

/** What was found wrong, the request with it. */
interface Finding {
  readonly execution: number;
  readonly complaint: string;
  readonly request: string;
}

interface Campaign {
  readonly executions: number;
  readonly statuses: ReadonlyMap<number, number>;
  readonly findings: readonly Finding[];
}

async function fuzz(url: string, executions: number, pipelining: boolean): Promise<Campaign> {
  const loot: Loot = { revisions: [], epochs: [], cursors: [] };
  const statuses = new Map<number, number>();
  const findings: Finding[] = [];
  const deadline = Date.now() + TIME_LIMIT;
  let done = 0;

  async function lane(first: number): Promise<void> {
    const client = newClient(randomOf(seed + first));
    const surroundings = { loot, client, pipelining, headers: [] };
    for (let i = first; i < executions && Date.now() < deadline && findings.length < 20; i += LANES) {
      const request = fuzzRequest(randomOf(seed + i * 0x9e3779b9), surroundings);
      const heard = await sendRaw(url, {
        pieces: request.pieces,
        methods: request.methods,
        patienceMs: request.isHttp ? ANSWER_LIMIT : SILENCE,
      });
      done += 1;
      for (const answer of heard.answers) {
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        plunder(loot, answer.body);
      }
      const complaint = complaintAbout(request, heard);
      if (complaint !== undefined)
        findings.push({ execution: i, complaint, request: printable(Buffer.concat(request.pieces)) });
    }
  }

  await Promise.all(Array.from({ length: LANES }, (_, first) => lane(first)));
  return { executions: done, statuses, findings };
}

/** Keep what makes later requests get further. */
function plunder({ revisions, epochs, cursors }: Loot, body: string): void {
  const find = (pattern: RegExp, into: string[]): void => {
    const found = pattern.exec(body)?.[1];
    if (found !== undefined && into.push(found) > 20) into.shift();
  };
  find(/"rev":"(\d+)"/, revisions);
  find(/"epoch":"([^"]+)"/, epochs);
  find(/"next":"([^"]+\.\d+)"/, cursors);
}

function complaintAbout(request: FuzzRequest, { answers, rest, closed }: Heard): string | undefined {
  for (const [i, answer] of answers.entries()) {
    if (answer.status >= 500 && answer.status !== 503 && answer.status !== 507)
      return `a ${answer.status}: ${answer.body}`;
    const complaint = complaintAboutBody(answer, request.methods[i] ?? '', request.isHttp);
    if (complaint !== undefined) return complaint;
  }
  if (!request.isHttp) return undefined;
  if (rest.length > 0) return `bytes that are no answer: ${printable(rest)}`;
  const endless = answers.at(-1)?.headers.get('content-type') === 'text/event-stream';
  const isLast = endless || /close/i.test(answers.at(-1)?.headers.get('connection') ?? '');
  if (isLast || answers.length === request.methods.length) return undefined;
  return `${answers.length} answers of ${request.methods.length}, ${closed ? 'and the connection was closed' : 'in time'}`;
}

function complaintAboutBody(answer: RawAnswer, method: string, isHttp: boolean): string | undefined {
  const { status, headers, body } = answer;
  const type = headers.get('content-type')?.split(';')[0];
  if (method === 'HEAD' || status === 204 || status === 304) return undefined;
  if (type === 'text/event-stream' || (type === 'application/x-ndjson' && status === 200)) return undefined;
  // gunicorn's own, about what is no HTTP.
  if (type === 'text/html' && /close/.test(headers.get('connection') ?? '') && !isHttp) return undefined;
  if (type !== 'application/json' && type !== 'application/problem+json')
    return `a ${status} of type ${type}: ${body}`;
  try {
    JSON.parse(body);
  } catch {
    return `a ${status} that is no JSON: ${printable(Buffer.from(body))}`;
  }
  return undefined;
}

/** With runs of one byte cut short. */
const printable = (bytes: Buffer): string =>
  JSON.stringify(
    bytes
      .toString('latin1')
      .replace(/(.{1,12}?)\1{20,}/gs, (run, unit: string) => `${unit}<${run.length} bytes>`),
  ).slice(0, 1500);

const figures = ({ executions, statuses, findings }: Campaign): string =>
  `seed ${seed}: ${executions} executions, ${findings.length} findings; answers by status: ` +
  [...statuses]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${status}: ${count}`)
    .join(', ');

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

interface Subject {
  readonly name: string;
  readonly start: () => Promise<RunningServer>;
  readonly skip: string | undefined;
  /** gunicorn's threads forget a request that came with the one before it, until more bytes come. */
  readonly pipelines: boolean;
  /** A line of its output that tells of a crash. */
  readonly crashed: RegExp;
}

const SUBJECTS: Subject[] = [
  {
    name: 'TypeScript server',
    start: startTypescriptServer,
    skip: undefined,
    pipelines: true,
    crashed: /"level":"(?:error|fatal)"|^ {4}at /m,
  },
  {
    name: 'Flask server',
    start: () => startFlaskServer({ env: { WORKERS: '2' } }),
    skip: flaskSkipReason(),
    pipelines: false,
    crashed: /Traceback|Worker .*(?:exit|timeout|terminated)/i,
  },
];

for (const { name, start, skip, crashed, pipelines } of SUBJECTS)
  describe.skipIf(skip)(name, () => {
    let server: RunningServer | undefined;
    afterAll(() => server?.stop());

    it('answers whatever is sent, and goes on serving', async ({ annotate }) => {
      server = await start();
      const before = residentMebibytes(server.pid);
      const campaign = await fuzz(server.url, EXECUTIONS, pipelines);
      const grown = residentMebibytes(server.pid) - before;
      await annotate(`${figures(campaign)}; memory grew by ${Math.round(grown)} MiB`);
      expect(campaign.findings).toEqual([]);
      expect(server.output()).not.toMatch(crashed);
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
      expect(grown).toBeLessThan(300);
    }, 90_000);
  });
