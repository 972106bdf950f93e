/**
 * `GET /api/v1/changes`: the changes after a cursor, immediately, as a long poll, or as an event stream (event-streams.ts).
 *
 * Spec: docs/contract.md, 7.
 */
import type { Changes, Store } from '../../store/store.ts';
import { type Answer, answer } from '../answers.ts';
import { HttpError } from '../errors.ts';
import { type Handler, type RequestContext, tenantOf } from '../request.ts';
import type { SlowClientLimits } from '../transport/sending.ts';
import { integerOf, queryOf } from '../transport/target.ts';
import { epochChanged } from './batch.ts';
import { changeText } from './change-text.ts';
import { createEventStreams } from './event-streams.ts';
import { createWaiter } from './waiter.ts';

const DEFAULT_PAGE = 500;
const MAX_PAGE = 1000;
/** Seconds. */
const MAX_WAIT = 60;

export interface ChangesParts extends SlowClientLimits {
  readonly store: Store;
  /** Ends every wait when it aborts. */
  readonly stopping: AbortSignal;
}

export function createChangesHandler({ store, stallTime, log, stopping }: ChangesParts): Handler {
  const query = createSharedQuery(store);
  const streams = createEventStreams({ store, query, stallTime, log, stopping });
  const cursorAt = (seq: number): string => `${store.epoch}.${seq}`;

  /** The sequence number of a cursor; `undefined` for one of another epoch. */
  function seqOf(cursor: string | undefined): number | undefined {
    if (cursor === undefined) return 0;
    const [, epoch, seq] = /^([\w-]{1,64})\.(\d{1,15})$/.exec(cursor) ?? [];
    if (seq === undefined) throw new HttpError(400, 'since must be <epoch>.<seq>');
    return epoch === store.epoch ? Number(seq) : undefined;
  }

  async function poll(request: RequestContext): Promise<Answer> {
    const parameters = queryOf(request.incoming.url ?? '');
    const since = seqOf(parameters.get('since'));
    const limit = integerOf(parameters, 'limit', DEFAULT_PAGE, 1, MAX_PAGE);
    const wait = integerOf(parameters, 'wait', 0, 0, MAX_WAIT);
    if (since === undefined) throw epochChanged();
    const tenant = tenantOf(request);
    const waiter = createWaiter(store, tenant, request.outgoing, stopping);
    try {
      const deadline = Date.now() + wait * 1000;
      for (let isWaiting = false; ; ) {
        const found = await query(tenant, since, limit);
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
        if (!isWaiting) request.load.wait();
        isWaiting = true;
        await waiter.next(left);
      }
    } finally {
      waiter.stop();
    }
  }

  async function stream(request: RequestContext): Promise<Answer> {
    const { incoming, load } = request;
    const lastId = incoming.headers['last-event-id'];
    const since = seqOf(lastId === undefined ? queryOf(incoming.url ?? '').get('since') : String(lastId));
    load.wait();
    const tenant = tenantOf(request);
    // A database that fails is answered with 503, which a stream could no longer say.
    await query(tenant, since ?? 0, 1);
    return {
      status: 200,
      type: 'text/event-stream',
      headers: {},
      body: (outgoing) => streams.send(outgoing, tenant, since),
    };
  }

  return async (request) => {
    const { method, headers } = request.incoming;
    const wantsStream = (headers.accept ?? '').includes('text/event-stream');
    return wantsStream && method !== 'HEAD' ? stream(request) : poll(request);
  };
}

/** `store.changes`, shared by all callers that ask the same in one turn of the event loop, as they do after a commit. */
function createSharedQuery(store: Store): Store['changes'] {
  const pending = new Map<string, Promise<Changes>>();
  return (tenant, after, limit) => {
    const id = `${tenant} ${after} ${limit}`;
    const shared = pending.get(id);
    if (shared !== undefined) return shared;
    const found = new Promise((resolve) => setImmediate(resolve)).then(() => {
      // The state that the query reads is not older than any call that shares it.
      pending.delete(id);
      return store.changes(tenant, after, limit);
    });
    pending.set(id, found);
    return found;
  };
}

function cursorGone(): HttpError {
  return new HttpError(410, 'The cursor is older than the tombstones: list everything again', {
    name: 'cursor-gone',
  });
}
