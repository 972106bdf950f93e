/** Clauses 7.6 and 7.7: changes as an event stream. */
import { setTimeout as delay } from 'node:timers/promises';
import { ensure, same } from './expectations.ts';
import { checksThatNeed } from './runner.ts';
import { type StreamEvent, withEvents } from './sse.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'changes', 'sse');

export { checks as eventChecks };

/** Milliseconds: the 20 s of the clause, and time for a machine that is busy. */
const MOST_SILENCE = 25_000;

const told = (events: readonly StreamEvent[]): unknown[] =>
  events.map(({ id, event, data }) => [event, id, JSON.parse(data)]);

check('7.6', 'an event stream tells each change as 7.1 does, with its cursor as id', async (server) => {
  await server.put('before', '1');
  const { epoch, seq } = await server.position();
  await withEvents(server, { query: `since=${epoch}.${seq - 1}` }, async (stream) => {
    const type = stream.headers['content-type'] ?? '';
    ensure(/^text\/event-stream\b/.test(type), `Content-Type must be text/event-stream, not ${type}`);
    same(
      told(await stream.take(1)),
      [['put', `${epoch}.${seq}`, { type: 'put', key: 'before', rev: `${seq}`, value: 1 }]],
      'the events of what was there',
    );
    same(stream.retry(), 3000, '`retry`');
    await server.put('a', '{"b": 1.10}');
    await server.delete('a');
    await server.wipe();
    const live: StreamEvent[] = await stream.take(1);
    // The put may be compacted into the delete, and both into the clear.
    while (live.at(-1)?.event !== 'clear' && live.length < 3) live.push(...(await stream.take(1)));
    const clear = ['clear', `${epoch}.${seq + 3}`, { type: 'clear', rev: `${seq + 3}` }];
    same(told(live).at(-1), clear, 'the last event');
    for (const { event, id, data } of live) {
      const { type, rev } = JSON.parse(data) as { type: string; rev: string };
      same([type, `${epoch}.${rev}`], [event, id], 'type and revision in the data of an event');
    }
    await server.put('c', '"é\\n🗝"');
    const put = { type: 'put', key: 'c', rev: `${seq + 4}`, value: 'é\n🗝' };
    same(told(await stream.take(1)), [['put', `${epoch}.${seq + 4}`, put]], 'the event of a put');
  });
});

check('7.6', 'without a cursor the stream tells everything', async (server) => {
  await server.importObject('{"a":1,"b":2}');
  await withEvents(server, {}, async (stream) => {
    const events: StreamEvent[] = [];
    while (events.filter(({ event }) => event === 'put').length < 2 && events.length < 4)
      events.push(...(await stream.take(1)));
    const puts = events.filter(({ event }) => event === 'put').map(({ data }) => JSON.parse(data).key);
    same(puts, ['a', 'b'], 'the keys of the puts');
  });
});

check('7.6', 'Last-Event-ID wins over since, and goes on right after that event', async (server) => {
  const since = await server.cursor();
  await server.importObject('{"a":1,"b":2,"c":3}');
  let lastId = '';
  await withEvents(server, { query: `since=${since}` }, async (stream) => {
    const [, second] = await stream.take(2);
    lastId = second?.id ?? '';
  });
  await server.put('d', '4');
  await withEvents(
    server,
    { query: `since=${since}`, headers: { 'last-event-id': lastId } },
    async (stream) => {
      const events = await stream.take(2);
      same(
        events.map(({ data }) => JSON.parse(data).key),
        ['c', 'd'],
        'the keys after the event that came last',
      );
    },
  );
});

check('7.6', 'the event stream skips nothing under concurrent writers', async (server) => {
  const since = await server.cursor();
  const keys = Array.from({ length: 5 }, (_, writer) =>
    Array.from({ length: 20 }, (__, round) => `w${writer}-${round}`),
  );
  await withEvents(server, { query: `since=${since}` }, async (stream) => {
    const writing = keys.map(async (own) => {
      for (const key of own) await server.put(key, '1');
    });
    await together(writing);
    const events = await stream.take(100);
    same(new Set(events.map(({ data }) => JSON.parse(data).key)), new Set(keys.flat()), 'the keys told');
    const revs = events.map(({ id }) => Number(id?.split('.').at(-1)));
    same(
      revs.toSorted((a, b) => a - b),
      revs,
      'the order of the revisions',
    );
  });
});

check(
  '7.6',
  'a comment comes after 20 s without an event',
  async (server) => {
    // Of a tenant that is quiet while the other checks write, where there is one.
    const token = server.tokens.other;
    await withEvents(server, { query: `since=${await server.cursor(token)}`, token }, async (stream) => {
      // One that comes with the head says nothing about those that follow.
      await delay(1_000);
      await stream.comment(MOST_SILENCE);
    });
  },
  { alongside: true },
);

check('7.7', 'a cursor that is refused is a reset, and the stream goes on from its id', async (server) => {
  await server.put('a', '1');
  const { epoch, seq } = await server.position();
  const refused: ReadonlyArray<{ query?: string; headers?: Record<string, string> }> = [
    { query: `since=other.${seq}` },
    { query: `since=${epoch}.${seq + 100}` },
    { query: `since=${epoch}.${seq}`, headers: { 'last-event-id': 'other.1' } },
  ];
  for (const asked of refused) {
    await withEvents(server, asked, async (stream) => {
      const [reset] = await stream.take(1);
      same(reset?.event, 'reset', 'the event');
      same(JSON.parse(reset?.data ?? ''), { type: 'reset', reason: 'epoch-changed' }, 'its data');
      const [from, number] = reset?.id?.split('.') ?? [];
      ensure(
        from === epoch && /^\d+$/.test(number ?? ''),
        `its id must be a cursor of ${epoch}, not ${reset?.id}`,
      );
      await server.put('b', '1');
      const { seq: now } = await server.position();
      for (let events = 0; events < 10; events += 1) {
        const [next] = await stream.take(1);
        const rev = Number(next?.id?.split('.').at(-1));
        ensure(
          rev > Number(number),
          `an event after the reset must have an id after ${reset?.id}, not ${next?.id}`,
        );
        if (rev === now) return;
      }
      throw new Error('The change after the reset did not come');
    });
  }
});
