/**
 * `POST /api/v1/import`: NDJSON as an export has it, in bounded transactions and flat memory.
 *
 * Spec: docs/contract.md, 8.
 */
import type { Logger } from '../../log.ts';
import type { Condition, Operation, Store } from '../../store/store.ts';
import { answer } from '../answers.ts';
import { HttpError, toHttpError } from '../errors.ts';
import { keyProblem } from '../keys.ts';
import { type Handler, tenantOf } from '../request.ts';
import { checkType, MAX_NESTING, membersOf } from '../transport/body.ts';
import { BYTES_AROUND_VALUE, type Limits } from '../transport/limits.ts';
import { choiceOf, queryOf } from '../transport/target.ts';
import { FORMAT, NDJSON } from './export.ts';
import { type Line, linesOf } from './lines.ts';

/** Records of one transaction … */
const MOST_RECORDS = 100;
/** … or characters of their values. */
const MOST_CHARACTERS = 64 * 1024;

type Record = readonly [key: string, value: string];
type Mode = 'overwrite' | 'skip' | 'fail';

interface Progress {
  imported: number;
  skipped: number;
}

export function createImportHandler(store: Store, limits: Limits, log: Logger): Handler {
  const absent: Condition = (rev) => rev === undefined;

  /** One transaction of records. */
  async function importPage(
    tenant: string,
    page: readonly Record[],
    mode: Mode,
    dryRun: boolean,
    progress: Progress,
  ): Promise<void> {
    const condition = mode === 'overwrite' ? undefined : absent;
    const operations: Operation[] = page.map(([key, value]) =>
      dryRun ? { type: 'head', key } : { type: 'put', key, value, condition },
    );
    const outcome = await store.run(tenant, { operations, atomic: mode === 'fail' });
    const results = 'results' in outcome ? outcome.results : [];
    const exists = results.map(({ status }) => status === 412 || (dryRun && condition && status === 200));
    const first = exists.indexOf(true);
    if (mode === 'fail' && first !== -1) {
      const key = page[first]?.[0];
      throw new HttpError(412, `The key ${JSON.stringify(key)} exists`, {
        name: 'key-exists',
        members: { key },
      });
    }
    const skipped = exists.filter(Boolean).length;
    progress.skipped += skipped;
    progress.imported += page.length - skipped;
  }

  return async (request) => {
    const query = queryOf(request.incoming.url ?? '');
    const mode = choiceOf(query, 'mode', ['overwrite', 'skip', 'fail']);
    const dryRun = choiceOf(query, 'dry_run', ['0', '1']) === '1';
    checkType(request.incoming, NDJSON);
    const tenant = tenantOf(request);
    const progress: Progress = { imported: 0, skipped: 0 };
    try {
      for await (const page of pages(linesOf(request.incoming, limits.bodyBytes + BYTES_AROUND_VALUE)))
        await importPage(tenant, page, mode, dryRun, progress);
    } catch (error) {
      const { status, message, details } = toHttpError(error, log);
      const imported = dryRun ? 0 : progress.imported;
      throw new HttpError(status, message, { ...details, members: { ...details.members, imported } });
    }
    const seq = await store.seq(tenant);
    return answer(JSON.stringify({ ...progress, dryRun, epoch: store.epoch, seq }));
  };
}

/** The records of an export, a transaction's worth at a time. Throws unless it is whole. */
async function* pages(lines: AsyncIterable<Line>): AsyncGenerator<Record[], void> {
  let page: Record[] = [];
  let characters = 0;
  let line = 0;
  let count = 0;
  let ended = false;
  for await (const { text, sha256Before } of lines) {
    line += 1;
    const found = new Map(membersOf(text, MAX_NESTING + 1) ?? refuse(line, 'is no object'));
    if (ended) incomplete('There is more after the last line');
    if (line === 1) {
      checkHeader(found);
    } else if (found.has('end') && !found.has('key')) {
      ended = true;
      checkEnd(found, count, sha256Before);
    } else {
      const record = recordOf(found, line);
      page.push(record);
      count += 1;
      characters += record[1].length;
      if (page.length < MOST_RECORDS && characters < MOST_CHARACTERS) continue;
      yield page;
      page = [];
      characters = 0;
    }
  }
  if (!ended) incomplete('The last line is missing: the export is cut');
  if (page.length > 0) yield page;
}

function checkHeader(found: ReadonlyMap<string, string>): void {
  if (
    found.get('format') === JSON.stringify(FORMAT.format) &&
    found.get('version') === String(FORMAT.version)
  )
    return;
  refuse(1, `is not the first line of an export: ${JSON.stringify(FORMAT)}`);
}

function checkEnd(found: ReadonlyMap<string, string>, count: number, sha256Before: () => string): void {
  if (found.get('end') !== 'true' || found.get('count') !== String(count))
    incomplete(`The last line says ${found.get('count')} records, there are ${count}`);
  const claimed = found.get('sha256');
  if (claimed === undefined) return;
  const sha256 = sha256Before();
  if (JSON.parse(claimed) !== sha256)
    incomplete(`The SHA-256 before the last line is ${sha256}, not what that says: the export is damaged`);
}

function recordOf(found: ReadonlyMap<string, string>, line: number): Record {
  const quoted = found.get('key');
  const value = found.get('value');
  if (!quoted?.startsWith('"') || value === undefined) refuse(line, 'has no key and value');
  const key: string = JSON.parse(quoted);
  const refusal = keyProblem(key);
  if (refusal !== undefined) refuse(line, refusal);
  return [key, value];
}

function refuse(line: number, what: string): never {
  throw new HttpError(400, `Line ${line} ${what}`);
}

function incomplete(message: string): never {
  throw new HttpError(400, message, { name: 'incomplete-import' });
}
