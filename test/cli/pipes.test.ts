/** Pipes on either side: what goes into them is data or nothing, whoever lets go of one is no reason to hang, and one can be read once only. */
import { execFileSync } from 'node:child_process';
import { createWriteStream, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { always, json, type OldServer, startOldServer } from '../support/old-server.ts';
import { freePort } from '../support/ports.ts';
import { freshFolder, run, start } from './command.ts';
import { asObject } from './data.ts';

async function oldServer(megabytes = 0): Promise<OldServer> {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('a', 1);
  for (let n = 0; n < megabytes; n += 1) old.data.set(`large ${n}`, 'x'.repeat(1024 * 1024));
  return old;
}

it('whoever reads an export from a pipe gets no failure to read, which could be taken for a backup', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  for (const [args, exitCode] of [
    [['export', url], 3],
    [['export', url, '-'], 3],
    [['export', url, '-', '--token', 'with space'], 2],
    [['export', url, '-', '--format', 'xml'], 2],
  ] as const) {
    const { code, stdout, stderr } = await run([...args, '--json']);
    expect([code, stdout]).toEqual([exitCode, '']);
    // One line, and nothing else.
    expect(JSON.parse(stderr)).toMatchObject({ ok: false, exitCode, error: expect.any(String) });
  }
});

it('an export whose reader goes away ends at once, with 1 and a word about it', async () => {
  const old = await oldServer(20);
  const running = start(['export', old.url]);
  running.child.stdout?.once('data', () => running.child.stdout?.destroy());
  const { code, stderr } = await running.ended;
  expect(code).toBe(1);
  expect(stderr).toContain('stdout: the reader closed it');
});

it('results whose reader goes away are not printed, and what is done is done', async () => {
  const old = await oldServer();
  const folder = freshFolder();
  const files = Array.from({ length: 3 }, (_, i) => join(folder, `${i}`));
  for (const file of files) writeFileSync(file, '{}');
  const running = start(['verify', ...files, join(folder, 'nothing')]);
  running.child.stdout?.destroy();
  const { code, stderr } = await running.ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/nothing: it does not exist/);
  expect(stderr).not.toContain('EPIPE');
  const backup = start(['backup', old.url, '--once', '--dir', folder]);
  backup.child.stdout?.destroy();
  backup.child.stderr?.destroy();
  expect((await backup.ended).code).toBe(0);
  expect(readdirSync(folder)).toHaveLength(4);
});

it.skipIf(process.platform !== 'linux')('a result that cannot be printed is a failure', async () => {
  const file = join(freshFolder(), 'whole');
  writeFileSync(file, '{}');
  const { code, stderr } = await run(['verify', file], { stdout: '/dev/full' });
  expect(stderr).toMatch(/The result could not be printed: .*ENOSPC/);
  expect(code).toBe(1);
});

it.skipIf(process.platform === 'win32')(
  'a backup is imported from a named pipe, whose bytes come once',
  async () => {
    const old = await oldServer();
    const pipe = join(freshFolder(), 'pipe');
    execFileSync('mkfifo', [pipe]);
    const running = start(['import', old.url, pipe, '--json']);
    createWriteStream(pipe).end(asObject({ b: '"piped"' }));
    const { code, stdout, stderr } = await running.ended;
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ file: pipe, imported: 1, verified: 1 });
    expect(old.data.get('b')).toBe('piped');
  },
);

it.skipIf(process.platform === 'win32')(
  'a disk that takes no more: 1, the file is named, and no part of it stays',
  async () => {
    const old = await oldServer(2);
    const folder = freshFolder();
    const file = join(folder, 'backup');
    writeFileSync(file, 'the old one');
    const exported = await run(['export', old.url, file, '--force'], { fileBlocks: 512 });
    expect(exported.code).toBe(1);
    expect(exported.stderr).toMatch(new RegExp(`${file}: .*\\(write\\)`));
    expect(readdirSync(folder)).toEqual(['backup']);
    const env = { TMPDIR: folder };
    const imported = await run(['import', old.url, '-'], {
      env,
      fileBlocks: 512,
      stdin: asObject({ large: JSON.stringify('x'.repeat(1024 * 1024)) }),
    });
    expect(imported.code).toBe(1);
    expect(imported.stderr).toMatch(new RegExp(`${folder}.*\\(write\\)`));
    expect(readdirSync(folder)).toEqual(['backup']);
    expect(old.seen.filter(({ method }) => method !== 'GET')).toEqual([]);
  },
);

it('with --json every failure is one line of JSON', async () => {
  const old = await oldServer();
  old.intercept = always(500, json, '{"error":"broken"}');
  const folder = freshFolder();
  for (const [args, exitCode] of [
    [['restore'], 2],
    [[], 2],
    [['status'], 2],
    [['status', old.url], 3],
    [['import', old.url, join(folder, 'nothing')], 1],
    [['import', old.url, '-'], 5],
    [['backup', old.url, '--once', '--dir', folder], 3],
  ] as const) {
    const { code, stdout } = await run([...args, '--json'], { stdin: '{"cut' });
    expect(code, args.join(' ')).toBe(exitCode);
    expect(JSON.parse(stdout), args.join(' ')).toMatchObject({ ok: false, exitCode });
  }
});
