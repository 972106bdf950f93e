/** `GET /api/v1/export`: one state of the data as NDJSON with a checksum. Spec: docs/contract.md, 8.1 and 8.6. */
import { createHash } from 'node:crypto';
import type { Snapshot, Store } from '../../store/store.ts';
import { answer, streamed } from '../answers.ts';
import { type Handler, tenantOf } from '../request.ts';

/** The media type of newline-delimited JSON. */
export const NDJSON = 'application/x-ndjson';

/** The members that the first line must have. */
export const FORMAT = { format: 'codeforge-storage', version: 1 };

export function createExportHandler(store: Store): Handler {
  return async (request) => {
    if (request.incoming.method === 'HEAD') return { ...answer(''), type: NDJSON };
    return streamed(NDJSON, lines(store.epoch, store.snapshot(tenantOf(request))));
  };
}

async function* lines(epoch: string, snapshot: Snapshot): AsyncGenerator<string, void> {
  const hash = createHash('sha256');
  const hashed = (text: string): string => {
    hash.update(text);
    return text;
  };
  try {
    const timestamp = new Date().toISOString();
    yield hashed(`${JSON.stringify({ ...FORMAT, epoch, seq: snapshot.seq, timestamp })}\n`);
    let count = 0;
    for await (const page of snapshot.pages()) {
      count += page.length;
      const records = page.map(
        ({ key, rev, value }) =>
          `{"key":${JSON.stringify(key)},"rev":"${rev}","value":${onOneLine(value)}}\n`,
      );
      if (records.length > 0) yield hashed(records.join(''));
    }
    yield `${JSON.stringify({ end: true, count, sha256: hash.digest('hex') })}\n`;
  } finally {
    snapshot.close();
  }
}

/** JSON strings contain no raw line breaks, so all line breaks are between tokens, where a space means the same. */
function onOneLine(value: string): string {
  return value.includes('\n') || value.includes('\r') ? value.replace(/[\r\n]/g, ' ') : value;
}
