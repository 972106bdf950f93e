/**
 * Backups as an app asks for them: what the backend in use holds as a stream, and such a stream stored.
 */
import { StorageError } from './core/errors.ts';
import { decode } from './core/json.ts';
import { utf8Length } from './core/keys.ts';
import { snapshot } from './core/values.ts';
import { sha256 } from './tools/backup-digest.ts';
import type { BackupRecord, BackupSummary } from './tools/backup-format.ts';
import { readBackup } from './tools/backup-read.ts';
import { writeBackup, writeObject } from './tools/backup-write.ts';
import { migrate } from './tools/migrate.ts';
import {
  type BackupSource,
  checkOptions,
  type ExportOptions,
  type ImportOptions,
  type MigrationPlan,
  type MigrationProgress,
} from './tools/migration-options.ts';
import { inPages, isSendable, type Moving, type Source, sourceOf } from './tools/moving.ts';
import { listenerOf, type Workshop } from './workshop.ts';

const TYPES = { ndjson: 'application/x-ndjson', json: 'application/json' } as const;

/** All entries as a stream or a Blob. */
export async function exportFrom(
  workshop: Workshop,
  given: ExportOptions = {},
): Promise<ReadableStream<Uint8Array> | Blob> {
  const { format = 'ndjson', as = 'stream', ...options } = checkExport(given);
  const backend = await workshop.inTurn();
  const source = sourceOf(backend, options.prefix);
  const total = await source.count();
  const records = recordsOf(source, total, {
    ...options,
    onProgress: listenerOf(workshop, options.onProgress),
  });
  const bytes =
    format === 'json'
      ? writeObject(records)
      : writeBackup(
          records,
          { timestamp: new Date().toISOString(), ...(!options.prefix && { keys: total }) },
          sha256(),
        );
  const stream = streamOf(bytes);
  return as === 'blob' ? new Response(stream, { headers: { 'content-type': TYPES[format] } }).blob() : stream;
}

function checkExport(options: ExportOptions): ExportOptions {
  const { format, as, prefix, onProgress, onRefused, signal, ...unknown } = options;
  const isFunction = (value: unknown): boolean => value === undefined || typeof value === 'function';
  const wrong = [
    ...Object.keys(unknown),
    ...(format === undefined || Object.hasOwn(TYPES, format) ? [] : ['format']),
    ...(as === undefined || as === 'stream' || as === 'blob' ? [] : ['as']),
    ...(prefix === undefined || typeof prefix === 'string' ? [] : ['prefix']),
    ...(isFunction(onProgress) ? [] : ['onProgress']),
    ...(isFunction(onRefused) ? [] : ['onRefused']),
    ...(signal === undefined || typeof signal?.throwIfAborted === 'function' ? [] : ['signal']),
  ];
  if (wrong.length === 0) return options;
  throw new StorageError(
    'invalid-option',
    `export: ${wrong.join(', ')} cannot be: the options are format ('ndjson' or 'json'), as ('stream' or 'blob'), prefix, onProgress, onRefused and signal.`,
  );
}

/** The entries of a source as a backup holds them. */
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
      } else if (onRefused) onRefused({ key: entry.key, reason: entry.refused.message });
      else throw entry.refused;
    }
    yield records;
    done += records.length;
    onProgress?.({ done, total, bytes });
  }
}

/** What a generator makes, as a stream: it goes on when more is read. */
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

/** Every entry of a backup into the backend in use, each verified. */
export async function importInto(
  workshop: Workshop,
  given: BackupSource,
  options?: ImportOptions,
): Promise<number | MigrationPlan> {
  const checked = checkOptions('import', options, 'mode');
  const onProgress = listenerOf(workshop, checked.onProgress);
  const blob = await blobOf(given);
  const { count } = await verified(blob, onProgress, checked.signal);
  const target = await workshop.inTurn();
  const source: Source = { entries: () => entriesOf(blob), count: async () => count };
  return migrate({ ...checked, onProgress, name: 'import', source, target });
}

async function blobOf(source: BackupSource): Promise<Blob> {
  if (source instanceof Blob) return source;
  if (typeof source === 'string') return new Blob([source]);
  if (source instanceof ReadableStream && !source.locked) return new Response(source).blob();
  throw new StorageError(
    'invalid-option',
    'import: takes a File or another Blob, a stream of bytes that nobody reads, or text.',
  );
}

/** Read a backup to its end: only that tells that it is whole. */
async function verified(
  blob: Blob,
  onProgress: ((progress: MigrationProgress) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<BackupSummary> {
  const pages = readBackup(chunksOf(blob), sha256());
  let done = 0;
  let total = 0;
  let bytes = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { value, done: isLast } = await pages.next();
    if (isLast) return value;
    done += value.length;
    total = Math.max(total, done);
    for (const { text } of value) bytes += utf8Length(text);
    onProgress?.({ phase: 'check', done, total, bytes });
  }
}

async function* chunksOf(blob: Blob): AsyncGenerator<Uint8Array> {
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

async function* entriesOf(blob: Blob): AsyncGenerator<Moving> {
  for await (const page of readBackup(chunksOf(blob), sha256()))
    for (const { key, text } of page) yield await movingOf(key, text);
}

async function movingOf(key: string, text: string): Promise<Moving> {
  try {
    return { key, ...snapshot(await decode(JSON.parse(text)), key), text, bytes: utf8Length(text) };
  } catch (refused) {
    return { key, refused: refused as Error };
  }
}
