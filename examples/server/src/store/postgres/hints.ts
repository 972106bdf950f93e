/**
 * Hints between processes through LISTEN and NOTIFY, over a connection of their own.
 *
 * A hint is sent after the transaction of the change: NOTIFY inside of it would serialize all commits of the database. Hints
 * that gather while one is sent travel together. One that is lost, with its connection or its process, costs nothing but time.
 */
import type pg from 'pg';
import type { Hints } from '../driver.ts';

const CHANNEL = 'codeforge_storage';

/** Milliseconds before the next try to connect. The pause doubles, up to `MAX_PAUSE`: some databases know no LISTEN. */
const FIRST_PAUSE = 1000;
const MAX_PAUSE = 60_000;

export interface HintConnection extends Hints {
  close(): Promise<void>;
}

export function createHints(connect: () => Promise<pg.Client>): HintConnection {
  const waiting = new Set<string>();
  let listener = (_tenant: string): void => {};
  let client: pg.Client | undefined;
  let isSending = false;
  let pause = FIRST_PAUSE;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;

  async function open(): Promise<void> {
    timer = undefined;
    const opened = await connect().catch(() => undefined);
    if (opened === undefined || isClosed) {
      await opened?.end().catch(() => {});
      reopen();
      return;
    }
    opened.on('notification', ({ processId, payload = '' }) => {
      // This process knows its own changes.
      if (processId !== (opened as unknown as { processID: number }).processID) listener(payload);
    });
    opened.once('end', () => {
      if (client === opened) client = undefined;
      reopen();
    });
    try {
      // A lost hint costs nothing, so no hint waits for the disk.
      await opened.query('SET synchronous_commit = off');
      await opened.query(`LISTEN ${CHANNEL}`);
      client = opened;
      pause = FIRST_PAUSE;
    } catch {
      await opened.end().catch(() => {});
    }
  }

  function reopen(): void {
    if (isClosed || timer !== undefined) return;
    timer = setTimeout(open, pause).unref();
    pause = Math.min(pause * 2, MAX_PAUSE);
  }

  async function sendAll(): Promise<void> {
    if (isSending) return;
    isSending = true;
    while (waiting.size > 0 && client !== undefined) {
      const tenants = [...waiting];
      waiting.clear();
      await client
        .query({
          name: 'notify',
          text: `SELECT pg_notify('${CHANNEL}', tenant) FROM unnest($1::text[]) AS tenant`,
          values: [tenants],
        })
        .catch(() => {});
    }
    waiting.clear();
    isSending = false;
  }

  void open();
  return {
    send(tenants) {
      for (const tenant of tenants) waiting.add(tenant);
      void sendAll();
    },
    receive(receiver) {
      listener = receiver;
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await client?.end().catch(() => {});
    },
  };
}
