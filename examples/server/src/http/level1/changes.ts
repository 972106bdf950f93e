/**
 * `GET /api/v1/changes`: what has changed after a cursor, at once, as a long poll, or as an event stream.
 *
 * Spec: docs/contract.md, 7; HTML, Server-sent events.
 */
import type { Change, Store } from '../../store/store.ts';
import { type Answer, answer, Refusal, streamed } from '../answers.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { busy } from '../transport/load.ts';
import { integerOf, queryOf } from '../transport/target.ts';
import { epochChanged } from './batch.ts';
import { createWaiter } from './waiter.ts';

const USUAL_PAGE = 500;
const LARGEST_PAGE = 1000;
const LONGEST_WAIT = 60;
/** Milliseconds between comments on a silent stream: proxies cut what is silent for longer. */
const HEARTBEAT = 20_000;

/** @param stopping Ends what waits, when the server is asked to stop. */
export function createChangesRoute(store: Store, stopping: AbortSignal) {
  const cursorAt = (seq: number): string => `${store.epoch}.${seq}`;

  /** The sequence number of a cursor; `undefined` for one of another epoch. */
  function seqOf(cursor: string | undefined): number | undefined {
    if (cursor === undefined) return 0;
    const [, epoch, seq] = /^([\w-]{1,64})\.(\d{1,15})$/.exec(cursor) ?? [];
    if (seq === undefined) throw new Refusal(400, 'since is <epoch>.<seq>');
    return epoch === store.epoch ? Number(seq) : undefined;
  }

  async function poll(c: RequestContext): Promise<Answer> {
    const query = queryOf(c.incoming.url ?? '');
    const since = seqOf(query.get('since'));
    const limit = integerOf(query, 'limit', USUAL_PAGE, 1, LARGEST_PAGE);
    const wait = integerOf(query, 'wait', 0, 0, LONGEST_WAIT);
    if (since === undefined) throw epochChanged();
    const waiter = createWaiter(store, c.outgoing, stopping);
    try {
      const deadline = Date.now() + wait * 1000;
      for (let parked = false; ; ) {
        const found = await store.changes(tenantOf(c), since, limit);
        if ('lost' in found) throw found.lost === 'epoch-changed' ? epochChanged() : cursorGone();
        const { seq, changes, more } = found;
        const left = deadline - Date.now();
        if (changes.length > 0 || left <= 0 || waiter.ended) {
          const next = cursorAt(changes.at(-1)?.rev ?? since);
          const head = `{"epoch":${JSON.stringify(store.epoch)},"seq":${seq},"changes":[`;
          return answer(
            `${head}${changes.map(changeText).join()}],"next":${JSON.stringify(next)},"more":${more}}`,
          );
        }
        if (!parked && !c.place.wait()) return busy();
        parked = true;
        await waiter.next(left);
      }
    } finally {
      waiter.stop();
    }
  }

  async function stream(c: RequestContext): Promise<Answer> {
    const { incoming, outgoing, place } = c;
    const lastId = incoming.headers['last-event-id'];
    const since = seqOf(lastId === undefined ? queryOf(incoming.url ?? '').get('since') : String(lastId));
    if (!place.wait()) return busy();
    const tenant = tenantOf(c);
    const waiter = createWaiter(store, outgoing, stopping);
    let at = since;
    let sentAt = Date.now();

    /** What to send next, or `undefined` at the end. Waits until there is something. */
    async function next(): Promise<string | undefined> {
      for (;;) {
        const found =
          at === undefined
            ? { seq: await store.seq(tenant), lost: 'epoch-changed' as const }
            : await store.changes(tenant, at, USUAL_PAGE);
        if ('lost' in found) {
          at = found.seq;
          const text = JSON.stringify({ type: 'reset', reason: found.lost });
          return event(cursorAt(at), 'reset', text);
        }
        const last = found.changes.at(-1);
        if (last) {
          at = last.rev;
          return found.changes
            .map((change) => event(cursorAt(change.rev), change.type, changeText(change)))
            .join('');
        }
        if (waiter.ended) return undefined;
        // Commits of other tenants wake it too: they do not put off the sign of life.
        const silence = Date.now() - sentAt;
        if (silence >= HEARTBEAT) return ':\n\n';
        await waiter.next(HEARTBEAT - silence);
      }
    }

    async function* events(): AsyncGenerator<string, void> {
      try {
        // The head goes out at once, however long the first change takes.
        yield 'retry: 3000\n\n';
        for (let text = await next(); text !== undefined; text = await next()) {
          sentAt = Date.now();
          yield text;
        }
      } finally {
        waiter.stop();
      }
    }
    return streamed('text/event-stream', events());
  }

  return async (c: RequestContext): Promise<Answer> => {
    const asksForStream = (c.incoming.headers.accept ?? '').includes('text/event-stream');
    if (asksForStream && c.incoming.method !== 'HEAD') return stream(c);
    return poll(c);
  };
}

function cursorGone(): Refusal {
  return new Refusal(410, 'The cursor is older than what is remembered: list everything again', {
    name: 'cursor-gone',
  });
}

function changeText(change: Change): string {
  if (change.type === 'clear') return `{"type":"clear","rev":"${change.rev}"}`;
  const start = `{"type":"${change.type}","key":${JSON.stringify(change.key)},"rev":"${change.rev}"`;
  return change.type === 'put' ? `${start},"value":${change.value}}` : `${start}}`;
}

function event(id: string, type: string, data: string): string {
  // A JSON text may hold line breaks between its tokens; each line is a field of its own.
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${id}\nevent: ${type}\n${lines.join('')}\n`;
}
