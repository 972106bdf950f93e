/**
 * Export piped into import, between two servers: time, and how much memory each needs above its idle value.
 *
 * Fails when a key is lost or changed on the way.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { flaskSkipReason, startFlaskServer } from '../test/support/flask-server.ts';
import type { RunningServer } from '../test/support/running-server.ts';
import { startTypescriptServer } from '../test/support/typescript-server.ts';
import { watchMemory } from './harness/memory.ts';
import type { Section, Verdict } from './harness/report.ts';

const KEYS = 200_000;
const QUICK_KEYS = 5000;
const VALUE = 'x'.repeat(1000);
const NDJSON = { 'content-type': 'application/x-ndjson' };

/** MB above idle that neither side may need. */
const MEMORY_LIMIT = 100;

/** A kind of server. */
interface Kind {
  readonly name: string;
  start(databasePath: string): Promise<RunningServer>;
}

interface Transferred {
  readonly pair: string;
  readonly seconds: number;
  /** MB above idle. */
  readonly exporting: number;
  readonly importing: number;
}

export async function benchTransfer(quick: boolean): Promise<Section> {
  const keys = quick ? QUICK_KEYS : KEYS;
  const typescript: Kind = {
    name: 'TypeScript',
    start: (databasePath) => startTypescriptServer({ databasePath }),
  };
  const flask: Kind = {
    name: 'Flask',
    start: (databasePath) => startFlaskServer({ databasePath, env: { WORKERS: '1' } }),
  };
  const reason = flaskSkipReason();
  const pairs: ReadonlyArray<readonly [from: Kind, to: Kind]> = [
    [typescript, typescript],
    ...(reason === undefined
      ? ([
          [typescript, flask],
          [flask, typescript],
        ] as const)
      : []),
  ];
  const done: Transferred[] = [];
  for (const [from, to] of pairs) done.push(await transfer(from, to, keys));
  return {
    title: 'Export and import',
    versions: [],
    tables: [
      {
        title: `Export piped into import, ${keys} keys of 1 KB`,
        note: `Memory is the resident memory of all processes of a server, above its idle value.${reason === undefined ? '' : ` The Flask server was left out: ${reason}.`}`,
        header: ['From → to', 'Seconds', 'Keys/s', 'Export, MB', 'Import, MB'],
        rows: done.map(({ pair, seconds, exporting, importing }) => [
          pair,
          seconds.toFixed(1),
          String(Math.round(keys / seconds)),
          `+${exporting}`,
          `+${importing}`,
        ]),
      },
    ],
    verdicts: done.map(
      ({ pair, exporting, importing }): Verdict => ({
        workload: `${keys} keys, ${pair}`,
        target: `within ${MEMORY_LIMIT} MB of idle`,
        measured: `+${exporting} MB, +${importing} MB`,
        met: Math.max(exporting, importing) <= MEMORY_LIMIT,
      }),
    ),
  };
}

async function transfer(from: Kind, to: Kind, keys: number): Promise<Transferred> {
  const folder = await mkdtemp(join(tmpdir(), 'codeforge-bench-'));
  try {
    await fill(from, join(folder, 'source.db'), keys);
    const source = await from.start(join(folder, 'source.db'));
    const target = await to.start(join(folder, 'target.db'));
    try {
      const memory = [await watchMemory(source), await watchMemory(target)] as const;
      const begun = performance.now();
      const exported = await fetch(`${source.url}/api/v1/export`);
      const { imported } = await expectOk(await post(target, exported.body));
      const seconds = (performance.now() - begun) / 1000;
      const [exporting, importing] = [memory[0](), memory[1]()];
      if (imported !== keys || (await digestOf(target)) !== (await digestOf(source)))
        throw new Error(`${imported} of ${keys} keys arrived, or not as they were`);
      return { pair: `${from.name} → ${to.name}`, seconds, exporting, importing };
    } finally {
      await Promise.all([source.stop(), target.stop()]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** By a process of its own, so that what is measured starts with an idle one. */
async function fill(kind: Kind, databasePath: string, keys: number): Promise<void> {
  const server = await kind.start(databasePath);
  await expectOk(await post(server, bodyOf(keys)));
  await server.stop();
}

function post(server: RunningServer, body: BodyInit | null): Promise<Response> {
  return fetch(`${server.url}/api/v1/import`, {
    method: 'POST',
    headers: NDJSON,
    body,
    duplex: 'half',
  } as RequestInit);
}

async function expectOk(response: Response): Promise<{ imported: number }> {
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
  return JSON.parse(text);
}

/** An export, made as it is sent. */
function bodyOf(keys: number): BodyInit {
  return Readable.toWeb(Readable.from(linesOf(keys))) as ReadableStream;
}

function* linesOf(keys: number): Iterable<string> {
  yield '{"format":"codeforge-storage","version":1}\n';
  for (let from = 0; from < keys; from += 100) {
    let text = '';
    for (let i = from; i < Math.min(from + 100, keys); i += 1)
      text += `{"key":"key-${String(i).padStart(9, '0')}","value":"${i}${VALUE.slice(String(i).length)}"}\n`;
    yield text;
  }
  yield `{"end":true,"count":${keys}}\n`;
}

/** A digest of what a server holds, as it streams by. */
async function digestOf(server: RunningServer): Promise<string> {
  const response = await fetch(`${server.url}/api/storage/export`);
  const hash = createHash('sha256');
  for await (const chunk of response.body ?? []) hash.update(chunk);
  return hash.digest('hex');
}
