/** What the command says of itself, and what it does with what it does not understand. */
import { readdirSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { startOldServer } from '../support/old-server.ts';
import { freshFolder, run } from './command.ts';

const OPTIONS: Record<string, string[]> = {
  status: ['--token', '--timeout'],
  export: ['--token', '--timeout', '--format', '--force', '--leave-out'],
  import: ['--token', '--timeout', '--mode', '--dry-run'],
  migrate: ['--from-token', '--to-token', '--timeout', '--mode', '--dry-run'],
  verify: [],
  backup: ['--token', '--timeout', '--every', '--once', '--keep', '--dir', '--name'],
  serve: ['--host', '--port', '--database', '--tokens-file', 'MAX_BODY_BYTES'],
  'token add': ['--file', '--expires', '--note'],
  'token rotate': ['--file', '--expires', '--grace'],
};

it.each(Object.keys(OPTIONS))('%s --help tells its options and the exit codes', async (name) => {
  const { code, stdout } = await run([...name.split(' '), '--help']);
  expect(code).toBe(0);
  const common = name === 'serve' ? [] : ['--json', '--quiet'];
  for (const option of [...common, ...(OPTIONS[name] ?? [])]) expect(stdout).toContain(option);
  for (const exitCode of [0, 1, 2, 3, 4, 5]) expect(stdout).toMatch(new RegExp(`^  ${exitCode}  `, 'm'));
});

it('--help names every command', async () => {
  const { code, stdout } = await run(['--help']);
  expect(code).toBe(0);
  for (const name of Object.keys(OPTIONS).map((words) => words.split(' ')[0]))
    expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
});

it.each([
  [[]],
  [['restore']],
  [['status']],
  [['status', 'localhost:5001']],
  [['status', 'http://localhost:5001', '--timeout', '0']],
  [['status', 'http://localhost:5001', '--token', 'with space']],
  [['export', 'http://localhost:5001', '--format', 'xml']],
  [['import', 'http://localhost:5001', 'file', '--mode', 'merge']],
  [['migrate', 'http://localhost:5001', 'http://localhost:5001/']],
  [['verify']],
  [['backup', 'http://localhost:5001']],
  [['backup', 'http://localhost:5001', '--every', 'often']],
  [['backup', 'http://localhost:5001', '--every', '61 * * * *']],
  [['backup', 'http://localhost:5001', '--every', '1h', '--once']],
  [['backup', 'http://localhost:5001', '--every', '1h', '--keep', '0']],
  [['backup', 'http://localhost:5001', '--every', '1h', '--name', '../x']],
])('%j is wrong usage: exit code 2, and nothing is written', async (args) => {
  const cwd = freshFolder();
  const { code, stderr } = await run(args, { cwd });
  expect(code).toBe(2);
  expect(stderr).not.toBe('');
  expect(readdirSync(cwd)).toEqual([]);
});

it('a malformed token is not shown', async () => {
  const env = { CODEFORGE_STORAGE_TOKEN: 'se cret' };
  const { code, stdout, stderr } = await run(['status', 'http://localhost:5001'], { env });
  expect(code).toBe(2);
  expect(stdout + stderr).not.toContain('cret');
});

it('an address without a scheme gets a hint', async () => {
  const { stderr } = await run(['status', 'localhost:5001']);
  expect(stderr).toContain('did you mean http://localhost:5001?');
});

it('a backup folder that cannot be created ends the start', async () => {
  const cwd = freshFolder();
  const { code, stderr } = await run(['verify', cwd, '--quiet']);
  expect(code).toBe(1);
  expect(stderr).toContain('it is a folder');
  const file = process.execPath;
  const started = await run(['backup', 'http://localhost:5001', '--every', '1h', '--dir', `${file}/below`]);
  expect(started.code).toBe(1);
  expect(started.stderr).toContain(file);
});

it('--quiet prints nothing but errors, and data on stdout stays alone', async () => {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('a', 1);
  expect(await run(['status', old.url, '--quiet'])).toEqual({ code: 0, stdout: '', stderr: '' });
  const { code, stdout, stderr } = await run(['export', old.url, '-', '--format', 'json', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ a: 1 });
  expect(JSON.parse(stderr)).toMatchObject({ ok: true, keys: 1 });
});
