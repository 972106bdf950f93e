/** A key that no server takes, such as old ones hold: everything else gets out, and it is named. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { makeOldFile } from '../support/old-file.ts';
import { type OldServer, startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, run } from './command.ts';
import { backupOf, heldBy, textsOf } from './data.ts';

const LONG = 'k'.repeat(1025);
const REST = { a: '1', z: '"last"' };

async function oldServer(): Promise<OldServer> {
  const old = await startOldServer();
  onTestFinished(old.close);
  for (const [key, value] of [
    ['a', 1],
    [LONG, 'kept'],
    ['z', 'last'],
  ] as const)
    old.data.set(key, value);
  return old;
}

async function ending(args: readonly string[], stdin?: string) {
  const { code, stdout, stderr } = await run([...args, '--json'], { ...(stdin !== undefined && { stdin }) });
  return { code, stderr, ...JSON.parse(stdout) };
}

it('one such key ends an export, says which, and what to do', async () => {
  const old = await oldServer();
  const { code, stderr } = await run(['export', old.url, '-']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/a key that cannot be stored.*1025 bytes.*--leave-out/);
});

it('is left out of exports, backups and migrations where that is asked for, named, and the exit code is 6', async () => {
  const old = await oldServer();
  const target = await startTypescriptServer();
  onTestFinished(async () => void (await target.stop()));
  const folder = freshFolder();
  const left = { ok: true, code: 6, leftOut: 1, leftOutKeys: [LONG] };

  const file = join(folder, 'backup.ndjson');
  const exported = await ending(['export', old.url, file, '--leave-out']);
  expect(exported).toMatchObject({ ...left, keys: 2 });
  expect(exported.stderr).toMatch(/Left out 1 invalid key of .*: "kkk/);
  expect(await textsOf(readFileSync(file))).toEqual(REST);
  const piped = await run(['export', old.url, '--format', 'json', '--leave-out']);
  expect([piped.code, JSON.parse(piped.stdout)]).toEqual([6, { a: 1, z: 'last' }]);

  const backup = await ending(['backup', old.url, '--once', '--dir', folder, '--leave-out']);
  expect(backup).toMatchObject({ ...left, keys: 2, verified: true });
  expect(await textsOf(readFileSync(backup.file))).toEqual(REST);

  const migrated = await ending(['migrate', old.url, target.url, '--leave-out']);
  expect(migrated).toMatchObject({ ...left, imported: 2, verified: 2 });
  expect(await heldBy(target.url)).toEqual(REST);
  expect(await ending(['export', target.url, file, '--force', '--leave-out'])).toMatchObject({
    code: 0,
    leftOut: 0,
  });
});

it('is left out just as well where a server of level 1 has taken over an old database', async () => {
  const folder = freshFolder();
  const databasePath = join(folder, 'old.db');
  makeOldFile(databasePath, { ...REST, [LONG]: '2' });
  const server = await startTypescriptServer({ databasePath });
  onTestFinished(async () => void (await server.stop()));
  const file = join(folder, 'backup.ndjson');
  expect(await ending(['export', server.url, file])).toMatchObject({ ok: false, code: 1 });
  const exported = await ending(['export', server.url, file, '--leave-out']);
  expect(exported).toMatchObject({ code: 6, keys: 2, leftOutKeys: [LONG] });
  expect(await textsOf(readFileSync(file))).toEqual(REST);
});

it('in a file keeps an import from sending anything, unless it is left out', async () => {
  const target = await startTypescriptServer();
  onTestFinished(async () => void (await target.stop()));
  const file = join(freshFolder(), 'old.json');
  writeFileSync(file, JSON.stringify({ a: 1, [LONG]: 2, z: 'last' }));
  const refused = await ending(['import', target.url, file]);
  expect(refused).toMatchObject({ ok: false, code: 5 });
  expect(refused.stderr).toContain('import --leave-out');
  expect(await heldBy(target.url)).toEqual({});
  const taken = await ending(['import', target.url, file, '--leave-out', '--mode', 'fail']);
  expect(taken).toMatchObject({ ok: true, code: 6, imported: 2, verified: 2, leftOutKeys: [LONG] });
  expect(await heldBy(target.url)).toEqual(REST);
  const lines = backupOf([
    ['b', '3'],
    [LONG, '2'],
  ]);
  expect(await ending(['import', target.url, '-', '--leave-out'], lines)).toMatchObject({
    code: 6,
    imported: 1,
  });
  expect(await heldBy(target.url)).toEqual({ ...REST, b: '3' });
});

it('that the target held before keeps nothing from being verified there', async () => {
  const old = await oldServer();
  const imported = await ending(['import', old.url, '-'], '{"b":2}');
  expect(imported).toMatchObject({ ok: true, code: 0, imported: 1, verified: 1, leftOut: 0 });
  expect(old.data.get(LONG)).toBe('kept');
});
