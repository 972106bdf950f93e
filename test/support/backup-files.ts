/** Backups as tests make, read and break them, on every engine. */
import type { KeyValueStorage } from '../../src/index.ts';

/** The text of an export, read chunk by chunk as every engine can. */
export async function textOf(
  storage: KeyValueStorage,
  format: 'ndjson' | 'json' = 'ndjson',
): Promise<string> {
  const reader = (await storage.export({ format })).getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return new Blob(parts).text();
    parts.push(value as Uint8Array<ArrayBuffer>);
  }
}

/** The records of a backup, without what tells when it was made. */
export const recordsOf = (text: string): string[] => text.trimEnd().split('\n').slice(1, -1);

/** A stream of one piece after the other; then it ends, or does what `atEnd` does. */
export function streamOf(
  pieces: readonly unknown[],
  atEnd: (controller: ReadableStreamDefaultController) => void = (controller) => controller.close(),
): ReadableStream<Uint8Array> {
  const rest = [...pieces];
  return new ReadableStream({
    pull(controller) {
      if (rest.length === 0) atEnd(controller);
      else controller.enqueue(rest.shift() as Uint8Array);
    },
  });
}

/** A backup of these lines, with their checksum. */
export async function backupOf(lines: readonly string[]): Promise<string> {
  const text = `${['{"format":"codeforge-storage","version":1}', ...lines].join('\n')}\n`;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${text}${JSON.stringify({ end: true, count: lines.length, sha256 })}\n`;
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
/** A storage that holds these entries. */
export async function filledWith(
  open: () => KeyValueStorage,
  entries: Iterable<readonly [string, unknown]>,
): Promise<KeyValueStorage> {
  const storage = open();
  await storage.setMany([...entries]);
  return storage;
}

/** The entries of a small backup, of which a test tries every byte. */
export const SAMPLE: ReadonlyArray<readonly [string, unknown]> = [
  ['a', 1],
  ['date', new Date(5)],
  ['ключ', 'é🗝'],
];
