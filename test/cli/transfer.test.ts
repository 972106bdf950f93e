/** Between all kinds of servers, values arrive digit by digit, and each key is compared. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { fingerprint } from '../../src/cli/files/fingerprint.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import { always, json, startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, run, runJson } from './command.ts';
import { asObject, EXACT, heldBy, ORDINARY, store, type Texts, textsOf } from './data.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

interface Server {
  readonly url: string;
  stop(): Promise<unknown>;
}

interface Kind {
  readonly name: string;
  readonly level: 0 | 1;
  start(): Promise<Server>;
}

const KINDS: Kind[] = [
  { name: 'the reference server', level: 1, start: startTypescriptServer },
  {
    name: 'an old server',
    level: 0,
    start: async () => {
      const old = await startOldServer('/deep/base');
      return { url: old.url, stop: old.close };
    },
  },
];
if (flaskSkipReason() === undefined)
  KINDS.push({ name: 'the Flask server', level: 1, start: startFlaskServer });

/** What runs, one a kind and a role. */
const servers = new Map<string, Promise<Server>>();
afterAll(async () => {
  for (const server of servers.values()) await (await server).stop();
});

/** An empty server. */
async function started(kind: Kind, role: 'source' | 'target' = 'target'): Promise<string> {
  const name = `${role} ${kind.name}`;
  const starting = servers.get(name) ?? kind.start();
  servers.set(name, starting);
  const { url } = await starting;
  expect((await fetch(`${url}/api/storage/clear`, { method: 'POST' })).status).toBe(200);
  return url;
}

const fingerprints = (texts: Texts): Record<string, string> =>
  Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, fingerprint(text)]));

/** An old server spoils numbers that doubles have no room for. */
const textsBetween = (from: Kind, to: Kind): Texts => (from.level === 1 && to.level === 1 ? EXACT : ORDINARY);

/** What a server of either level holds, by its own export. */
const exportedBy = async (url: string): Promise<Texts> =>
  textsOf(await (await fetch(`${url}/api/storage/export`)).text());

describe.each(KINDS)('from $name', (from) => {
  it('an export is whole, and what it was at every kind of server, where each key is compared', async () => {
    const file = join(freshFolder(), 'backup.ndjson');
    for (const texts of from.level === 1 ? [EXACT, ORDINARY] : [ORDINARY]) {
      const source = await started(from, 'source');
      await store(source, texts);
      const keys = Object.keys(texts).length;
      expect(await runJson(['export', source, file, '--force'])).toMatchObject({ ok: true, keys });
      expect(await runJson(['verify', file])).toMatchObject({ keys, checksum: 'verified' });
      const backup = await textsOf(readFileSync(file));
      if (from.level === 1) expect(backup).toEqual(texts);
      const piped = await run(['export', source, '-', '--format', 'json']);
      expect(fingerprints(await textsOf(piped.stdout))).toEqual(fingerprints(texts));
      for (const to of KINDS.filter((kind) => textsBetween(from, kind) === texts)) {
        const target = await started(to);
        const imported = await runJson(['import', `${target}/`, file]);
        expect(imported, to.name).toMatchObject({ imported: keys, verified: keys });
        if (to.level === 1) expect(await heldBy(target), to.name).toEqual(backup);
        expect(fingerprints(await exportedBy(target)), to.name).toEqual(fingerprints(texts));
      }
    }
  });

  it.each(KINDS)('to $name: a migration verifies every key', async (to) => {
    const source = await started(from, 'source');
    const target = await started(to);
    const texts = textsBetween(from, to);
    await store(source, texts);
    const keys = Object.keys(texts).length;
    expect(await runJson(['migrate', source, target])).toMatchObject({ imported: keys, verified: keys });
    if (texts === EXACT) expect(await heldBy(target)).toEqual(texts);
    expect(fingerprints(await exportedBy(target))).toEqual(fingerprints(texts));
  });
});

