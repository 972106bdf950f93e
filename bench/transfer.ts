/**
 * Export piped into import, between two servers: time, and how much memory each needs above its idle value.
 *
 * Fails when a key is lost or changed on the way.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { flaskSkipReason, startFlaskServer } from '../test/support/flask-server.ts';
import type { RunningServer } from '../test/support/running-server.ts';
import { startTypescriptServer } from '../test/support/typescript-server.ts';

const KEYS = 200_000;
const QUICK_KEYS = 5000;
const VALUE = 'x'.repeat(1000);
const NDJSON = { 'content-type': 'application/x-ndjson' };
/** Milliseconds between two looks at a server's memory. */
const SAMPLE = 20;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** A kind of server. */
interface Kind {
  readonly name: string;
  start(databasePath: string): Promise<RunningServer>;
}

export async function benchTransfer(quick: boolean): Promise<void> {
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
  say(`\nExport | import of ${keys} keys of 1 KB; memory above idle (resident, all processes of a server)`);
  for (const [from, to] of pairs) say(await transfer(from, to, keys));
  if (reason !== undefined) say(`The Flask server was left out: ${reason}`);
}

async function transfer(from: Kind, to: Kind, keys: number): Promise<string> {
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
      const [exporting, importing] = memory.map((stop) => stop());
      if (imported !== keys || (await digestOf(target)) !== (await digestOf(source)))
        throw new Error(`${imported} of ${keys} keys arrived, or not as they were`);
      const pair = `${from.name} → ${to.name}`.padEnd(26);
      return `${pair}${seconds.toFixed(1)} s, ${Math.round(keys / seconds)} keys/s, export +${exporting} MB, import +${importing} MB`;
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

/** Watch a server's memory from now on; the function that is returned ends that, and tells the peak above now in MB. */
async function watchMemory(server: RunningServer): Promise<() => number> {
  const idle = await residentBytes(server.pid);
  let peak = idle;
  const timer = setInterval(async () => {
    peak = Math.max(peak, await residentBytes(server.pid));
  }, SAMPLE);
  return () => {
    clearInterval(timer);
    return Math.round((peak - idle) / 1e6);
  };
}

/** Of a process and its children. */
async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const own = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
  const inner = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => residentBytes(Number(child))),
  );
  return inner.reduce((sum, bytes) => sum + bytes, own);
}
