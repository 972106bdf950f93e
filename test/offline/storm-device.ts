/** Another device of the storm: it writes the shared keys over the plain protocol, whatever the tabs have written there. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Write } from './storm-writer.ts';

/** Its number among the tabs. */
const DEVICE = 0;

/** Milliseconds between its writes. */
const PAUSE = 40;

/** One that writes to the server at `url` until it is told to stop; resolves with its notes. While the server is away it only tries. */
export function startDevice(url: string, sharedKeys: readonly string[]): () => Promise<Write[]> {
  let over = false;
  const writes: Write[] = [];
  const ended = (async () => {
    for (let count = 0; !over; count += 1) {
      const key = sharedKeys[count % sharedKeys.length] as string;
      const value = `device, ${count}`;
      const startMs = Date.now();
      const rejected = await put(`${url}/api/storage/${encodeURIComponent(key)}`, value);
      // A server that was not there has not done it.
      if (rejected !== 'ECONNREFUSED')
        writes.push({
          tab: DEVICE,
          key,
          type: 'set',
          value,
          startMs,
          endMs: Date.now(),
          rejected,
          backend: 'device',
        });
      await delay(PAUSE);
    }
  })();
  return async () => {
    over = true;
    await ended;
    return writes;
  };
}

/** Resolves with why there was no answer. */
const put = (url: string, value: unknown): Promise<string | undefined> =>
  fetch(url, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value }),
  }).then(
    (response) => (response.ok ? undefined : String(response.status)),
    ({ cause }: { cause?: { code?: string } }) => cause?.code ?? 'lost',
  );
