/** Backups again and again: each that is kept is whole, whatever happens meanwhile. */
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished, vi } from 'vitest';
import { parseSchedule, waitUntil } from '../../src/cli/commands/schedule.ts';
import { openBackupFolder } from '../../src/cli/files/backup-folder.ts';
import { always, json, type OldServer, startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, type Running, run, runJson, start } from './command.ts';
import { textsOf } from './data.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5);
}

interface Line {
  readonly ok: boolean;
  readonly file: string;
}
const linesOf = (running: Running): Line[] =>
  running
    .stdout()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** The name of a backup that was made a millisecond after another one. */
const later = (path: string): string =>
  path.replace(/([\d-]+)T(\d+)-(\d+)-(\d+)-(\d+)Z/, (_, day, ...time: string[]) => {
    const [hours, minutes, seconds, ms] = time;
    const made = Date.parse(`${day.slice(1)}T${hours}:${minutes}:${seconds}.${ms}Z`);
    return `-${new Date(made + 1).toISOString().replace(/[:.]/g, '-')}`;
  });

async function oldServer(): Promise<OldServer> {
  const old = await startOldServer();
  onTestFinished(old.close);
  old.data.set('a', 1);
  return old;
}

/** An export that stops in the middle and leaves its reader waiting. */
const endless: OldServer['intercept'] = ({ url }, response) => {
  if (url !== '/api/storage/export') return false;
  response.writeHead(200, json).write(`{"big":${JSON.stringify('x'.repeat(1_200_000))},"next":1,"open":"`);
  return true;
};

/** Resolves when a part of a backup is in the folder. */
const begun = (dir: string): Promise<void> =>
  until(() => readdirSync(dir).some((name) => name.endsWith('.tmp') && statSync(join(dir, name)).size > 0));

it('while writes go on, each kept backup is one whole state, and only so many are kept', async () => {
  const dir = freshFolder();
  const { url, stop } = await startTypescriptServer();
  onTestFinished(async () => void (await stop()));
  writeFileSync(join(dir, 'notes.txt'), 'mine');
  let over = false;
  const writes = (async () => {
    for (let n = 0; !over; n += 1) {
      const ops = ['a', 'b'].map((key) => ({ op: 'put', key, value: n }));
      const body = JSON.stringify({ atomic: true, ops });
      const headers = { 'content-type': 'application/json' };
      expect((await fetch(`${url}/api/v1/batch`, { method: 'POST', headers, body })).status).toBe(200);
    }
  })();
  const running = start(['backup', url, '--every', '1s', '--keep', '3', '--dir', dir, '--json']);
  await until(() => linesOf(running).length >= 5);
  running.child.kill('SIGTERM');
  expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
  over = true;
  await writes;
  const made = linesOf(running);
  expect(made.every(({ ok }) => ok)).toBe(true);
  const files = readdirSync(dir).filter((name) => name !== 'notes.txt');
  expect(files.map((name) => join(dir, name))).toEqual(made.slice(-3).map(({ file }) => file));
  for (const name of files) expect(name).toMatch(/^codeforge-backup-[\dT-]+Z\.ndjson$/);
  expect(await run(['verify', '-q', ...files], { cwd: dir })).toMatchObject({ code: 0 });
  for (const name of files) {
    const { a, b } = await textsOf(readFileSync(join(dir, name)));
    expect(a).toBe(b);
  }
});

it('killed in the middle it leaves only whole backups, and the next start cleans up', async () => {
  const dir = freshFolder();
  const old = await oldServer();
  const once = ['backup', old.url, '--once', '--dir', dir];
  await runJson(once);
  const before = readdirSync(dir);
  old.intercept = endless;
  const running = start(once);
  await begun(dir);
  running.child.kill('SIGKILL');
  await running.ended;
  const left = readdirSync(dir).filter((name) => !before.includes(name));
  expect(left).toHaveLength(1);
  expect(left[0]).toMatch(/^\..*\.tmp$/);

  old.intercept = undefined;
  const { stderr } = await run(once);
  expect(stderr).toContain(`Removed ${left[0]}`);
  const files = readdirSync(dir);
  expect(files).toHaveLength(2);
  expect(await run(['verify', '-q', ...files], { cwd: dir })).toMatchObject({ code: 0 });
});

// Windows has no signals that a process could send.
for (const signal of ['SIGTERM', 'SIGHUP'] as const)
  it.skipIf(process.platform === 'win32')(
    `told to end by ${signal} in the middle of a backup it leaves nothing of it, and ends with 0`,
    async () => {
      const dir = freshFolder();
      const old = await oldServer();
      old.intercept = endless;
      const running = start(['backup', old.url, '--every', '1h', '--dir', dir]);
      await begun(dir);
      running.child.kill(signal);
      expect(await running.ended).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(readdirSync(dir)).toEqual([]);
    },
  );

it('what another process is writing is left alone', async () => {
  const dir = freshFolder();
  const old = await oldServer();
  const others = `.codeforge-backup-2026-11-25T07-00-00-000Z.ndjson.${process.pid}.tmp`;
  writeFileSync(join(dir, others), 'half');
  writeFileSync(join(dir, '.codeforge-backup-x.tmp'), 'not ours');
  await runJson(['backup', old.url, '--once', '--dir', dir]);
  expect(readdirSync(dir)).toContain(others);
  expect(readdirSync(dir)).toContain('.codeforge-backup-x.tmp');
});

