/** `GET /api/v1/export`: one state of the data as NDJSON with a checksum. Spec: docs/contract.md, 8.1 and 8.6. */
import { createHash } from 'node:crypto';
import { type BackupRecord, type Digest, NDJSON_TYPE } from '../../../../../src/backup-format/format.ts';
import { writeNdjson } from '../../../../../src/backup-format/ndjson.ts';
import type { Snapshot, Store } from '../../store/store.ts';
import { answer, streamed } from '../answers.ts';
import { type Handler, tenantOf } from '../request.ts';

export function createExportHandler(store: Store): Handler {
  return async (request) => {
    if (request.incoming.method === 'HEAD') return { ...answer(''), type: NDJSON_TYPE };
    const snapshot = await store.snapshot(tenantOf(request));
    return streamed(NDJSON_TYPE, exportOf(store, snapshot));
  };
}

/** A snapshot as an export. Closes it. */
export function exportOf(
  { epoch }: Pick<Store, 'epoch'>,
  snapshot: Snapshot,
): AsyncGenerator<Uint8Array, void> {
  const header = { epoch, seq: snapshot.seq, timestamp: new Date().toISOString() };
  return writeNdjson(recordsOf(snapshot), header, createDigest());
}

async function* recordsOf(snapshot: Snapshot): AsyncGenerator<BackupRecord[], void> {
  try {
    for await (const page of snapshot.pages())
      yield page.map(({ key, rev, value }) => ({ key, rev: String(rev), text: value }));
  } finally {
    await snapshot.close();
  }
}

/** A new SHA-256 for a backup. */
export function createDigest(): Digest {
  const hash = createHash('sha256');
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') };
}
