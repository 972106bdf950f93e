/** Backups as bytes, for the tests of their format. */
import { createHash } from 'node:crypto';
import type { BackupRecord, BackupSummary, Digest } from '../../src/backup-format/format.ts';
import { readBackup } from '../../src/backup-format/reader.ts';

/** SHA-256 by Node. */
export function nodeDigest(): Digest {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') };
}

/** Records in pages of `size`. */
export async function* paged(records: readonly BackupRecord[], size = 500): AsyncGenerator<BackupRecord[]> {
  for (let at = 0; at < records.length; at += size) yield records.slice(at, at + size);
}

/** Everything that a writer writes. */
export async function bytesOf(written: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of written) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}

/** `bytes` cut at `borders`. Each chunk's memory is overwritten once the next one is asked for, as a file reader may. */
export async function* cutAt(bytes: Uint8Array, borders: readonly number[]): AsyncGenerator<Uint8Array> {
  const sorted = [0, ...borders, bytes.length].sort((a, b) => a - b);
  for (const [i, end] of sorted.entries()) {
    const chunk = bytes.slice(sorted[i - 1] ?? 0, end);
    yield chunk;
    chunk.fill(0x21);
  }
}

/** What is read from a backup as a whole. */
export interface Read {
  readonly pages: ReadonlyArray<readonly BackupRecord[]>;
  readonly records: readonly BackupRecord[];
  readonly summary: BackupSummary;
}

export async function read(chunks: AsyncIterable<Uint8Array>, digest = nodeDigest()): Promise<Read> {
  const pages: Array<readonly BackupRecord[]> = [];
  const reading = readBackup(chunks, digest);
  for (;;) {
    const next = await reading.next();
    if (next.done) return { pages, records: pages.flat(), summary: next.value };
    pages.push(next.value);
  }
}

/** What is read from a text or from bytes, in one chunk. */
export function readWhole(file: string | Uint8Array): Promise<Read> {
  return read(cutAt(typeof file === 'string' ? new TextEncoder().encode(file) : file, []));
}

/** Lines with a true last line: count and checksum. */
export function sealed(lines: readonly string[]): string {
  const text = lines.map((line) => `${line}\n`).join('');
  const sha256 = createHash('sha256').update(text).digest('hex');
  return `${text}${JSON.stringify({ end: true, count: lines.length - 1, sha256 })}\n`;
}

/** The shortest header. */
export const HEADER = '{"format":"codeforge-storage","version":1}';