it('a run that fails is reported, keeps what is there, and is tried again', async () => {
  const dir = freshFolder();
  const old = await oldServer();
  const running = start(['backup', old.url, '--every', '1s', '--keep', '1', '--dir', dir, '--json']);
  await until(() => linesOf(running).length === 1);
  const [first] = readdirSync(dir);
  old.intercept = always(500, json, '{"error":"broken"}');
  await until(() => linesOf(running).some(({ ok }) => !ok));
  expect(readdirSync(dir)).toContain(first);
  const failed = linesOf(running).length;
  old.intercept = undefined;
  await until(() =>
    linesOf(running)
      .slice(failed)
      .some(({ ok }) => ok),
  );
  running.child.kill('SIGINT');
  const { code, stderr } = await running.ended;
  expect(code).toBe(0);
  expect(stderr).toMatch(/The backup of .* failed: .* Earlier backups stay\. Next attempt: \d/);
  expect(readdirSync(dir)).toHaveLength(1);
});

it('a damaged backup does not count, and files of other names are never removed', async () => {
  const dir = freshFolder();
  const old = await oldServer();
  const once = ['backup', old.url, '--once', '--keep', '2', '--dir', dir];
  const first = String((await runJson(once)).file);
  const second = String((await runJson(once)).file);
  // Between the second and what comes next.
  const damaged = later(second);
  writeFileSync(damaged, readFileSync(second).subarray(0, -10));
  const foreign = ['codeforge-backup-2026-11-25.ndjson', 'other-2026-11-25T07-00-00-000Z.ndjson'];
  for (const name of foreign) copyFileSync(first, join(dir, name));
  const { stdout, stderr } = await run([...once, '--json']);
  const { file, removed } = JSON.parse(stdout);
  expect(removed).toEqual([first.slice(dir.length + 1)]);
  expect(stderr).toMatch(new RegExp(`${basename(damaged)} is damaged\\. It is not removed`));
  expect(readdirSync(dir).sort()).toEqual(
    [...foreign, ...[damaged, second, file].map((path) => path.slice(dir.length + 1))].sort(),
  );
});

it('where the clock was set back, the newest backup is still the last that goes', async () => {
  const dir = freshFolder();
  const old = await oldServer();
  const once = ['backup', old.url, '--once', '--keep', '1', '--dir', dir];
  const made = String((await runJson(once)).file);
  const future = join(dir, 'codeforge-backup-2999-12-31T23-59-59-999Z.ndjson');
  renameSync(made, future);
  old.data.set('b', 2);
  const { file, removed } = await runJson(once);
  expect(removed).toEqual([basename(future)]);
  expect(readdirSync(dir)).toEqual([basename(String(file))]);
  expect(file).toBe(join(dir, 'codeforge-backup-3000-01-01T00-00-00-000Z.ndjson'));
  expect(await textsOf(readFileSync(String(file)))).toEqual({ a: '1', b: '2' });
});

it('what is called like a backup and is none, or goes meanwhile, keeps nothing from being backed up', async () => {
  const dir = freshFolder();
  const folder = await openBackupFolder(dir, 'b');
  const names = [1, 2, 3, 4].map((n) => `b-2026-11-2${n}T00-00-00-000Z.ndjson`);
  const [oldest = '', damaged = '', gone = '', newest = ''] = names;
  for (const name of names) writeFileSync(join(dir, name), '');
  mkdirSync(join(dir, 'b-2026-11-25T00-00-00-000Z.ndjson'));
  symlinkSync(newest, join(dir, 'b-2026-11-26T00-00-00-000Z.ndjson'));
  writeFileSync(join(dir, 'b-2026-99-99T00-00-00-000Z.ndjson'), '');
  const seen: string[] = [];
  const look = async (path: string) => {
    const name = basename(path);
    seen.push(name);
    return name === gone ? 'gone' : name === damaged ? 'damaged' : 'complete';
  };
  const made = join(dir, newest);
  expect(await folder.retain(2, made, look)).toEqual([]);
  expect(seen).toEqual([newest, gone, damaged, oldest]);
  // Where another process has made a newer one, what was made here stays too.
  expect(await folder.retain(1, join(dir, oldest), look)).toEqual([join(dir, gone), join(dir, damaged)]);
  expect(await folder.retain(1, made, look)).toEqual([join(dir, oldest)]);
  expect(await folder.freshPath(new Date(0))).toBe(join(dir, 'b-2026-11-24T00-00-00-001Z.ndjson'));
});

it('a clock that was set back puts the next turn off by no more than an interval', async () => {
  const minute = 60_000;
  expect(parseSchedule('1m').next(1000 * minute, 5 * minute)).toBe(6 * minute);
  let now = 2000;
  const clock = () => now;
  const { signal } = new AbortController();
  setTimeout(() => {
    now = 1000;
  });
  expect(await waitUntil(2050, signal, clock)).toBe(false);
  expect(await waitUntil(1000, signal, clock)).toBe(true);
});

it('an interval counts from the first turn and leaves out what has passed', () => {
  const { next } = parseSchedule('15m');
  const minute = 60_000;
  expect(next(0, 1)).toBe(15 * minute);
  expect(next(0, 31 * minute)).toBe(45 * minute);
  expect(parseSchedule('1d').next(0, 0)).toBe(24 * 60 * minute);
});

it('a cron expression is read in this machine’s time', () => {
  const now = new Date(2026, 10, 25, 7).getTime();
  expect(parseSchedule('0 3 * * *').next(now, now)).toBe(new Date(2026, 10, 26, 3).getTime());
});
