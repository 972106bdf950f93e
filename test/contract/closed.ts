/** What a closed storage says to what is called of it but seldom: the same as to everything else. */
import { expect, it } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { codeOf } from './codes.ts';

/** Methods that are loaded when they are called, called with something they accept. */
const LATER: ReadonlyArray<readonly [string, (storage: KeyValueStorage) => Promise<unknown>]> = [
  ['export', (s) => s.export()],
  ['export as a Blob', (s) => s.export({ as: 'blob' })],
  ['import', (s) => s.import('{"a":1}')],
  ['a dry run of import', (s) => s.import('{"a":1}', { dryRun: true })],
  ['migrateToFlask', (s) => s.migrateToFlask('http://127.0.0.1:1')],
  ['migrateToIndexedDB', (s) => s.migrateToIndexedDB()],
  ['oldDatabases', (s) => s.oldDatabases()],
  ['adopt', (s) => s.adopt('CodeForgeDB')],
  ['flush', (s) => s.flush()],
  ['conflicts', (s) => s.conflicts()],
  ['resolve', (s) => s.resolve('a', 'local')],
];

/** A stream that gives the beginning of a backup and then nothing. */
function silentStream() {
  const asked = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<unknown>();
  let pulls = 0;
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        pulls += 1;
        if (pulls === 1) controller.enqueue(new TextEncoder().encode('{"a":'));
        else asked.resolve();
      },
      cancel: cancelled.resolve,
    },
    { highWaterMark: 0 },
  );
  return {
    stream,
    /** Resolves when its reader waits for more. */
    asked: asked.promise,
    /** Resolves with the reason. */
    cancelled: cancelled.promise,
  };
}

/** Run the clauses; `open` opens a storage. */
export function closed(open: () => Promise<KeyValueStorage>): void {
  for (const [name, call] of LATER)
    it(`rejects ${name} on a closed storage`, async () => {
      const storage = await open();
      await storage.close();
      expect(await codeOf(call(storage))).toBe('closed');
    });

  it('ends an import that waits for more of its stream when it is closed, and cancels the stream', async () => {
    const storage = await open();
    const silent = silentStream();
    const importing = codeOf(storage.import(silent.stream));
    await silent.asked;
    await storage.close();
    expect(await importing).toBe('closed');
    expect(await silent.cancelled).toMatchObject({ code: 'closed' });
  });

  it('ends an import that was begun in the same turn, and cancels its stream', async () => {
    const storage = await open();
    const silent = silentStream();
    const importing = codeOf(storage.import(silent.stream));
    await storage.close();
    expect(await importing).toBe('closed');
    expect(await silent.cancelled).toMatchObject({ code: 'closed' });
  });

  it('rejects what still comes of an export when the storage is closed, unless all of it does', async () => {
    const storage = await open();
    await storage.setMany(Array.from({ length: 3000 }, (_, i) => [`k${i}`, i] as const));
    const reader = (await storage.export()).getReader();
    const decoder = new TextDecoder();
    const read = async (): Promise<string> => {
      const { value, done } = await reader.read();
      return done ? '' : decoder.decode(value, { stream: true }) + (await read());
    };
    const { value: first } = await reader.read();
    await storage.close();
    // A server of level 0 has answered everything by now.
    const outcome = await read().then(
      (rest) => (decoder.decode(first) + rest).trimEnd().split('\n').at(-1),
      (error: { code?: unknown }) => error.code,
    );
    expect(outcome).toMatch(/^closed$|^\{"end":true,"count":3000,/);
  });
}
