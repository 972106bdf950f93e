/**
 * The event streams of all tenants.
 *
 * A commit costs one query for each tenant and cursor, whatever number of streams there is, and streams at the same cursor are
 * sent the same bytes. Commits that follow each other quickly are gathered: a stream is sent events at most every 50 ms, and with
 * very many streams less often, so that writes keep most of the time.
 *
 * A stream is sent nothing more while its client has not taken what was sent before, and goes on from its own cursor later. So
 * a slow client costs the memory of one page. A client that stalls is disconnected, and resumes with its last event id.
 *
 * Spec: docs/contract.md, 7.6 and 7.7.
 */
import type { ServerResponse } from 'node:http';
import type { Changes, Store } from '../../store/store.ts';
import { limitPace, type SlowClientLimits } from '../transport/sending.ts';
import { changeText, eventText } from './change-text.ts';

/** Milliseconds in which the events of a stream are gathered. */
const GATHER_TIME = 50;

/** So many times longer than sending took, events are gathered: other requests have the rest of the time. */
const GATHER_FACTOR = 10;

/** The most changes in one page of events. */
const PAGE = 500;

/** Milliseconds without an event after which a comment is sent: proxies close silent connections. */
const HEARTBEAT = 20_000;
const HEARTBEAT_CHECK = 1000;

/** Bytes of pages that clients have not taken. When there are more, the clients that are slowest to take theirs are disconnected. */
const MAX_UNTAKEN = 64 * 1024 * 1024;

/** Queries the changes after a cursor. */
type QueryChanges = (tenant: string, after: number, limit: number) => Promise<Changes>;

/** Events, and the cursor after them. */
interface Page {
  readonly bytes: Buffer;
  readonly next: number;
  /** Streams whose clients have not taken all of it. */
  readonly untakenBy: Set<Stream>;
}

interface Stream {
  readonly outgoing: ServerResponse;
  /** The sequence number up to which everything was sent; `undefined` for a cursor of another epoch. */
  cursor: number | undefined;
  /** When something was sent last. */
  sentAt: number;
  /** The page that the client has not taken yet. */
  untaken: Page | undefined;
}

export interface EventStreams {
  /** Sends all events after `cursor` until the caller disconnects or the server stops. The head was sent. */
  send(outgoing: ServerResponse, tenant: string, cursor: number | undefined): Promise<void>;
}

export interface EventStreamParts extends SlowClientLimits {
  readonly store: Store;
  readonly query: QueryChanges;
  /** Ends all streams when it aborts. */
  readonly stopping: AbortSignal;
}

export function createEventStreams(parts: EventStreamParts): EventStreams {
  const tenants = new Map<string, TenantStreams>();
  const untaken = new UntakenPages();
  let heartbeat: ReturnType<typeof setInterval> | undefined;
  const all = (): Stream[] => [...tenants.values()].flatMap(({ streams }) => [...streams]);
  parts.stopping.addEventListener('abort', () => {
    // A client that does not take what it was sent must not delay the end.
    for (const { outgoing, untaken: page } of all())
      if (page === undefined) outgoing.end();
      else outgoing.destroy();
  });

  return {
    send(outgoing, tenant, cursor) {
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      outgoing.write('retry: 3000\n\n');
      if (outgoing.closed || parts.stopping.aborted) {
        outgoing.end();
        return Promise.resolve();
      }
      const group = tenants.get(tenant) ?? new TenantStreams(tenant, parts, untaken);
      tenants.set(tenant, group);
      heartbeat ??= setInterval(() => {
        for (const stream of all()) beat(stream);
      }, HEARTBEAT_CHECK);
      const stream: Stream = { outgoing, cursor, sentAt: Date.now(), untaken: undefined };
      group.add(stream);
      outgoing.once('close', () => {
        untaken.taken(stream);
        group.remove(stream);
        if (group.streams.size === 0) tenants.delete(tenant);
        if (tenants.size === 0) {
          clearInterval(heartbeat);
          heartbeat = undefined;
        }
        resolve();
      });
      return closed;
    },
  };
}

function beat(stream: Stream): void {
  const now = Date.now();
  if (stream.untaken !== undefined || stream.outgoing.writableEnded || now - stream.sentAt < HEARTBEAT)
    return;
  stream.sentAt = now;
  stream.outgoing.write(':\n\n');
}

/** The streams of one tenant. */
class TenantStreams {
  readonly streams = new Set<Stream>();
  readonly #tenant: string;
  readonly #parts: EventStreamParts;
  readonly #untaken: UntakenPages;
  /** Streams that may have something to send. */
  #behind = new Set<Stream>();
  /** Whether a page was not the last one, so that there is no reason to gather. */
  #hasMore = false;
  #isSending = false;
  #sentAt = 0;
  /** Milliseconds that it took to send something to all streams the last time. */
  #sendTime = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #unsubscribe: () => void;

