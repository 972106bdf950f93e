/**
 * An event stream, read by hand.
 *
 * Spec: HTML Living Standard, Server-sent events, Parsing an event stream.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { same } from './expectations.ts';
import type { Asked, Subject } from './subject.ts';

/** Milliseconds that a stream may stay open. */
const STREAM_TIMEOUT = 300_000;

/** One event, as the stream tells it. */
export interface StreamEvent {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

/** A stream that is open. */
export interface EventStream {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The last `retry`. */
  retry(): number | undefined;
  /** The next `count` events. Rejects where they do not come within `timeout` milliseconds, or the stream ends. */
  take(count: number, timeout?: number): Promise<StreamEvent[]>;
  /** Resolves with the next comment. Rejects where the stream ends, or nothing at all comes for `silence` milliseconds. */
  comment(silence: number): Promise<void>;
  close(): void;
}

/** Open a stream of changes. */
async function openEvents(
  server: Subject,
  query = '',
  { headers, token }: Pick<Asked, 'headers' | 'token'> = {},
): Promise<EventStream> {
  const path = `/api/v1/changes${query && `?${query}`}`;
  const { request, response } = await server.open('GET', path, {
    headers: { accept: 'text/event-stream', ...headers },
    token,
    timeout: STREAM_TIMEOUT,
  });
  const events: StreamEvent[] = [];
  const waiting = new Set<() => void>();
  let [chunks, comments, ended] = [0, 0, false];
  let retry: number | undefined;
  let [id, event, data, rest]: [string | undefined, string, string[], string] = [undefined, '', [], ''];

  const line = (text: string): void => {
    if (text === '') {
      if (data.length > 0) events.push({ id, event: event || 'message', data: data.join('\n') });
      [event, data] = ['', []];
    } else if (text.startsWith(':')) {
      comments += 1;
    } else {
      const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(text) ?? [];
      if (name === 'id') id = value;
      else if (name === 'event') event = value;
      else if (name === 'data') data.push(value);
      else if (name === 'retry') retry = Number(value);
    }
  };
  const wake = (): void => {
    for (const check of waiting) check();
  };
  response.setEncoding('utf8').on('data', (text: string) => {
    chunks += 1;
    const lines = `${rest}${text}`.split(/\r\n|\n|\r/);
    rest = lines.pop() ?? '';
    for (const text of lines) line(text);
    wake();
  });
  for (const name of ['end', 'error', 'close'])
    response.on(name, () => {
      ended = true;
      wake();
    });

  const until = (holds: () => boolean, what: string, timeout: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        waiting.delete(check);
        if (error) reject(error);
        else resolve();
      };
      const check = (): void => {
        if (holds()) settle();
        else if (ended) settle(new Error(`the event stream ended before ${what}`));
      };
      const timer = setTimeout(
        () => settle(new Error(`the event stream did not send ${what} within ${timeout / 1000} s`)),
        timeout,
      );
      waiting.add(check);
      check();
    });

  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    retry: () => retry,
    async take(count, timeout = 8_000) {
      await until(
        () => events.length >= count,
        `${count} events, but only ${JSON.stringify(events)}`,
        timeout,
      );
      return events.splice(0, count);
    },
    async comment(silence) {
      const before = comments;
      while (comments === before) {
        const heard = chunks;
        await until(() => chunks > heard, 'a comment or anything else', silence);
      }
    },
    close: () => request.destroy(),
  };
}

/** Open a stream that must be one, use it, and close it. */
export async function withEvents(
  server: Subject,
  { query, ...asked }: { query?: string } & Pick<Asked, 'headers' | 'token'>,
  use: (stream: EventStream) => Promise<void>,
): Promise<void> {
  const stream = await openEvents(server, query, asked);
  try {
    same(stream.status, 200, `the status of an event stream with "${query}"`);
    await use(stream);
  } finally {
    stream.close();
  }
}
