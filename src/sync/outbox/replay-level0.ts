/**
 * The outbox sent to a server of level 0, which knows no revisions and no numbers: what is there is read and compared with what the
 * writer had seen, and only then replaced.
 *
 * Between that read and the write somebody else may write: such a server has no way to tell (docs/guarantees.md).
 */

import type { Operation, Outcome } from '../../core/backend.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, heldOf } from '../../core/json.ts';
import { sameValue } from '../../core/same-value.ts';
import { snapshot } from '../../core/values.ts';
import type { FlaskBackend } from '../../remote/backend.ts';
import { compare, type Decision } from '../rules/outbox.ts';
import { ALL, type Held, type Meta, type Row, type Seen, type Unit } from '../rules/state.ts';
import { type Replay, settle } from './replay.ts';
import { isAway, type Stop } from './stop.ts';

/** Keys that are compared and written together. */
const MOST = 50;

/** Send what waits, up to the row with the number `last`. */
export async function replayLevel0(
  work: Omit<Replay, 'level1'>,
  flask: FlaskBackend,
  last: number,
): Promise<Stop | undefined> {
  while (!work.signal.aborted) {
    const { meta, waiting } = await work.tables.read(async (reading) => ({
      meta: (await reading.meta()) as Meta,
      waiting: await reading.first(MOST),
    }));
    if (!waiting[0] || waiting[0].n > last) return undefined;
    if (waiting[0].unit) {
      await rejectUnit(work, waiting[0].unit, meta);
      continue;
    }
    const rows = firstOfEach(waiting);
    const decisions: Decision[] = [];
    const details: string[] = [];
    const compared = await seenOf(flask, rows, meta);
    const writes: Operation[] = [];
    const written: number[] = [];
    for (const [i, row] of rows.entries()) {
      const seen = compared[i] as Seen | StorageError;
      if ('code' in seen) {
        const stop = stopOf(seen);
        if (stop) return stop;
        decisions[i] = { type: 'rejected' };
        details[i] = seen.message;
        continue;
      }
      const decision = compare(row, seen);
      decisions[i] = decision;
      if (decision.type !== 'again') continue;
      writes.push(await operationOf(row));
      written.push(i);
    }
    const outcomes = await run(flask, writes);
    for (const [at, i] of written.entries()) {
      const { key, held } = rows[i] as Row;
      const outcome = outcomes[at] as Outcome;
      if (outcome.status === 'fulfilled')
        decisions[i] = { type: 'done', seen: { era: meta.era, epoch: '', seq: 0, held } };
      else {
        const stop = stopOf(outcome.reason);
        if (stop) return stop;
        decisions[i] = { type: 'rejected' };
        details[i] = `${key}: ${outcome.reason.message}`;
      }
    }
    await settle(work, rows, decisions, [], meta, 0, details);
  }
  return undefined;
}

/** The first write of each key, up to an atomic unit. */
function firstOfEach(rows: readonly Row[]): Row[] {
  const keys = new Set<string>();
  const end = rows.findIndex(({ unit }) => unit);
  return rows.slice(0, end < 0 ? undefined : end).filter(({ key }) => !keys.has(key) && keys.add(key));
}

/** Such a server cannot apply several writes as a whole: none of them is sent. */
async function rejectUnit(work: Omit<Replay, 'level1'>, { n }: Unit, meta: Meta): Promise<void> {
  const rows = (await work.tables.read((reading) => reading.all())).filter(({ unit }) => unit?.n === n);
  const detail = 'The server, now of level 0, cannot apply several writes as a whole.';
  const rejections = rows.map((): Decision => ({ type: 'rejected' }));
  await settle(work, rows, rejections, [], meta, 0, Array(rows.length).fill(detail));
}

const run = (flask: FlaskBackend, operations: readonly Operation[]): Promise<Outcome[]> =>
  flask.run(operations).catch((reason) => operations.map(() => ({ status: 'rejected', reason })));

/** What the server holds under the keys of rows, or why it cannot be told. */
async function seenOf(
  flask: FlaskBackend,
  rows: readonly Row[],
  { era }: Meta,
): Promise<Array<Seen | StorageError>> {
  const asked = rows.filter(({ key }) => key !== ALL);
  const found = await run(
    flask,
    asked.flatMap(({ key }): Operation[] => [
      { type: 'get', key },
      { type: 'has', key },
    ]),
  );
  const seen = new Map<string, Seen | StorageError>([[ALL, NO_CLEAR]]);
  for (const [i, { key }] of asked.entries()) {
    const [value, exists] = [found[2 * i] as Outcome, found[2 * i + 1] as Outcome];
    try {
      if (value.status === 'rejected') throw value.reason;
      if (exists.status === 'rejected') throw exists.reason;
      const held = exists.value ? await formOf(asked[i] as Row, value.value) : undefined;
      seen.set(key, { era, epoch: '', seq: 0, held });
    } catch (error) {
      seen.set(key, error as StorageError);
    }
  }
  return rows.map(({ key }) => seen.get(key) as Seen | StorageError);
}

/** A value as it travels: in the form that its writer knows, where such a server has only sorted its members. */
async function formOf({ key, held, base }: Row, value: unknown): Promise<Held> {
  const found = snapshot(value);
  for (const known of [held, base?.held])
    if (known && (await sameValue(found, snapshot(await decodeAt(key, structuredClone(known.json))))))
      return known;
  return heldOf(key, found);
}

/** A clear is about what was there when it was made, which such a server cannot tell. */
const NO_CLEAR = new StorageError(
  'unsupported',
  'The server, now of level 0, cannot clear what was there then.',
);

async function operationOf({ key, held }: Row): Promise<Operation> {
  if (!held) return { type: 'delete', key };
  return { type: 'put', key, ...snapshot(await decodeAt(key, structuredClone(held.json))) };
}

/** Why to stop, if a failure is not this write's alone. */
function stopOf(error: StorageError): Stop | undefined {
  if (isAway(error) || error.code === 'closed') return { why: 'away', error };
  return error.code === 'forbidden' || error.code === 'quota' ? { why: 'refused', error } : undefined;
}
