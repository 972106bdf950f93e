/** Clauses 3.3 and 3.4: entity tags of level 0, and what depends on them. */
import { ensure, json, refused, same, status } from './expectations.ts';
import type { Answer } from './http.ts';
import { checksThatNeed } from './runner.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'etag');

export { checks as preconditionChecks };

const CONTENDERS = 8;
const ROUNDS = 5;

/** Tries that a contender may need; each failure is another's success. */
const MOST_TRIES = CONTENDERS * ROUNDS + 1;

function tagOf({ asked, headers: { etag } }: Answer): string {
  ensure(/^"[^".]+\.\d+"$/.test(etag ?? ''), `${asked} must carry ETag: "<epoch>.<rev>", not ${etag}`);
  return etag ?? '';
}

check('3.3', 'GET and a successful PUT carry the ETag of the state, never of the value', async (server) => {
  const tags: string[] = [];
  const changed = async (): Promise<void> => {
    tags.push(tagOf(status(await server.get('a'), 200)));
  };
  for (const value of ['1', '1', '2', '1']) {
    const put = tagOf(status(await server.put('a', value), 200));
    await changed();
    same(tags.at(-1), put, 'the ETag of GET after the ETag of PUT');
  }
  await server.delete('a');
  await server.put('a', '1');
  await changed();
  await server.wipe();
  await server.put('a', '1');
  await changed();
  await server.importObject('{"a":1}');
  await changed();
  same(new Set(tags).size, tags.length, 'different tags of as many states');
});

check('3.3', 'the ETag is the epoch and the revision of the key', async (server) => {
  const put = await server.put('a', '1');
  const { epoch, seq } = await server.position();
  same(tagOf(put), `"${epoch}.${seq}"`, 'the ETag of the last change');
  await server.put('b', '1');
  same(tagOf(await server.get('a')), tagOf(put), 'the ETag after a change of another key');
});

check('3.3', 'GET lets caches keep a value only if they ask each time', async (server) => {
  await server.put('a', '1');
  for (const key of ['a', 'missing']) {
    const control = (await server.get(key)).headers['cache-control'] ?? '';
    same(
      new Set(control.split(/\s*,\s*/)),
      new Set(['no-cache', 'private']),
      `Cache-Control of GET of ${key}`,
    );
  }
});

check('3.4', 'If-None-Match on GET answers 304 to who has the value already', async (server) => {
  const etag = tagOf(await server.put('a', '1'));
  for (const known of [etag, `W/${etag}`, `"x", ${etag}`, `"a,b",W/${etag} , "y"`, '*']) {
    const answer = status(await server.get('a', { headers: { 'if-none-match': known } }), 304);
    same([answer.text, answer.headers.etag], ['', etag], `body and ETag of 304 to ${known}`);
  }
  for (const known of ['"x"', 'W/"x"', etag.replace('.', '.1')])
    same(
      json(await server.get('a', { headers: { 'if-none-match': known } }), 200),
      { value: 1 },
      'the value',
    );
  status(await server.get('missing', { headers: { 'if-none-match': '*' } }), 404);
});

check('3.4', 'a failing If-Match on GET is 412', async (server) => {
  const etag = tagOf(await server.put('a', '1'));
  refused(await server.get('a', { headers: { 'if-match': '"x"' } }), 412);
  status(await server.get('a', { headers: { 'if-match': etag } }), 200);
});

check(
  '3.4',
  'If-Match writes only over the state that it names, else 412 with the ETag of now',
  async (server) => {
    const first = tagOf(await server.put('a', '1'));
    const second = tagOf(
      status(await server.put('a', '2', { headers: { 'if-match': `"x", ${first}` } }), 200),
    );
    for (const stale of [first, `W/${second}`, '"x"']) {
      const headers = { 'if-match': stale };
      for (const answer of [await server.put('a', '3', { headers }), await server.delete('a', { headers })]) {
        refused(answer, 412);
        same(answer.headers.etag, second, `the ETag of 412 to ${answer.asked}`);
      }
    }
    same(json(await server.get('a'), 200), { value: 2 }, 'the value after refusals');
    status(await server.put('a', '4', { headers: { 'if-match': '*' } }), 200);
    status(await server.delete('a', { headers: { 'if-match': tagOf(await server.get('a')) } }), 200);
    for (const tag of ['*', first])
      refused(await server.put('a', '5', { headers: { 'if-match': tag } }), 412);
    same(await server.keys(), [], 'the keys');
  },
);

check('3.4', 'If-None-Match: * creates only once', async (server) => {
  const headers = { 'if-none-match': '*' };
  const etag = tagOf(status(await server.put('a', '1', { headers }), 200));
  const again = await server.put('a', '2', { headers });
  refused(again, 412);
  same(again.headers.etag, etag, 'the ETag of 412');
  refused(await server.delete('a', { headers }), 412);
  same(json(await server.get('a'), 200), { value: 1 }, 'the value');
});

check('3.4', 'DELETE of a missing key stays 404, whatever its preconditions', async (server) => {
  for (const headers of [{ 'if-match': '*' }, { 'if-match': '"x.1"' }, { 'if-none-match': '*' }])
    same(refused(await server.delete('missing', { headers }), 404).error, 'Key not found', '`error`');
});

check('3.4', 'exactly one of many connections creates, and no update is lost among many', async (server) => {
  const creating = Array.from({ length: CONTENDERS }, () =>
    server.put('n', '0', { headers: { 'if-none-match': '*' } }),
  );
  const statuses = (await together(creating)).map((answer) => answer.status).sort();
  same(statuses, [200, ...Array(CONTENDERS - 1).fill(412)], 'the answers to those who create');
  const increment = async (): Promise<void> => {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const found = await server.get('n');
      const { value } = json<{ value: number }>(found, 200);
      const answer = await server.put('n', `${value + 1}`, { headers: { 'if-match': tagOf(found) } });
      if (status(answer, 200, 412).status === 200) return;
    }
    throw new Error(`A contender got 412 ${MOST_TRIES} times, more often than the others wrote`);
  };
  const contenders = Array.from({ length: CONTENDERS }, async () => {
    for (let round = 0; round < ROUNDS; round += 1) await increment();
  });
  await together(contenders);
  same(json(await server.get('n'), 200), { value: CONTENDERS * ROUNDS }, 'the counter');
});
