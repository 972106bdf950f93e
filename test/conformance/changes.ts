/** Clauses 7.1 to 7.5: the changes after a cursor. */
import { setTimeout as delay } from 'node:timers/promises';
import { ensure, json, missing, refused, same, status } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import type { Asked, Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'changes');

export { checks as changesChecks };

/** A change, as an answer or an event tells it. */
export interface Change {
  readonly type: string;
  readonly key?: string;
  readonly rev: string;
  readonly value?: unknown;
}

interface ChangesAnswer {
  readonly epoch: string;
  readonly seq: number;
  readonly changes: Change[];
  readonly next: string;
  readonly more: boolean;
}

/** More answers than any walk here needs. */
const MOST_ANSWERS = 3_000;

async function changesSince(server: Subject, query: string, asked?: Asked): Promise<ChangesAnswer> {
  const body = json<ChangesAnswer>(await server.send('GET', `/api/v1/changes?${query}`, asked), 200);
  ensure(Array.isArray(body.changes), 'an answer must hold `changes`');
  return body;
}

/** What happened to which key, without revisions. */
const told = ({ changes }: ChangesAnswer): unknown[] =>
  changes.map(({ type, key, value }) => [
    type,
    ...(key === undefined ? [] : [key]),
    ...(type === 'put' ? [value] : []),
  ]);

function expectRising(changes: readonly Change[], after: number): number {
  let last = after;
  for (const { rev } of changes) {
    ensure(/^\d+$/.test(rev), `\`rev\` must be a decimal string, not ${JSON.stringify(rev)}`);
    ensure(Number(rev) > last, `changes must come in the order of \`rev\`: ${rev} came after ${last}`);
    last = Number(rev);
  }
  return last;
}

check('7.1', 'changes tells what has changed after since, in the order of rev', async (server) => {
  const since = await server.cursor();
  const { epoch, seq } = await server.position();
  await server.put('b', '{"z":1.10,"a":null}');
  await server.put('a', '1');
  const answer = await server.send('GET', `/api/v1/changes?since=${since}`);
  const { changes, ...rest } = json<ChangesAnswer>(answer, 200);
  same(
    changes,
    [
      { type: 'put', key: 'b', rev: `${seq + 1}`, value: { z: 1.1, a: null } },
      { type: 'put', key: 'a', rev: `${seq + 2}`, value: 1 },
    ],
    '`changes`',
  );
  ensure(answer.text.includes('{"z":1.10,"a":null}'), 'the text of a value must be spliced in as it is');
  same(
    rest,
    { epoch, seq: seq + 2, next: `${epoch}.${seq + 2}`, more: false },
    'the members beside `changes`',
  );
  const none = await changesSince(server, `since=${rest.next}`);
  same([none.changes, none.next, none.more], [[], rest.next, false], 'an answer without changes');
});

check('7.1', 'without since it tells everything', async (server) => {
  await server.importObject('{"a":1,"b":2}');
  await server.delete('a');
  for (const query of ['', `since=${(await server.position()).epoch}.0`]) {
    const { changes, next } = await changesSince(server, query);
    const puts = changes.filter(({ type }) => type === 'put').map(({ key, value }) => [key, value]);
    same(puts, [['b', 2]], `the puts told to "${query}"`);
    same(next, await server.cursor(), '`next`');
  }
});

check('7.1', 'limit is 1 to 1,000, 500 unless told; more says that there is more already', async (server) => {
  const since = await server.cursor();
  await server.importObject(`{${Array.from({ length: 1001 }, (_, index) => `"k${index}":1`).join()}}`);
  for (const [query, count] of [
    ['', 500],
    ['&limit=1', 1],
    ['&limit=1000', 1000],
  ] as const) {
    const answer = await changesSince(server, `since=${since}${query}`);
    same([answer.changes.length, answer.more], [count, true], `changes and \`more\` with "${query}"`);
    same(answer.next.split('.').at(-1), answer.changes.at(-1)?.rev, '`next` where there is more');
  }
  for (const query of [
    'limit=0',
    'limit=1001',
    'limit=x',
    'wait=-1',
    'wait=61',
    'wait=x',
    'since=x',
    'since=x.y',
  ])
    refused(await server.send('GET', `/api/v1/changes?${query}`), 400);
});

check('7.1', 'an answer holds fewer changes where their values are many bytes', async (server) => {
  const since = await server.cursor();
  const size = Math.floor(server.limits.valueBytes * 0.9);
  const keys = ['a', 'b', 'c'];
  for (const key of keys) status(await server.put(key, `"${'x'.repeat(size - 2)}"`), 200);
  const seen: Array<string | undefined> = [];
  let cursor = since;
  for (let answers = 0; answers < keys.length; answers += 1) {
    const { changes, next, more } = await changesSince(server, `since=${cursor}`);
    ensure(changes.length > 0, 'an answer with `more` before it must hold a change');
    if (answers === 0)
      ensure(changes.length < keys.length && more, `an answer held ${changes.length * size} bytes of values`);
    seen.push(...changes.map(({ key }) => key));
    cursor = next;
    if (!more) break;
  }
  same(seen, keys, 'the keys of all answers');
});

