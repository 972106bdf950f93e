/** Section 6: listing keys in pages, and counts. */
import { ensure, json, missing, refused, same } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import type { Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'keys');

export { checks as keysChecks };

interface Page {
  readonly keys: ReadonlyArray<{ readonly key: string; readonly rev: string; readonly size: number }>;
  readonly next: string | null;
  readonly epoch: string;
  readonly seq: number;
}

/** More pages than any walk here needs. */
const MOST_PAGES = 2_000;

async function page(server: Subject, parameters: Readonly<Record<string, string>> = {}): Promise<Page> {
  const query = Object.entries(parameters).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const body = json<Page>(await server.send('GET', `/api/v1/keys?${query.join('&')}`), 200);
  ensure(Array.isArray(body.keys), 'a page must hold `keys`');
  return body;
}

const namesOf = ({ keys }: Page): string[] => keys.map(({ key }) => key);

/** All keys, page after page. */
async function walk(server: Subject, parameters: Readonly<Record<string, string>>): Promise<string[]> {
  const names: string[] = [];
  let after: string | null = null;
  for (let pages = 0; pages < MOST_PAGES; pages += 1) {
    const got: Page = await page(server, after === null ? parameters : { ...parameters, after });
    names.push(...namesOf(got));
    if (got.next === null) return names;
    same(got.next, got.keys.at(-1)?.key, '`next` of a page that is not the last');
    after = got.next;
  }
  throw new Error(`The walk did not end within ${MOST_PAGES} pages`);
}

async function store(server: Subject, names: readonly string[]): Promise<void> {
  json(await server.importObject(`{${names.map((name) => `${JSON.stringify(name)}:1`).join()}}`), 200);
}

check('6.1', 'a page tells each key with its revision and the bytes of its value', async (server) => {
  same(
    await page(server).then(({ keys, next }) => ({ keys, next })),
    { keys: [], next: null },
    'a page of nothing',
  );
  await server.put('a', '"é"');
  await server.put('b', '[ 1 ]');
  const { seq: now } = await server.position();
  const { keys, next, epoch, seq } = await page(server);
  const expected = [
    { key: 'a', rev: `${now - 1}`, size: 4 },
    { key: 'b', rev: `${now}`, size: 5 },
  ];
  same(
    keys.map(({ key, rev, size }) => ({ key, rev, size })),
    expected,
    '`keys`',
  );
  same(
    { next, epoch, seq },
    { next: null, ...(await server.position().then(({ epoch: e, seq: s }) => ({ epoch: e, seq: s }))) },
    'the page',
  );
});

check('6.1', 'prefix, after and limit say which keys, in byte order', async (server) => {
  const names = ['a', 'a%', 'a%b', 'a_b', 'ab', 'ab/c', 'abd', 'B', 'é', 'é1', '\uff5e', '🗝', '🗝1'];
  const sorted = names.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  await store(server, names);
  same(namesOf(await page(server)), sorted, 'all keys');
  for (const prefix of ['', 'a', 'a%', 'a_', 'A', 'ab', 'ab/', 'é', '🗝', '\uff5e', 'x', 'abdx']) {
    const expected = sorted.filter((name) => name.startsWith(prefix));
    same(namesOf(await page(server, { prefix })), expected, `the keys with prefix ${JSON.stringify(prefix)}`);
    same(await walk(server, { prefix, limit: '1' }), expected, `the same, one a page`);
  }
  for (const after of ['', 'B', 'a', 'aa', 'é', '🗝', '🗝1']) {
    const expected = sorted.filter((name) => Buffer.compare(Buffer.from(name), Buffer.from(after)) > 0);
    same(namesOf(await page(server, { after })), expected, `the keys after ${JSON.stringify(after)}`);
  }
  same(namesOf(await page(server, { prefix: 'a', after: 'a_b', limit: '2' })), ['ab', 'ab/c'], 'all three');
});

check(
  '6.1',
  'a page holds limit keys at most, 1,000 unless told; next is null on the last one',
  async (server) => {
    const names = Array.from({ length: 2001 }, (_, index) => `key-${index + 1000}`);
    await store(server, names);
    const first = await page(server);
    same([first.keys.length, first.next], [1000, names[999]], 'length and `next` of the first page');
    same(await walk(server, {}), names, 'all pages');
    for (const [limit, length, next] of [
      ['1', 1, names[0]],
      ['2000', 2000, names[1999]],
      ['2001', 2001, null],
      ['10000', 2001, null],
    ] as const) {
      const got = await page(server, { limit });
      same([got.keys.length, got.next], [length, next], `length and \`next\` of a page with limit ${limit}`);
    }
  },
);

check(
  '6.2',
  'a walk shows every key that exists all the while exactly once, whatever is written meanwhile',
  async (server) => {
    const stable = Array.from({ length: 300 }, (_, index) => `key-${index + 100}`);
    await store(server, stable);
    let walking = true;
    const write = async (writer: number): Promise<void> => {
      for (let round = 0; walking && round < 2_000; round += 1) {
        const near = stable[(round * 7 + writer * 31) % stable.length] ?? '';
        await server.put(`${near}-${writer}`, `${round}`);
        await server.put(near, `${round}`);
        if (round % 2) await server.delete(`${near}-${writer}`);
      }
    };
    const walkOften = async (): Promise<void> => {
      for (let round = 0; round < 5; round += 1) {
        const seen = await walk(server, { limit: '10' });
        same(new Set(seen).size, seen.length, 'keys shown once');
        same(missing(stable, seen), [], 'stable keys that the walk did not show');
        same(seen.toSorted(), seen, 'the order of the walk');
      }
    };
    const walked = walkOften().finally(() => {
      walking = false;
    });
    await together([walked, write(0), write(1), write(2)]);
  },
);

check('6.3', 'stats counts the keys and the bytes of their values', async (server) => {
  const stats = async () => {
    const { keys, sizeBytes, epoch, seq } = json<Record<string, unknown>>(
      await server.send('GET', '/api/v1/stats'),
      200,
    );
    return { keys, sizeBytes, epoch, seq };
  };
  same(await stats(), { keys: 0, sizeBytes: 0, ...(await now(server)) }, 'stats of nothing');
  await server.put('a', '"é"');
  await server.put('b', '[ 1 ]');
  same(await stats(), { keys: 2, sizeBytes: 9, ...(await now(server)) }, 'stats of two keys');
  await server.put('b', '1');
  await server.delete('a');
  same(await stats(), { keys: 1, sizeBytes: 1, ...(await now(server)) }, 'stats of one key');
});

check('6.4', 'a malformed parameter is 400', async (server) => {
  const malformed = [
    'limit=0',
    'limit=-1',
    'limit=10001',
    'limit=x',
    'limit=1.5',
    'limit=1e2',
    'limit=0x10',
    'prefix=%ff',
    'after=%',
    'prefix=%ed%a0%80',
  ];
  for (const query of malformed) refused(await server.send('GET', `/api/v1/keys?${query}`), 400);
});

async function now(server: Subject): Promise<{ epoch: string; seq: number }> {
  const { epoch, seq } = await server.position();
  return { epoch, seq };
}
