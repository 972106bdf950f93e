/**
 * Writers that never stop, and what they were told: for tests that kill a server or its database.
 *
 * Each writer owns its keys and waits for each answer, so the order of a key's values is known: a key holds the value
 * acknowledged last, or one that was sent after it and got no answer.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';

const PADDING = 'x'.repeat(200);

/** Keys of one writer. */
const KEYS = 4;

/** Milliseconds that a writer waits after a write without success. */
const PAUSE = 10;

/** What is known of a key. Versions of a key count up from 1. */
interface Known {
  sent: number;
  acknowledged: number;
}

export class Storm {
  readonly #url: string;
  readonly #known = new Map<string, Known>();
  readonly #waiting = new Set<{ readonly since: number; resolve(): void }>();
  #writers: Promise<unknown> | undefined;
  #isOn = false;
  /** Writes that were answered with success. */
  acknowledged = 0;
  /** Statuses of the other answers, and how often each came; 0 stands for no answer. */
  readonly refused = new Map<number, number>();

  constructor(url: string) {
    this.#url = url;
  }

  start(writers: number): void {
    this.#isOn = true;
    this.#writers = Promise.all(Array.from({ length: writers }, (_, writer) => this.#write(writer)));
  }

  /** Resolves when no write is under way. */
  async stop(): Promise<void> {
    this.#isOn = false;
    await this.#writers;
  }

  /** Resolves when a write is acknowledged that was sent after this call. */
  nextAcknowledged(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add({ since: performance.now(), resolve }));
  }

  /** Expects that the server holds what it has acknowledged. */
  async check(): Promise<void> {
    const response = await fetch(`${this.#url}/api/storage/export`);
    expect(response.status).toBe(200);
    const entries: Record<string, { version: number; padding: string }> = await response.json();
    const wrong = [...this.#known].filter(([key, { sent, acknowledged }]) => {
      const version = entries[key]?.version ?? 0;
      return version < acknowledged || version > sent;
    });
    expect(wrong).toEqual([]);
    expect(Object.values(entries).every(({ padding }) => padding === PADDING)).toBe(true);
  }

  async #write(writer: number): Promise<void> {
    for (let count = 0; this.#isOn; count += 1) {
      const key = `writer-${writer}-${count % KEYS}`;
      const state = this.#known.get(key) ?? { sent: 0, acknowledged: 0 };
      this.#known.set(key, state);
      state.sent += 1;
      const sentAt = performance.now();
      const response = await fetch(`${this.#url}/api/storage/${key}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ value: { version: state.sent, padding: PADDING } }),
      }).catch(() => undefined);
      await response?.body?.cancel();
      const status = response?.status ?? 0;
      if (status === 200) {
        state.acknowledged = state.sent;
        this.acknowledged += 1;
        for (const waiting of this.#waiting)
          if (sentAt >= waiting.since && this.#waiting.delete(waiting)) waiting.resolve();
        continue;
      }
      this.refused.set(status, (this.refused.get(status) ?? 0) + 1);
      if (status === 503) expect(response?.headers.get('retry-after')).toBe('1');
      await delay(PAUSE);
    }
  }
}