  constructor(tenant: string, parts: EventStreamParts, untaken: UntakenPages) {
    this.#tenant = tenant;
    this.#parts = parts;
    this.#untaken = untaken;
    this.#unsubscribe = parts.store.onCommit(tenant, () => {
      for (const stream of this.streams) this.#behind.add(stream);
      this.#schedule();
    });
  }

  add(stream: Stream): void {
    this.streams.add(stream);
    this.#behind.add(stream);
    this.#schedule();
  }

  remove(stream: Stream): void {
    this.streams.delete(stream);
    this.#behind.delete(stream);
    if (this.streams.size > 0) return;
    this.#unsubscribe();
    clearTimeout(this.#timer);
  }

  /** Sends soon: immediately, or when the time to gather is over. */
  #schedule(): void {
    if (this.#timer !== undefined || this.#isSending || this.#behind.size === 0) return;
    const gatherTime = Math.max(this.#hasMore ? 0 : GATHER_TIME, GATHER_FACTOR * this.#sendTime);
    const wait = Math.max(0, this.#sentAt + gatherTime - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#isSending = true;
      this.#sentAt = Date.now();
      this.#sendAll()
        .catch((error) => this.#fail(error))
        .finally(() => {
          this.#isSending = false;
          this.#schedule();
        });
    }, wait);
  }

  /** Sends one page to each stream that is behind and has taken the page before. */
  async #sendAll(): Promise<void> {
    const ready = [...this.#behind].filter(({ untaken }) => untaken === undefined);
    this.#behind = new Set();
    this.#hasMore = false;
    this.#sendTime = 0;
    const byCursor = Map.groupBy(ready, ({ cursor }) => cursor);
    await Promise.all(Array.from(byCursor, ([cursor, streams]) => this.#sendPage(cursor, streams)));
  }

  async #sendPage(cursor: number | undefined, streams: readonly Stream[]): Promise<void> {
    const page = await this.#pageAfter(cursor);
    if (page === undefined) return;
    const now = Date.now();
    const begun = performance.now();
    for (const stream of streams) {
      // It may have ended during the query.
      if (!this.streams.has(stream) || stream.outgoing.writableEnded) continue;
      stream.cursor = page.next;
      stream.sentAt = now;
      if (!stream.outgoing.write(page.bytes)) this.#waitForClient(stream, page);
      if (!page.hasMore) continue;
      this.#behind.add(stream);
      this.#hasMore = true;
    }
    this.#sendTime += performance.now() - begun;
  }

  async #pageAfter(cursor: number | undefined): Promise<(Page & { readonly hasMore: boolean }) | undefined> {
    const { store, query } = this.#parts;
    const cursorAt = (seq: number): string => `${store.epoch}.${seq}`;
    const found =
      cursor === undefined
        ? ({ seq: await store.seq(this.#tenant), lost: 'epoch-changed' } as const)
        : await query(this.#tenant, cursor, PAGE);
    if ('lost' in found) {
      const data = JSON.stringify({ type: 'reset', reason: found.lost });
      const bytes = Buffer.from(eventText(cursorAt(found.seq), 'reset', data));
      return { bytes, next: found.seq, untakenBy: new Set(), hasMore: true };
    }
    const { changes, more: hasMore } = found;
    const last = changes.at(-1);
    if (last === undefined) return undefined;
    const texts = changes.map((change) => eventText(cursorAt(change.rev), change.type, changeText(change)));
    return { bytes: Buffer.from(texts.join('')), next: last.rev, untakenBy: new Set(), hasMore };
  }

  #waitForClient(stream: Stream, page: Page): void {
    const { outgoing } = stream;
    const stopLimit = limitPace(outgoing, this.#parts);
    this.#untaken.add(stream, page);
    outgoing.once('drain', () => {
      stopLimit();
      this.#untaken.taken(stream);
      this.#behind.add(stream);
      this.#schedule();
    });
  }

  /** The database failed. The clients come back with their last event id, and are then told so. */
  #fail(error: unknown): void {
    this.#parts.log.error({ err: error }, 'event streams failed');
    for (const { outgoing } of this.streams) outgoing.destroy();
  }
}

/** The pages that clients have not taken. */
class UntakenPages {
  /** In the order in which clients began to lag. */
  readonly #streams = new Set<Stream>();
  #bytes = 0;

  add(stream: Stream, page: Page): void {
    this.#streams.add(stream);
    stream.untaken = page;
    if (page.untakenBy.size === 0) this.#bytes += page.bytes.length;
    page.untakenBy.add(stream);
    for (const slowest of this.#streams) {
      if (this.#bytes <= MAX_UNTAKEN) return;
      slowest.outgoing.destroy();
      this.taken(slowest);
    }
  }

  taken(stream: Stream): void {
    const page = stream.untaken;
    if (page === undefined) return;
    this.#streams.delete(stream);
    stream.untaken = undefined;
    page.untakenBy.delete(stream);
    if (page.untakenBy.size === 0) this.#bytes -= page.bytes.length;
  }
}
