/** `GET /api/v1/export`: NDJSON of one state of the data, with its checksum. Spec: docs/contract.md, 8.1 and 8.6. */
import { createHash } from 'node:crypto';
import type { Snapshot, Store } from '../../store/store.ts';
import { type Answer, answer, streamed } from '../answers.ts';
import { type RequestContext, tenantOf } from '../request.ts';

/** The media type of newline-delimited JSON. */
export const NDJSON = 'application/x-ndjson';

/** What the first line says. */
export const FORMAT = { format: 'codeforge-storage', version: 1 };

export function createExportRoute(store: Store) {
  return async (c: RequestContext): Promise<Answer> => {
    if (c.incoming.method === 'HEAD') return { ...answer(''), type: NDJSON };
    return streamed(NDJSON, lines(store.epoch, store.snapshot(tenantOf(c))));
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

/** Inside strings JSON has no raw line breaks, so they stand between tokens only, where a space does as well. */
function onOneLine(value: string): string {
  return value.includes('\n') || value.includes('\r') ? value.replace(/[\r\n]/g, ' ') : value;
}
