/**
 * `GET /api/v1/changes`: the changes after a cursor, immediately, as a long poll, or as an event stream.
 *
 * Spec: docs/contract.md, 7; HTML, Server-sent events.
 */
import type { Change, Store } from '../../store/store.ts';
import { type Answer, answer, streamed } from '../answers.ts';
import { HttpError, tooManyRequests } from '../errors.ts';
import { type Handler, type RequestContext, tenantOf } from '../request.ts';
import { integerOf, queryOf } from '../transport/target.ts';
import { epochChanged } from './batch.ts';
import { createWaiter } from './waiter.ts';

const DEFAULT_PAGE = 500;
const MAX_PAGE = 1000;
/** Seconds. */
const MAX_WAIT = 60;
/** Milliseconds without an event after which a comment is sent: proxies close silent connections. */
const HEARTBEAT = 20_000;

/** @param stopping Ends every wait when it aborts. */
export function createChangesHandler(store: Store, stopping: AbortSignal): Handler {
  const cursorAt = (seq: number): string => `${store.epoch}.${seq}`;

  /** The sequence number of a cursor; `undefined` for one of another epoch. */
  function seqOf(cursor: string | undefined): number | undefined {
    if (cursor === undefined) return 0;
    const [, epoch, seq] = /^([\w-]{1,64})\.(\d{1,15})$/.exec(cursor) ?? [];
    if (seq === undefined) throw new HttpError(400, 'since must be <epoch>.<seq>');
    return epoch === store.epoch ? Number(seq) : undefined;
  }

  async function poll(request: RequestContext): Promise<Answer> {
    const query = queryOf(request.incoming.url ?? '');
    const since = seqOf(query.get('since'));
    const limit = integerOf(query, 'limit', DEFAULT_PAGE, 1, MAX_PAGE);
    const wait = integerOf(query, 'wait', 0, 0, MAX_WAIT);
    if (since === undefined) throw epochChanged();
    const tenant = tenantOf(request);
    const waiter = createWaiter(store, tenant, request.outgoing, stopping);
    try {
      const deadline = Date.now() + wait * 1000;
      for (let isWaiting = false; ; ) {
        const found = await store.changes(tenant, since, limit);
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
        if (!isWaiting && !request.slot.wait()) return tooManyRequests();
        isWaiting = true;
        await waiter.next(left);
      }
    } finally {
      waiter.stop();
    }
  }

  async function stream(request: RequestContext): Promise<Answer> {
    const { incoming, outgoing, slot } = request;
    const lastId = incoming.headers['last-event-id'];
    const since = seqOf(lastId === undefined ? queryOf(incoming.url ?? '').get('since') : String(lastId));
    if (!slot.wait()) return tooManyRequests();
    const tenant = tenantOf(request);
    const waiter = createWaiter(store, tenant, outgoing, stopping);
    let at = since;
    let sentAt = Date.now();

    /** The next events as text, or `undefined` at the end. Waits for a change. */
    async function next(): Promise<string | undefined> {
      for (;;) {
        const found =
          at === undefined
            ? { seq: await store.seq(tenant), lost: 'epoch-changed' as const }
            : await store.changes(tenant, at, DEFAULT_PAGE);
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
        // A commit that changed nothing of this tenant may wake the waiter too. It must not postpone the heartbeat.
        const silence = Date.now() - sentAt;
        if (silence >= HEARTBEAT) return ':\n\n';
        await waiter.next(HEARTBEAT - silence);
      }
    }

    async function* events(): AsyncGenerator<string, void> {
      try {
        // Sends the head now: the first change may come much later.
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

  return async (request) => {
    const { method, headers } = request.incoming;
    const wantsStream = (headers.accept ?? '').includes('text/event-stream');
    return wantsStream && method !== 'HEAD' ? stream(request) : poll(request);
  };
}

function cursorGone(): HttpError {
  return new HttpError(410, 'The cursor is older than the tombstones: list everything again', {
    name: 'cursor-gone',
  });
}

function changeText(change: Change): string {
  if (change.type === 'clear') return `{"type":"clear","rev":"${change.rev}"}`;
  const start = `{"type":"${change.type}","key":${JSON.stringify(change.key)},"rev":"${change.rev}"`;
  return change.type === 'put' ? `${start},"value":${change.value}}` : `${start}}`;
}

function event(id: string, type: string, data: string): string {
  // JSON may contain line breaks between its tokens. Each line becomes its own field.
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `id: ${id}\nevent: ${type}\n${lines.join('')}\n`;
}
