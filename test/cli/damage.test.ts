/** A backup that is cut or damaged is refused, and nothing of it is sent. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { readArchive } from '../../src/cli/files/archive.ts';
import { exitCodeOf } from '../../src/cli/ui/errors.ts';
import { startOldServer } from '../support/old-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';
import { freshFolder, run, runJson } from './command.ts';
import { backupOf, EXACT, store } from './data.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

const PLACES = 30;

it('what is refused is refused wherever it is cut, and before anything is known to be in it', async () => {
  const file = join(freshFolder(), 'cut');
  const whole = Buffer.from(
    backupOf([
      ['a', '1.10'],
      ['ключ', '"é"'],
      ['c', '{"d":[]}'],
    ]),
  );
  const { signal } = new AbortController();
  // Without its last line break it is whole.
  for (let length = 0; length < whole.length - 1; length += 1) {
    writeFileSync(file, whole.subarray(0, length));
    const error = await readArchive(file, { signal }).catch((error) => error);
    expect(exitCodeOf(error), `${length} bytes`).toBe(5);
  }
  writeFileSync(file, whole);
  expect((await readArchive(file, { signal })).values.size).toBe(3);
});

it('a file cut at 30 places is refused by verify, and by import with nothing sent', async () => {
  const folder = freshFolder();
  const server = await startTypescriptServer();
  onTestFinished(async () => void (await server.stop()));
  await store(server.url, { ...EXACT, big: '1' });
  await run(['export', server.url, join(folder, 'whole')]);
  const whole = readFileSync(join(folder, 'whole'));
  const cuts = Array.from({ length: PLACES }, (_, i) => {
    const file = join(folder, `cut ${i}`);
    // The last one lacks the last brace; without the line break behind that the file is whole.
    writeFileSync(file, whole.subarray(0, Math.floor(((whole.length - 2) * (i + 1)) / PLACES)));
    return file;
  });
  const verified = await run(['verify', '--json', join(folder, 'whole'), ...cuts]);
  expect(verified.code).toBe(5);
  const lines = verified.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ ok, exitCode }) => exitCode ?? ok)).toEqual([true, ...cuts.map(() => 5)]);

  const target = await startOldServer();
  onTestFinished(target.close);
  for (const file of [cuts[0], cuts[PLACES / 2], cuts[PLACES - 1]] as string[]) {
    const { code, stderr } = await run(['import', target.url, file]);
    expect(code, file).toBe(5);
    expect(stderr).toContain(file);
  }
  expect(target.seen).toEqual([]);
});

it('a changed byte is found by the checksum', async () => {
  const file = join(freshFolder(), 'backup');
  const server = await startTypescriptServer();
  onTestFinished(async () => void (await server.stop()));
  await store(server.url, { a: '"one"', b: '2' });
  await run(['export', server.url, file]);
  writeFileSync(file, readFileSync(file, 'utf8').replace('"one"', '"two"'));
  expect((await run(['verify', file])).code).toBe(5);
  expect((await run(['import', server.url, file])).code).toBe(5);
  expect(await runJson(['export', server.url, join(freshFolder(), 'again')])).toMatchObject({ keys: 2 });
});

it('a file that is not there is no damaged one', async () => {
  const { code, stderr } = await run(['verify', join(freshFolder(), 'nothing')]);
  expect(code).toBe(1);
  expect(stderr).toContain('it does not exist');
});
