/** The Flask server on a disk that is full, or that fails: what it answers, and that deleting makes room. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';

const MEBIBYTE = 2 ** 20;
const CLIENT = 'client-of-the-tests-01';

/** Starts gunicorn in a process that may not write files beyond 4 MiB. */
const WITH_SMALL_FILES = `import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, 4 * 2**20))
sys.argv = ["gunicorn", "app:app"]
runpy.run_module("gunicorn", run_name="__main__")`;

describe.skipIf(flaskSkipReason())('Flask server under gunicorn: disk', () => {
  let folder = '';
  let server: RunningServer;

  const start = async (options: { args?: string[] } = {}): Promise<void> => {
    server = await startFlaskServer({
      databasePath: join(folder, 'data', 'test.db'),
      env: { WORKERS: '2' },
      ...options,
    });
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'codeforge-flask-disk-'));
    await mkdir(join(folder, 'data'));
  });
  afterEach(async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function ask(method: string, path: string, body?: unknown) {
    const response = await fetch(server.url + path, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      text: await response.text(),
    };
  }

  const put = async (key: string, value: unknown): Promise<number> =>
    (await ask('PUT', `/api/storage/${key}`, { value })).status;

  const batch = async (body: object) => {
    const { status, text } = await ask('POST', '/api/v1/batch', body);
    return [
      status,
      ...(status === 200 ? JSON.parse(text).results : []).map((each: { status: number }) => each.status),
    ];
  };

  const UNAVAILABLE = { status: 503, retryAfter: expect.stringMatching(/^\d+$/) };

  describe.skipIf(process.platform !== 'linux' || process.getuid?.() !== 0)(
    'full (needs root, for a tmpfs)',
    () => {
      const disk = (): string => join(folder, 'data');
      beforeEach(async () => {
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk()]);
        await start();
      });
      afterEach(async () => {
        await server.stop();
        execFileSync('umount', ['-l', disk()]);
      });

      /** Stores values under `<prefix>0`, `<prefix>1`, … until one is refused. Returns how many were stored. */
      async function fill(prefix: string, value: string): Promise<number> {
        for (let count = 0; ; count += 1) {
          const status = await put(`${prefix}${count}`, value);
          if (status === 200) continue;
          expect(status).toBe(507);
          return count;
        }
      }

      it('values are refused with 507; deleting goes on, and makes room', async () => {
        const value = 'x'.repeat(MEBIBYTE);
        const stored = await fill('a', value);
        expect(stored).toBeGreaterThan(20);
        expect((await ask('GET', '/health')).status).toBe(200);
        expect((await ask('GET', '/api/storage/a0')).status).toBe(200);
        expect(await batch({ client: CLIENT, m: 1, ops: [{ op: 'put', key: 'b', value }] })).toEqual([507]);
        expect((await ask('POST', '/api/storage/import', { b: value })).status).toBe(507);

        expect((await ask('DELETE', '/api/storage/a0')).status).toBe(200);
        const deletes = Array.from({ length: 12 }, (_, index) => ({ op: 'delete', key: `a${index + 1}` }));
        expect(await batch({ client: CLIENT, m: 1, ops: deletes })).toEqual([200, ...deletes.map(() => 200)]);
        expect(await batch({ client: CLIENT, void: 2 })).toEqual([200]);
        expect(await fill('b', value)).toBeGreaterThan(3);

        for (let cycle = 0; cycle < 3; cycle += 1) {
          const cleared =
            cycle === 1
              ? (await ask('POST', '/api/storage/clear')).status
              : (await batch({ ops: [{ op: 'clear' }] }))[1];
          expect(cleared).toBe(200);
          expect(await fill(`c${cycle}-`, value)).toBeGreaterThan(stored - 10);
        }
      });

      it('many small values: clear makes room', async () => {
        for (let cycle = 0; cycle < 2; cycle += 1) {
          const statuses = new Set<unknown>();
          for (let count = 0; !statuses.has(507); count += 1) {
            const ops = Array.from({ length: 2_000 }, (_, index) => ({
              op: 'put',
              key: `${cycle}-${count}-${index}`,
              value: 'x'.repeat(500),
            }));
            statuses.add((await batch({ ops }))[0]);
          }
          expect(statuses).toEqual(new Set([200, 507]));
          expect((await ask('POST', '/api/storage/clear')).status).toBe(200);
          expect(await put('a', 1)).toBe(200);
        }
      });

      it('another program fills the disk: reads go on, and writes when it is gone', async () => {
        expect(await put('a', 1)).toBe(200);
        const file = join(disk(), 'other');
        execFileSync('sh', ['-c', `cat /dev/zero > ${file} || true`], { stdio: 'ignore' });
        expect((await statfs(disk())).bavail).toBe(0);
        expect(await put('b', 1)).toBe(507);
        expect(await ask('GET', '/api/storage/a')).toMatchObject({ status: 200, text: '{"value":1}' });
        expect((await ask('GET', '/health')).status).toBe(200);
        await rm(file);
        expect(await put('b', 1)).toBe(200);
      });
    },
  );

  it('a file that cannot be opened is answered with 503, and opened when it is back', async () => {
    await start();
    expect(await put('a', 1)).toBe(200);
    await rename(join(folder, 'data'), join(folder, 'away'));
    for (const path of ['/api/storage/export', '/api/v1/export'])
      expect(await ask('GET', path)).toMatchObject(UNAVAILABLE);
    await rename(join(folder, 'away'), join(folder, 'data'));
    expect(await ask('GET', '/api/storage/export')).toMatchObject({ status: 200, text: '{"a":1}' });
  });

  it('a disk that refuses to write is answered with 503, and reads go on', async () => {
    await start({ args: ['-c', WITH_SMALL_FILES] });
    expect(await put('a', 1)).toBe(200);
    expect(await ask('PUT', '/api/storage/b', { value: 'x'.repeat(6 * MEBIBYTE) })).toMatchObject(
      UNAVAILABLE,
    );
    expect(await ask('GET', '/api/storage/export')).toMatchObject({ status: 200, text: '{"a":1}' });
    expect(await put('a', 2)).toBe(200);
  });

  it('a damaged file is answered with 503, on both levels', async () => {
    await start();
    const ops = Array.from({ length: 500 }, (_, index) => ({
      op: 'put',
      key: `${index}`,
      value: 'x'.repeat(200),
    }));
    await batch({ ops });
    damageTable(join(folder, 'data', 'test.db'));
    for (const url of ['/api/storage/keys', '/api/storage/1', '/api/v1/keys', '/api/v1/stats'])
      expect(await ask('GET', url)).toMatchObject(UNAVAILABLE);
    expect(await ask('POST', '/api/v1/batch', { ops: [{ op: 'put', key: '1', value: 1 }] })).toMatchObject(
      UNAVAILABLE,
    );
    expect((await ask('GET', '/health')).status).toBe(200);
  });
});

/** Overwrites the first page of the table of records and of its index. */
function damageTable(path: string): void {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  const { page_size: size } = database.prepare('PRAGMA page_size').get() as { page_size: number };
  const roots = database
    .prepare("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'records' AND name <> 'tombstones'")
    .all()
    .map(({ rootpage }) => Number(rootpage));
  database.close();
  const file = openSync(path, 'r+');
  for (const page of roots) writeSync(file, Buffer.alloc(size, 0xee), 0, size, (page - 1) * size);
  closeSync(file);
}