check('7.2', 'changes are compacted: the latest of each key', async (server) => {
  await server.importObject('{"old":1,"gone":1}');
  const since = await server.cursor();
  for (const [key, value] of [
    ['a', '1'],
    ['b', '1'],
    ['a', '2'],
    ['c', '1'],
  ] as const)
    await server.put(key, value);
  await server.delete('b');
  await server.delete('gone');
  await server.put('b', '3');
  await server.delete('c');
  const answer = await changesSince(server, `since=${since}`);
  same(
    told(answer),
    [
      ['put', 'a', 2],
      ['delete', 'gone'],
      ['put', 'b', 3],
      ['delete', 'c'],
    ],
    'the changes',
  );
  expectRising(answer.changes, Number(since.split('.').at(-1)));
  for (const { type, ...rest } of answer.changes)
    ensure(type !== 'delete' || !('value' in rest), 'a delete holds no value');
});

check('7.2', 'a clear is one event that stands for all keys', async (server) => {
  await server.importObject('{"a":1,"b":1}');
  await server.delete('b');
  const since = await server.cursor();
  await server.put('c', '1');
  await server.wipe();
  const { seq: cleared } = await server.position();
  await server.put('a', '2');
  const answer = await changesSince(server, `since=${since}`);
  same(told(answer), [['clear'], ['put', 'a', 2]], 'the changes');
  same(answer.changes[0], { type: 'clear', rev: `${cleared}` }, 'the event');
  const { epoch } = answer;
  same(
    told(await changesSince(server, `since=${epoch}.${cleared}`)),
    [['put', 'a', 2]],
    'the changes after the clear',
  );
  const paged = await changesSince(server, `since=${since}&limit=1`);
  same([told(paged), paged.next, paged.more], [[['clear']], `${epoch}.${cleared}`, true], 'a page of one');
});

check('7.3', 'with wait an answer without changes is held back until there is one', async (server) => {
  const since = await server.cursor();
  const asked = performance.now();
  const waiting = changesSince(server, `since=${since}&wait=12`, { timeout: 20_000 }).then(told);
  const putLater = delay(500).then(() => server.put('a', '1'));
  const [changes] = await together<unknown>([waiting, putLater]);
  same(changes, [['put', 'a', 1]], 'the changes');
  const seconds = (performance.now() - asked) / 1000;
  ensure(seconds < 11, `the answer came after ${seconds.toFixed(1)} s, not with the change`);
  const atOnce = await changesSince(server, `since=${since}&wait=12`, { timeout: 10_000 });
  same(told(atOnce), [['put', 'a', 1]], 'what is there already');
});

check('7.3', 'with wait an answer without changes comes when the time has passed', async (server) => {
  const since = await server.cursor();
  const asked = performance.now();
  const { changes, next, more } = await changesSince(server, `since=${since}&wait=1`, { timeout: 8_000 });
  const seconds = (performance.now() - asked) / 1000;
  same([changes, next, more], [[], since, false], 'the answer');
  ensure(seconds > 0.9, `the answer came after ${seconds.toFixed(2)} s`);
});

check(
  '7.4',
  'no cursor skips anything, whatever commits at the same time',
  async (server) => {
    const writers = 6;
    const writes = 40;
    const since = await server.cursor();
    let writing = true;
    const write = async (writer: number): Promise<void> => {
      for (let round = 0; round < writes; round += 1) {
        const key = `w${writer}-${round}`;
        if (round % 2) status(await server.put(key, `${round}`), 200);
        else await server.putAll({ [key]: round, [`${key}-beside`]: round });
      }
    };
    const follow = async (limit: number): Promise<Change[]> => {
      const seen: Change[] = [];
      let cursor = since;
      for (let answers = 0; answers < MOST_ANSWERS; answers += 1) {
        const last = !writing;
        const { changes, next, more } = await changesSince(server, `since=${cursor}&limit=${limit}&wait=1`);
        seen.push(...changes);
        cursor = next;
        if (last && !more) return seen;
      }
      throw new Error(`The changes did not end within ${MOST_ANSWERS} answers`);
    };
    const following = [follow(1000), follow(7), follow(50)];
    const written = together(Array.from({ length: writers }, (_, writer) => write(writer))).finally(() => {
      writing = false;
    });
    await together<unknown>([written, ...following]);
    const all = json<Record<string, unknown>>(await server.send('GET', '/api/storage/export'), 200);
    same(Object.keys(all).length, writers * writes * 1.5, 'keys written');
    for (const seen of await together(following)) {
      expectRising(seen, Number(since.split('.').at(-1)));
      const told = seen.map(({ key = '' }) => key);
      same(missing(Object.keys(all), told), [], 'keys that a cursor skipped');
    }
  },
  { needs: ['batch'] },
);

check('7.5', 'a cursor of another epoch, or beyond seq, is 409 epoch-changed', async (server) => {
  const { epoch, seq } = await server.position();
  for (const since of [
    `${epoch}x.${seq}`,
    `other.0`,
    `other.${seq}`,
    `${epoch}.${seq + 1}`,
    `${epoch}.${seq + 1_000_000}`,
  ])
    refused(await server.send('GET', `/api/v1/changes?since=${since}`), 409, 'epoch-changed');
});
