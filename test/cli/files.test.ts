/** Where an export is written: an existing file is never lost by accident, and pipes and devices work as they do with other commands. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { json, type OldServer, startOldServer } from '../support/old-server.ts';
import { freePort } from '../support/ports.ts';
import { freshFolder, run, start } from './command.ts';
import { textsOf } from './data.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

const isWindows = process.platform === 'win32';

async function serverWithData(): Promise<OldServer> {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('a', 1);
  return old;
}

it('an export does not replace an existing file, and does not even ask the server', async () => {
  const cwd = freshFolder();
  writeFileSync(join(cwd, 'mine'), 'mine');
  symlinkSync('mine', join(cwd, 'link'));
  // Nothing listens there: the command would exit with 3.
  const url = `http://127.0.0.1:${await freePort()}`;
  for (const name of ['mine', 'link']) {
    const { code, stderr } = await run(['export', url, name], { cwd });
    expect(code).toBe(1);
    expect(stderr).toBe(
      `codeforge-storage: ${name} already exists. Use --force to replace it, or name another file. Nothing was written.\n`,
    );
  }
  expect(readFileSync(join(cwd, 'mine'), 'utf8')).toBe('mine');
  expect(readdirSync(cwd).sort()).toEqual(['link', 'mine']);
});

it('an export does not replace a file that appears while it runs', async () => {
  const cwd = freshFolder();
  const old = await serverWithData();
  old.intercept = ({ url }, response) => {
    if (url !== '/api/storage/export') return false;
    writeFileSync(join(cwd, 'late'), 'mine');
    response.writeHead(200, json).end('{"a":1}');
    return true;
  };
  const { code, stderr } = await run(['export', old.url, 'late'], { cwd });
  expect(code).toBe(1);
  expect(stderr).toContain('already exists');
  expect(readFileSync(join(cwd, 'late'), 'utf8')).toBe('mine');
  expect(readdirSync(cwd)).toEqual(['late']);
});

it('--force replaces a file, keeps its permissions, and follows a link', async () => {
  const cwd = freshFolder();
  const old = await serverWithData();
  writeFileSync(join(cwd, 'file'), 'previous');
  chmodSync(join(cwd, 'file'), 0o640);
  symlinkSync('file', join(cwd, 'link'));
  expect((await run(['export', old.url, 'link', '--force'], { cwd })).code).toBe(0);
  expect(lstatSync(join(cwd, 'link')).isSymbolicLink()).toBe(true);
  expect(await textsOf(readFileSync(join(cwd, 'file')))).toEqual({ a: '1' });
  if (!isWindows) expect(lstatSync(join(cwd, 'file')).mode & 0o777).toBe(0o640);
  expect(readdirSync(cwd).sort()).toEqual(['file', 'link']);
});

it('a link that leads nowhere, and a folder, are refused with and without --force', async () => {
  const cwd = freshFolder();
  const old = await serverWithData();
  symlinkSync('nowhere', join(cwd, 'dangling'));
  mkdirSync(join(cwd, 'folder'));
  for (const force of [[], ['--force']]) {
    const dangling = await run(['export', old.url, 'dangling', ...force], { cwd });
    expect(dangling.code).toBe(1);
    expect(dangling.stderr).toContain('dangling is a link to a file that does not exist: remove the link');
    const folder = await run(['export', old.url, 'folder', ...force], { cwd });
    expect(folder.code).toBe(1);
    expect(folder.stderr).toContain('folder is a folder: name a file in it');
  }
  expect(lstatSync(join(cwd, 'dangling')).isSymbolicLink()).toBe(true);
  expect(existsSync(join(cwd, 'nowhere'))).toBe(false);
});

it.skipIf(isWindows)('an export can be written into a named pipe and into a device', async () => {
  const cwd = freshFolder();
  const old = await serverWithData();
  const pipe = join(cwd, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const running = start(['export', old.url, pipe, '--json']);
  expect(await textsOf(await readFile(pipe))).toEqual({ a: '1' });
  const { code, stdout } = await running.ended;
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, file: pipe, keys: 1 });
  expect(lstatSync(pipe).isFIFO()).toBe(true);
  expect((await run(['export', old.url, '/dev/null'])).code).toBe(0);
  expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
});

it.skipIf(isWindows)('/dev/stdout is stdout: it gets the backup and nothing else', async () => {
  const old = await serverWithData();
  const { code, stdout, stderr } = await run(['export', old.url, '/dev/stdout']);
  expect(code).toBe(0);
  expect(await textsOf(stdout)).toEqual({ a: '1' });
  expect(stderr).toContain('Exported 1 key');
});

it.skipIf(isWindows)('a signal ends an export that waits for the reader of a named pipe', async () => {
  const pipe = join(freshFolder(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const old = await serverWithData();
  const running = start(['export', old.url, pipe]);
  await new Promise((resolve) => running.child.once('spawn', resolve));
  running.child.kill('SIGTERM');
  expect((await running.ended).code).not.toBe(0);
});
