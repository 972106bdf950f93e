/** Tokens of a file that TOKENS_FILE names: servers that run follow what the `token` command does (docs/contract.md, 9.10 to 9.12). */
import { readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createToken } from '../../examples/server/src/token-file.ts';
import { changeTokens, readTokens } from '../../src/cli/files/token-file.ts';
import { freshFolder, run, runJson } from '../cli/command.ts';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const SERVERS = [
  { name: 'TypeScript server', start: startTypescriptServer, skip: undefined },
  {
    name: 'Flask server',
    // One worker, so that what one request has seen the next one sees too.
    start: ({ env }: { env: Record<string, string> }) => startFlaskServer({ env: { WORKERS: '1', ...env } }),
    skip: flaskSkipReason(),
  },
];

/** Longer than a busy machine needs. */
const SOON = { timeout: 20_000, interval: 50 };

for (const { name, start, skip } of SERVERS)
  describe.skipIf(skip)(name, () => {
    let server: RunningServer | undefined;
    afterEach(() => server?.stop());

    const ask = (token: string, path = '/api/storage/k', init: RequestInit = {}): Promise<Response> =>
      fetch(`${server?.url}${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });
    const status = async (token: string, method = 'GET'): Promise<number> =>
      (await ask(token, '/api/storage/k', { method })).status;

    it('lets in what is added while it runs, with its scope, and refuses what is revoked', async () => {
      const file = join(freshFolder(), 'tokens.json');
      server = await start({ env: { TOKENS_FILE: file } });
      expect((await fetch(`${server.url}/api/storage/k`)).status).toBe(401);
      const { token, id } = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      await expect.poll(() => status(String(token)), SOON).toBe(404);
      expect(await status(String(token), 'DELETE')).toBe(403);
      expect((await run(['token', 'revoke', String(id), '--file', file])).code).toBe(0);
      await expect.poll(() => status(String(token)), SOON).toBe(401);
      expect(server.output()).not.toContain(String(token));
    });

    it('lets in both tokens of a rotation, and the old one until its time is over', async () => {
      const file = join(freshFolder(), 'tokens.json');
      const old = await runJson(['token', 'add', 'team', 'write', '--file', file]);
      server = await start({ env: { TOKENS_FILE: file } });
      const rotated = await runJson(['token', 'rotate', String(old.id), '--file', file]);
      expect(rotated).toMatchObject({ tenant: 'team', scope: 'write', replaces: old.id });
      await expect.poll(() => status(String(rotated.token)), SOON).toBe(404);
      expect(await status(String(old.token))).toBe(404);
      await runJson(['token', 'rotate', String(old.id), '--grace', '0', '--file', file]);
      await expect.poll(() => status(String(old.token)), SOON).toBe(401);
      expect(await (await ask(String(old.token))).json()).toMatchObject({ error: 'The token has expired' });
    });

    it('ends what a revoked token waits for', async () => {
      const file = join(freshFolder(), 'tokens.json');
      const kept = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      const { token, id } = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      server = await start({ env: { TOKENS_FILE: file } });
      const { next } = await (await ask(String(token), '/api/v1/changes')).json();
      const wait = (of: unknown): Promise<string> =>
        ask(String(of), `/api/v1/changes?since=${next}&wait=60`)
          .then((answer) => answer.text())
          .then(
            () => 'ended',
            () => 'ended',
          );
      let isKeptWaiting = true;
      const others = wait(kept.token).then(() => {
        isKeptWaiting = false;
      });
      const revoked = wait(token);
      await runJson(['token', 'revoke', String(id), '--file', file]);
      expect(await revoked).toBe('ended');
      expect(isKeptWaiting).toBe(true);
      await server.stop();
      await others;
    });

    it('keeps the tokens that it has while the file is away, and says so once', async () => {
      const file = join(freshFolder(), 'tokens.json');
      const { token } = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      server = await start({ env: { TOKENS_FILE: file } });
      const text = readFileSync(file);
      rmSync(file);
      const complaints = () =>
        server?.output().match(/cannot be read: the tokens that were read before/g)?.length ?? 0;
      const asked = async () => [await status(String(token)), complaints()];
      await expect.poll(asked, SOON).toEqual([404, 1]);
      for (
        const until = Date.now() + 3500;
        Date.now() < until;
        await new Promise((next) => setTimeout(next, 200))
      )
        expect(await asked()).toEqual([404, 1]);
      writeFileSync(file, text);
      expect(await status(String(token))).toBe(404);
    });

    it('keeps the tokens that it has while the file is damaged, and does not start with such a file', async () => {
      const file = join(freshFolder(), 'tokens.json');
      const { token } = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      const good = readFileSync(file, 'utf8');
      server = await start({ env: { TOKENS_FILE: file } });
      const { token: later } = await runJson(['token', 'add', 'team', 'read', '--file', file]);
      await expect.poll(() => status(String(later)), SOON).toBe(404);
      writeFileSync(file, good.slice(0, -20));
      await expect
        .poll(async () => `${await status(String(token))} ${server?.output()}`, SOON)
        .toMatch(/TOKENS_FILE cannot be read/);
      expect(await status(String(later))).toBe(404);
      await expect(start({ env: { TOKENS_FILE: file } })).rejects.toThrow(/TOKENS_FILE.*cannot be read/);
      writeFileSync(file, good);
      await expect.poll(() => status(String(later)), SOON).toBe(401);
      expect(await status(String(token))).toBe(404);
    });
  });

describe('the file', () => {
  it('is for its owner only, has no token, and keeps what its owner wrote about them', async () => {
    const file = join(freshFolder(), 'tokens.json');
    const { token, id } = await runJson([
      'token',
      'add',
      'team',
      'admin',
      '--file',
      file,
      '--expires',
      '90d',
      '--note',
      'the backup',
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).not.toContain(String(token));
    const { stdout } = await run(['token', 'list'], { env: { TOKENS_FILE: file } });
    expect(stdout).toMatch(
      new RegExp(
        `^${id} +team +admin +\\d{4}-\\d\\d-\\d\\d +\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d +the backup$`,
        'm',
      ),
    );
  });

  it('loses no change of several processes', async () => {
    const file = join(freshFolder(), 'tokens.json');
    const added = await Promise.all(
      Array.from({ length: 8 }, (_, i) => runJson(['token', 'add', `team-${i}`, 'read', '--file', file])),
    );
    const { tokens } = await runJson(['token', 'list', '--file', file]);
    expect((tokens as Array<{ id: string }>).map(({ id }) => id).sort()).toEqual(
      added.map(({ id }) => id).sort(),
    );
  });

  it('can be changed after a process that was changing it was killed', async () => {
    const file = join(freshFolder(), 'tokens.json');
    writeFileSync(`${file}.lock`, '');
    const then = new Date(Date.now() - 60_000);
    utimesSync(`${file}.lock`, then, then);
    expect(await runJson(['token', 'add', 'team', 'read', '--file', file])).toMatchObject({ ok: true });
  });

  it('loses no change of those that all find the lock of a process that was killed', async () => {
    const { signal } = new AbortController();
    for (let round = 0; round < 5; round += 1) {
      const file = join(freshFolder(), 'tokens.json');
      writeFileSync(`${file}.lock`, '');
      const past = Date.now() / 1000 - 3600;
      utimesSync(`${file}.lock`, past, past);
      const grant = { tenant: 'team', scope: 'read' } as const;
      const add = () =>
        changeTokens(file, signal, (tokens) => [...tokens, createToken(grant, new Date()).stored]);
      await Promise.all(Array.from({ length: 12 }, add));
      expect(await readTokens(file)).toHaveLength(12);
    }
  });

  it('is not changed by a command that it cannot serve', async () => {
    const file = join(freshFolder(), 'tokens.json');
    await runJson(['token', 'add', 'team', 'read', '--file', file]);
    const before = readFileSync(file, 'utf8');
    const wrong = [
      [['revoke', 'nobody', '--file', file], 1],
      [['rotate', 'nobody', '--file', file], 1],
      [['add', 'a b', 'read', '--file', file], 2],
      [['add', 'team', 'owner', '--file', file], 2],
      [['add', 'team', 'read', '--file', file, '--expires', '2020-01-01'], 2],
      [['add', 'team', 'read', '--file', file, '--expires', 'soon'], 2],
      [['rotate', 'x', '--file', file, '--grace', 'soon'], 2],
      [['list'], 2],
      [['revoke', 'x'], 2],
      [['add', 'team', 'read', '--expires', '1h'], 2],
      [[], 2],
    ] as const;
    await Promise.all(
      wrong.map(async ([args, code]) => {
        const ended = await run(['token', ...args]);
        expect([args, ended.code]).toEqual([args, code]);
        expect([args, ended.stderr]).not.toEqual([args, '']);
      }),
    );
    expect(readFileSync(file, 'utf8')).toBe(before);
    writeFileSync(file, '{}');
    expect(await run(['token', 'add', 'team', 'read', '--file', file])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('cannot be used'),
    });
    expect(readFileSync(file, 'utf8')).toBe('{}');
  });
});

it('a token is made without a file too: its entry is for TOKENS', async () => {
  const { stdout } = await run(['token', 'add', 'team', 'read']);
  const token = /^token +(\S+)$/m.exec(stdout)?.[1] ?? '';
  const entry = /^TOKENS +(\S+)$/m.exec(stdout)?.[1] ?? '';
  expect(token.length).toBeGreaterThan(40);
  expect(entry).not.toContain(token);
  const server = await startTypescriptServer({ env: { TOKENS: entry } });
  const status = async (authorization: string, method = 'GET') =>
    (await fetch(`${server.url}/api/storage/a`, { method, headers: { authorization } })).status;
  expect(await status(`Bearer ${token}`)).toBe(404);
  expect(await status(`Bearer ${token}`, 'DELETE')).toBe(403);
  expect(await status(`Bearer ${token}x`)).toBe(401);
  expect(await status(`Basic ${token}`)).toBe(401);
  await server.stop();
});
