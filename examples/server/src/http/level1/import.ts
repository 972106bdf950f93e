/**
 * `POST /api/v1/import`: NDJSON as an export has it, in bounded transactions and flat memory.
 *
 * Spec: docs/contract.md, 8.
 */
import { type BackupRecord, InvalidBackup, NDJSON_TYPE } from '../../../../../src/backup-format/format.ts';
import { readBackup } from '../../../../../src/backup-format/reader.ts';
import type { Logger } from '../../log.ts';
import type { Condition, Operation, Store } from '../../store/store.ts';
import { answer } from '../answers.ts';
import { HttpError, quotaExceeded, toHttpError } from '../errors.ts';
import { type Handler, tenantOf } from '../request.ts';
import { checkType, chunksOf } from '../transport/body.ts';
import { BYTES_AROUND_VALUE, type Limits } from '../transport/limits.ts';
import { choiceOf, queryOf } from '../transport/target.ts';
import { createDigest } from './export.ts';

/** The records of one transaction. */
const PAGE = { records: 100, characters: 64 * 1024 };

const INCOMPLETE = { name: 'incomplete-import' };

type Mode = 'overwrite' | 'skip' | 'fail';

interface Progress {
  imported: number;
  skipped: number;
}

export function createImportHandler(store: Store, limits: Limits, stallTime: number, log: Logger): Handler {
  const absent: Condition = (rev) => rev === undefined;

  /** One transaction of records. */
  async function importPage(
    tenant: string,
    page: readonly BackupRecord[],
    mode: Mode,
    dryRun: boolean,
    progress: Progress,
  ): Promise<void> {
    const condition = mode === 'overwrite' ? undefined : absent;
    const operations: Operation[] = page.map(({ key, text }) =>
      dryRun ? { type: 'head', key } : { type: 'put', key, value: text, condition },
    );
    const outcome = await store.run(tenant, { operations, atomic: mode === 'fail' });
    const results = 'results' in outcome ? outcome.results : [];
    const over = results.find((result) => result.outcome === 'quota-exceeded');
    const exists = results.map(
      ({ outcome }) => outcome === 'condition-failed' || (dryRun && condition && outcome === 'ok'),
    );
    const first = exists.indexOf(true);
    if (mode === 'fail' && first !== -1) {
      const key = page[first]?.key;
      throw new HttpError(412, `The key ${JSON.stringify(key)} exists`, {
        name: 'key-exists',
        members: { key },
      });
    }
    const skipped = exists.filter(Boolean).length;
    progress.skipped += skipped;
    if (over) {
      progress.imported += results.filter(({ outcome }) => outcome === 'ok').length;
      throw quotaExceeded(over);
    }
    progress.imported += page.length - skipped;
  }

  return async (request) => {
    const query = queryOf(request.incoming.url ?? '');
    const mode = choiceOf(query, 'mode', ['overwrite', 'skip', 'fail']);
    const dryRun = choiceOf(query, 'dry_run', ['0', '1']) === '1';
    checkType(request.incoming, NDJSON_TYPE);
    if (!dryRun) request.audit('import');
    const tenant = tenantOf(request);
    const progress: Progress = { imported: 0, skipped: 0 };
    try {
      const maxLineBytes = limits.bodyBytes + BYTES_AROUND_VALUE;
      const options = { form: 'ndjson', maxLineBytes, page: PAGE } as const;
      for await (const page of readBackup(bodyOf(request.incoming, stallTime), createDigest(), options))
        await importPage(tenant, page, mode, dryRun, progress);
    } catch (error) {
      const { status, message, details } = toHttpError(
        toImportError(error),
        log.child({ requestId: request.id }),
      );
      const imported = dryRun ? 0 : progress.imported;
      throw new HttpError(status, message, { ...details, members: { ...details.members, imported } });
    }
    const seq = await store.seq(tenant);
    return answer(JSON.stringify({ ...progress, dryRun, epoch: store.epoch, seq }));
  };
}

/** @throws {HttpError} 400 `incomplete-import` if the body breaks off. */
async function* bodyOf(...body: Parameters<typeof chunksOf>): ReturnType<typeof chunksOf> {
  try {
    yield* chunksOf(...body);
  } catch (error) {
    throw error instanceof HttpError ? error : new HttpError(400, 'The body ended early', INCOMPLETE);
  }
}

/** The answer to a body that is not a valid backup. Other errors are returned as they are. */
function toImportError(error: unknown): unknown {
  if (!(error instanceof InvalidBackup)) return error;
  if (error.flaw === 'too-large') return new HttpError(413, error.problem);
  return new HttpError(400, error.problem, error.flaw === 'incomplete' ? INCOMPLETE : {});
}
