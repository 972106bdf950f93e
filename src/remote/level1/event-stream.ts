/**
 * An event stream: its events as they come, as long as the server is heard.
 *
 * Spec: HTML, 9.2 Server-sent events; docs/contract.md, 7.6.
 */
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { onNetworkBack, onShown, unref } from '../../core/platform.ts';
import type { Level1, Settled } from './protocol.ts';

/** Milliseconds for the first bytes, which a server sends at once. A proxy that gathers answers delivers none. */
const FIRST_MS = 5000;
/** Milliseconds without a byte after which a stream counts as cut: the server sends a comment after 20 s. */
const SILENCE_MS = 30_000;
const LOOK_MS = 3000;

/** A stream that is open: the events that came together. It ends when the connection does, and never throws. */
export type EventStream = AsyncGenerator<readonly EventSourceMessage[], void>;

/** Opens an event stream at a path of level 1. It ends when `until` aborts. */
export const openEventStream = (
  level1: Level1,
  path: string,
  until: AbortSignal,
): Promise<Settled<EventStream>> =>
  level1.stream(
    path,
    {
      type: 'text/event-stream',
      async open(body) {
        const reader = body.getReader();
        const { value } = await reader.read();
        if (!value) throw new TypeError('The event stream has ended before its first byte.');
        return eventsOf(value, reader, until);
      },
    },
    FIRST_MS,
  );

async function* eventsOf(
  first: Uint8Array,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  until: AbortSignal,
): EventStream {
  // The clock of the day: while a device sleeps, other clocks may stand still.
  let heardAt = Date.now();
  const cut = (): void => void reader.cancel().catch(() => undefined);
  const look = (): void => {
    if (Math.abs(Date.now() - heardAt) > SILENCE_MS) cut();
  };
  const looking = unref(setInterval(look, LOOK_MS));
  const endings = [onShown(look), onNetworkBack(cut)];
  until.addEventListener('abort', cut);
  if (until.aborted) cut();
  let events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => void events.push(event) });
  const decoder = new TextDecoder();
  try {
    for (let chunk: Uint8Array | undefined = first; chunk; chunk = (await reader.read()).value) {
      heardAt = Date.now();
      parser.feed(decoder.decode(chunk, { stream: true }));
      if (events.length > 0) yield events;
      events = [];
    }
  } catch {
    // The connection was cut.
  } finally {
    clearInterval(looking);
    for (const end of endings) end();
    until.removeEventListener('abort', cut);
    cut();
  }
}
