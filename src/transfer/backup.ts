/**
 * Backups: exports the entries of the backend in use as a stream or a Blob, and imports such a backup.
 */

import { sha256 } from '../backup-format/digest.ts';
import { type BackupRecord, type BackupSummary, InvalidBackup } from '../backup-format/format.ts';
import { writeObject } from '../backup-format/json-object.ts';
import { writeNdjson } from '../backup-format/ndjson.ts';
import { type ReadOptions, readBackup } from '../backup-format/reader.ts';
import { closedError, StorageError } from '../core/errors.ts';
import { decode } from '../core/json.ts';
import { utf8Length } from '../core/keys.ts';
import { checkOptions, oneOf, RULES } from '../core/options.ts';
import { compareKeys } from '../core/order.ts';
import { snapshot } from '../core/values.ts';
import { backendOf, listenerOf, type TransferContext } from './context.ts';
import { migrate } from './copy/copy.ts';
import { stopped } from './copy/errors.ts';
import { emptyTally } from './copy/journal.ts';
import {
  type BackupSource,
  checkCopyOptions,
  type ExportOptions,
  type ImportOptions,
  type MigrationPlan,
  type MigrationProgress,
} from './copy/options.ts';
import { inPages, isSendable, prepared, type Source, type SourceEntry, sourceOf } from './copy/source.ts';

const TYPES = { ndjson: 'application/x-ndjson', json: 'application/json' } as const;
/** Bytes that are collected in memory before they become a Blob, which browsers keep on disk. */
const COLLECTED = 8 * 1024 * 1024;

/** Exports the entries as a stream or a Blob. */
export async function exportFrom(
  context: TransferContext,
  given?: ExportOptions,
): Promise<ReadableStream<Uint8Array> | Blob> {
  const {
    format = 'ndjson',
    as = 'stream',
    ...options
  } = checkOptions<ExportOptions>('export()', given, {
    format: oneOf('ndjson', 'json'),
    as: oneOf('stream', 'blob'),
    prefix: RULES.text,
    onProgress: RULES.function,
    onRefused: RULES.function,
    signal: RULES.signal,
  });
  const backend = await backendOf(context);
  const source = sourceOf(backend, options.prefix);
  const total = await source.count();
  const records = recordsOf(source, total, {
    ...options,
    onProgress: listenerOf(context, options.onProgress),
  });
  const bytes =
    format === 'json'
      ? writeObject(records)
      : writeNdjson(
          records,
          { timestamp: new Date().toISOString(), ...(!options.prefix && { keys: total }) },
          sha256(),
        );
  const pieces = until(options.signal, bytes);
  return as === 'blob' ? collected(pieces, TYPES[format]) : streamOf(pieces);
}

/** The entries of a source as records of a backup. */
async function* recordsOf(
  source: Source,
  total: number,
  { onProgress, onRefused, signal }: ExportOptions,
): AsyncGenerator<BackupRecord[]> {
  let done = 0;
  let bytes = 0;
  for await (const page of inPages(source.entries())) {
    signal?.throwIfAborted();
    const records: BackupRecord[] = [];
    for (const entry of page) {
      if (isSendable(entry)) {
        records.push(entry);
        bytes += entry.bytes;
      } else if (onRefused) await onRefused({ key: entry.key, reason: entry.refused.message });
      else throw entry.refused;
    }
    yield records;
    done += records.length;
    onProgress?.({ done, total, bytes });
  }
}

/** Yields the same pieces, and throws when a signal is aborted. */
async function* until<Piece>(
  signal: AbortSignal | undefined,
  pieces: AsyncIterable<Piece>,
): AsyncGenerator<Piece> {
  signal?.throwIfAborted();
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    yield piece;
  }
}

/** Collects pieces into one Blob. `Response.blob()` would lose the error of a stream that fails. */
async function collected(pieces: AsyncIterable<Uint8Array<ArrayBuffer>>, type = ''): Promise<Blob> {
  const blobs: Blob[] = [];
  let parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    parts.push(piece);
    bytes += piece.byteLength;
    if (bytes < COLLECTED) continue;
    blobs.push(new Blob(parts));
    parts = [];
    bytes = 0;
  }
  return new Blob([...blobs, ...parts], { type });
}

/** A generator as a stream. It advances only when the consumer reads. */
const streamOf = (chunks: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await chunks.return(undefined);
    },
  });

