/**
 * The change feed of a server of level 1, from a cursor on (docs/contract.md, section 7).
 */
import { isObject, type JsonObject } from '../../core/json.ts';
import { strangerError } from '../errors.ts';
import { openEventStream } from './event-stream.ts';
import { type Level1, nameOf, type Unanswered } from './protocol.ts';

/** A page of changes. */
export interface Changes {
  readonly epoch: string;
  readonly changes: ReadonlyArray<{
    readonly type: string;
    /** The key; empty for a clear. */
    readonly key: string;
    readonly rev: number;
    /** The value; `undefined` if the key was deleted. */
    readonly value: { readonly json: unknown } | undefined;
  }>;
  readonly seq: number;
  readonly more: boolean;
}

/** Why a feed cannot go on at its cursor. Everything is to be read again. */
export type Lost = 'epoch-changed' | 'cursor-gone';

/** Pages of changes. Throws {@link StorageError} if the server does not answer. */
export type Feed = AsyncGenerator<Changes, Lost | undefined>;

/** What an answer to `changes` holds, or `undefined` if it is not a whole one. */
export function changesOf({ epoch, changes, next, more }: JsonObject): Changes | undefined {
  const seq = Number(/\.(\d+)$/.exec(String(next))?.[1] ?? Number.NaN);
  if (!Array.isArray(changes) || !Number.isSafeInteger(seq) || typeof more !== 'boolean') return undefined;
  const checked = changes.map((change) => {
    if (!isObject(change)) return undefined;
    const { type, key = '', rev, value } = change;
    const whole =
      (type === 'clear' || typeof key === 'string') &&
      /^\d+$/.test(String(rev)) &&
      (type !== 'put' || 'value' in change);
    return whole
      ? {
          type: String(type),
          key: String(key),
          rev: Number(rev),
          value: type === 'put' ? { json: value } : undefined,
        }
      : undefined;
  });
  return checked.every((change) => change !== undefined)
    ? { epoch: String(epoch), changes: checked, seq, more }
    : undefined;
}

const PAGE = 1000;

/** The cursor after the server's last change. */
export async function position(level1: Level1): Promise<string> {
  const { answer, error } = await level1.batch({}, []);
  if (!answer) throw error;
  return `${answer.epoch}.${answer.seq}`;
}

/** Why a request for changes was refused. @throws {StorageError} if that is not the cursor. */
function lostBy({ type, error }: Unanswered): Lost {
  const problem = nameOf(type);
  if (problem === 'epoch-changed' || problem === 'cursor-gone') return problem;
  throw error;
}

/**
 * The changes after a cursor that there are by now, page by page.
 *
 * @param since The cursor. Without one: everything.
 * @param holdMs Milliseconds for which the server is to hold back an answer without changes.
 */
export async function* changesSince(level1: Level1, since: string | undefined, holdMs = 0): Feed {
  let wait = holdMs > 0 ? `&wait=${Math.floor(holdMs / 1000)}` : '';
  for (let from = since; ; wait = '') {
    const cursor = from === undefined ? '' : `since=${encodeURIComponent(from)}&`;
    const page = await level1.read(`changes?${cursor}limit=${PAGE}${wait}`, changesOf);
    if (!page.answer) return lostBy(page);
    yield page.answer;
    if (!page.answer.more) return undefined;
    from = `${page.answer.epoch}.${page.answer.seq}`;
  }
}

/** The same as an event stream, which goes on until the connection ends or `until` aborts. */
export async function* streamedSince(level1: Level1, since: string, until: AbortSignal): Feed {
  const stream = await openEventStream(level1, `changes?since=${encodeURIComponent(since)}`, until);
  if (!stream.answer) return lostBy(stream);
  for await (const events of stream.answer) {
    const next = events.at(-1)?.id;
    const reset = events.find(({ event }) => event === 'reset');
    const changes = events.flatMap(({ event, data }) => (event === 'reset' ? [] : [jsonOf(data)]));
    if (reset) return jsonOf(reset.data)?.reason === 'cursor-gone' ? 'cursor-gone' : 'epoch-changed';
    const page = changesOf({ epoch: next?.slice(0, next.lastIndexOf('.')), changes, next, more: false });
    if (!page) throw strangerError('The server', 'an event of an unexpected shape');
    yield page;
  }
  return undefined;
}

/** Follows change feeds of servers. */
export interface FeedFollower {
  /** The changes after a cursor as they come, until the server or `until` ends it. */
  follow(level1: Level1, since: string, until: AbortSignal): Feed;
  /** Milliseconds until the next feed is followed, after one with so many changes. */
  pauseMs(changes: number): number;
}

/** The most milliseconds for which the server is asked to hold back an answer without changes. */
const HOLD_MS = 20_000;
/** Milliseconds until the next request: after changes, or an answer that was held back; and after others. */
const PAUSE_MS = 50;
const UNHELD_MS = 1000;
/** Milliseconds for which no event stream is tried where one has failed. */
const UNSTREAMED_MS = 600_000;

/**
 * Follows by an event stream where the server announces one. Where a proxy on the way lets none through, by requests that the server
 * holds back until there is a change (docs/contract.md, 7.3 and 7.6).
 *
 * @param timeout Milliseconds for a request. An answer that is held back must come within them.
 */
export function createFeedFollower(timeout: number): FeedFollower {
  const holdMs = Math.min(HOLD_MS, Math.floor(timeout / 2000) * 1000);
  let streamsAgainAt = Number.NEGATIVE_INFINITY;
  let askedAt = 0;
  let isStreaming = false;
  return {
    async *follow(level1, since, until) {
      askedAt = performance.now();
      isStreaming = level1.streamsChanges && askedAt > streamsAgainAt;
      if (!isStreaming) return yield* changesSince(level1, since, holdMs);
      try {
        return yield* streamedSince(level1, since, until);
      } catch {
        // If none can be opened although the server answers, none is tried for a while.
        const lost = yield* changesSince(level1, since);
        streamsAgainAt = performance.now() + UNSTREAMED_MS;
        return lost;
      }
    },
    pauseMs(changes) {
      // Many clients lose their streams together.
      if (isStreaming) return Math.random() * UNHELD_MS;
      return changes > 0 || performance.now() - askedAt > holdMs / 2 ? PAUSE_MS : UNHELD_MS;
    },
  };
}

/** The object that a text is, if it is one. */
function jsonOf(text: string): JsonObject | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The keys that were written since a cursor, and the cursor after them. `undefined` if every key may have been written: the server was
 * cleared or restored, or no longer knows that cursor.
 */
export async function changedSince(
  level1: Level1,
  from: string,
): Promise<{ readonly keys: ReadonlySet<string>; readonly position: string } | undefined> {
  const keys = new Set<string>();
  const feed = changesSince(level1, from);
  for (let position = from; ; ) {
    const { value, done } = await feed.next();
    if (done) return value ? undefined : { keys, position };
    if (value.changes.some(({ type }) => type === 'clear')) return undefined;
    for (const { key } of value.changes) keys.add(key);
    position = `${value.epoch}.${value.seq}`;
  }
}