describe.each(KINDS)('into $name', (kind) => {
  const fixture = async (): Promise<{ url: string; file: string }> => {
    const url = await started(kind);
    const file = join(freshFolder(), 'backup.json');
    await store(url, { there: '"theirs"', other: '1' });
    writeFileSync(file, asObject({ there: '"mine"', fresh: '2' }));
    return { url, file };
  };

  it('a dry run of a migration stores nothing', async () => {
    const source = await started(KINDS[0] as Kind, 'source');
    const target = await started(kind);
    await store(source, ORDINARY);
    const keys = Object.keys(ORDINARY).length;
    expect(await runJson(['migrate', source, target, '--dry-run'])).toMatchObject({
      imported: keys,
      verified: 0,
    });
    expect(await exportedBy(target)).toEqual({});
    expect(await runJson(['status', target])).toMatchObject({ keys: 0, level: kind.level });
  });

  it('overwrite replaces what is there, and keeps what only the server has', async () => {
    const { url, file } = await fixture();
    expect(await runJson(['import', url, file])).toMatchObject({ imported: 2, skipped: 0, verified: 2 });
    expect(await exportedBy(url)).toEqual({ there: '"mine"', other: '1', fresh: '2' });
  });

  it('skip lets be what is there, and does not count it as verified', async () => {
    const { url, file } = await fixture();
    const skip = ['import', url, file, '--mode', 'skip'];
    expect(await runJson([...skip, '--dry-run'])).toMatchObject({ imported: 1, skipped: 1, verified: 0 });
    expect(await exportedBy(url)).toEqual({ there: '"theirs"', other: '1' });
    expect(await runJson(skip)).toMatchObject({ imported: 1, skipped: 1, verified: 1 });
    expect(await exportedBy(url)).toEqual({ there: '"theirs"', other: '1', fresh: '2' });
  });

  it('fail names the keys that are there, and sends nothing', async () => {
    const { url, file } = await fixture();
    const { code, stdout, stderr } = await run(['import', url, file, '--mode', 'fail', '--json']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/already has 1 key of .*"there".*Nothing was sent/);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, exitCode: 1, existingKeys: ['there'] });
    expect(await exportedBy(url)).toEqual({ there: '"theirs"', other: '1' });
  });
});

it('an old server that spoils a number is found out', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  const { code, stdout, stderr } = await run(['import', old.url, '-', '--json'], { stdin: asObject(EXACT) });
  expect(code).toBe(1);
  expect(stderr).toContain('1 key with a different value ("12345678901234567890")');
  const keys = Object.keys(EXACT).length;
  expect(JSON.parse(stdout)).toMatchObject({ verified: keys - 1, different: 1, missing: 0 });
});

it('an old server gets pages of at most 4 MiB', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  const texts = Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [`key ${i}`, JSON.stringify('é'.repeat(250_000))]),
  );
  expect(await runJson(['import', old.url, '-'], { stdin: asObject(texts) })).toMatchObject({ verified: 30 });
  const pages = old.seen.filter(({ url }) => url.endsWith('/import'));
  expect(pages.length).toBeGreaterThan(2);
  for (const { bytes } of pages) expect(bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
});

it('an old server may hold a key that looks like the header of a backup', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('format', 'codeforge-storage').set('a', 1);
  const { code, stdout } = await run(['export', old.url]);
  expect(code).toBe(0);
  expect(await textsOf(stdout)).toEqual({ a: '1', format: '"codeforge-storage"' });
});

it('a byte order mark is not sent to a server', async () => {
  const server = await startTypescriptServer();
  onTestFinished(async () => void (await server.stop()));
  const stdin =
    '\ufeff{"format":"codeforge-storage","version":1}\n{"key":"a","value":1}\n{"end":true,"count":1}\n';
  expect(await runJson(['import', server.url, '-'], { stdin })).toMatchObject({ imported: 1, verified: 1 });
});

it('an export keeps the epoch, the sequence number and the revisions of the server, and gets a checksum', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  const lines =
    '{"format":"codeforge-storage","version":1,"epoch":"e","seq":7}\n{"key":"a","rev":"1","value":1.10}\n';
  const health = { status: 'ok', contract: 1, epoch: 'e', seq: 1, capabilities: ['batch', 'keys', 'ndjson'] };
  const answers: Record<string, string> = {
    '/health': JSON.stringify({ ...health, limits: { valueBytes: 1e6, batchOps: 100, bodyBytes: 1e6 } }),
    '/api/v1/stats': '{"keys":1,"sizeBytes":4,"epoch":"e","seq":1}',
    '/api/v1/export': `${lines}{"end":true,"count":1}\n`,
  };
  old.intercept = ({ url = '' }, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(answers[url]);
    return true;
  };
  const { code, stdout } = await run(['export', old.url]);
  expect(code).toBe(0);
  const [header = '', record, last = ''] = stdout.split('\n');
  expect(JSON.parse(header)).toMatchObject({ version: 1, epoch: 'e', seq: 7, keys: 1 });
  expect(record).toBe('{"key":"a","rev":"1","value":1.10}');
  expect(last).toMatch(/^\{"end":true,"count":1,"sha256":"[0-9a-f]{64}"\}$/);
  expect(await textsOf(stdout)).toEqual({ a: '1.10' });
});

it('an old server that cannot count can be exported', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('a', 1);
  old.intercept = (request, response, body) =>
    request.url === '/api/storage/stats' && always(500, json, '{}')?.(request, response, body) === true;
  expect(await textsOf((await run(['export', old.url])).stdout)).toEqual({ a: '1' });
});