/** Imports every entry of a backup into the backend in use, and reads each back. */
export async function importInto(
  context: TransferContext,
  given: BackupSource,
  options?: ImportOptions,
): Promise<number | MigrationPlan> {
  const checked = checkCopyOptions('import()', options, 'mode');
  const onProgress = listenerOf(context, checked.onProgress);
  const bytes = bytesOf(given);
  // A closed storage rejects before a long file is read.
  await context.session();
  let blob: Blob;
  let count: number;
  const ended = new AbortController();
  const reading = context.keep({ close: async () => ended.abort(closedError()) });
  const signal = AbortSignal.any(checked.signal ? [checked.signal, ended.signal] : [ended.signal]);
  try {
    blob = bytes instanceof Blob ? bytes : await collected(bytesOfStream(bytes, signal));
    ({ count } = await verified(blob, checked, onProgress, signal));
  } catch (error) {
    if (error instanceof StorageError) throw error;
    throw stopped('import', emptyTally(), error, { signal: checked.signal, resumes: false });
  } finally {
    await context.letGo(reading);
  }
  const source: Source = { entries: () => entriesOf(blob, checked), count: async () => count };
  const target = await backendOf(context);
  return migrate({ ...checked, onProgress, name: 'import', source, target });
}

/** @throws {StorageError} `invalid-option` */
function bytesOf(source: BackupSource): Blob | ReadableStream<Uint8Array> {
  if (source instanceof Blob) return source;
  if (typeof source === 'string') {
    // The UTF-8 encoder would silently replace it with U+FFFD.
    if (/\p{Surrogate}/u.test(source))
      throw new InvalidBackup('malformed', 'The text', 'contains half of a surrogate pair');
    return new Blob([source]);
  }
  let cause: unknown;
  try {
    // Refuses a stream that was partly read: the rest of a backup may look like a complete one.
    if (source instanceof ReadableStream && !new Response(source).bodyUsed) return source;
  } catch (error) {
    cause = error;
  }
  throw new StorageError(
    'invalid-option',
    'import() takes a File or another Blob, a stream of bytes from which nothing was read yet, or a string.',
    { cause },
  );
}

/** Reads a backup to its end and verifies it. Only the end shows that a backup is complete. */
async function verified(
  blob: Blob,
  options: Pick<ImportOptions, 'onRefused'>,
  onProgress: ((progress: MigrationProgress) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<BackupSummary> {
  const pages = readBackup(bytesOfStream(blob.stream(), signal), sha256(), keysFor(options));
  let done = 0;
  let bytes = 0;
  let last: string | undefined;
  let ordered = true;
  for (;;) {
    const { value, done: isLast } = await pages.next();
    if (isLast) {
      if (!ordered) await checkDistinct(blob, options, signal);
      return value;
    }
    done += value.length;
    for (const { key, text } of value) {
      bytes += utf8Length(text);
      ordered &&= last === undefined || compareKeys(last, key) < 0;
      last = key;
    }
    // The total is known only at the end.
    onProgress?.({ phase: 'check', done, total: done, bytes });
  }
}

/** Checks that no key occurs twice. Only needed if keys are not in order: keys in strictly ascending order are distinct. */
async function checkDistinct(
  blob: Blob,
  options: Pick<ImportOptions, 'onRefused'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const keys = new Set<string>();
  for await (const page of readBackup(bytesOfStream(blob.stream(), signal), sha256(), keysFor(options)))
    for (const { key } of page) {
      if (keys.has(key)) throw new InvalidBackup('malformed', `Key ${JSON.stringify(key)}`, 'occurs twice');
      keys.add(key);
    }
}

/** The chunks of a stream. Throws when a signal is aborted, even if the stream never yields another chunk. */
async function* bytesOfStream(
  stream: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader();
  const cancel = (): void => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener('abort', cancel);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      signal?.throwIfAborted();
      if (done) return;
      if (!(value instanceof Uint8Array))
        throw new StorageError('invalid-option', 'import(): each chunk of the stream must be a Uint8Array.');
      yield value as Uint8Array<ArrayBuffer>;
    }
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
}

/** What becomes of keys that cannot be stored: without `onRefused` a backup with such a key is refused as a whole. */
const keysFor = (
  { onRefused }: Pick<ImportOptions, 'onRefused'>,
  onInvalidKey: (key: string) => void = () => {},
): ReadOptions => (onRefused ? { onInvalidKey } : {});

async function* entriesOf(
  blob: Blob,
  options: Pick<ImportOptions, 'onRefused'>,
): AsyncGenerator<SourceEntry> {
  const invalid: string[] = [];
  const reading = keysFor(options, (key) => void invalid.push(key));
  for await (const page of readBackup(bytesOfStream(blob.stream()), sha256(), reading))
    for (const { key, text } of page) yield await decodedEntry(key, text);
  for (const key of new Set(invalid)) yield await prepared(key, undefined);
}

async function decodedEntry(key: string, text: string): Promise<SourceEntry> {
  try {
    return { key, ...snapshot(await decode(JSON.parse(text)), key), text, bytes: utf8Length(text) };
  } catch (refused) {
    return { key, refused: refused as Error };
  }
}
