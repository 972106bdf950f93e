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

/** Run the clauses; `open` opens a storage. */
export function closed(open: () => Promise<KeyValueStorage>): void {
  for (const [name, call] of LATER)
    it(`rejects ${name} on a closed storage`, async () => {
      const storage = await open();
      await storage.close();
      expect(await codeOf(call(storage))).toBe('closed');
    });

  it('rejects an import that waits for more of its stream when the storage is closed', async () => {
    const storage = await open();
    let cancelled: unknown;
    const silent = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"a":')),
      cancel(reason) {
        cancelled = reason;
      },
    });
    const importing = codeOf(storage.import(silent));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await storage.close();
    expect(await importing).toBe('closed');
    expect(cancelled).toMatchObject({ code: 'closed' });
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
