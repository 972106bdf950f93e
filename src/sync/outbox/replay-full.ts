/**
 * The outbox sent from a device whose disk is full: nothing can be noted down, but what has arrived can be deleted.
 *
 * Nothing is marked, so a tab that ends in the middle leaves writes that are sent again. They hold only for what their writer had
 * seen: where they had applied, the server has their very value by then, and they are done. What cannot be settled by deleting it
 * stays where it is, until there is room.
 */

import type { StorageError } from '../../core/errors.ts';
import { isSettled, type Level1, newClient } from '../../remote/level1/protocol.ts';
import { newsOf } from '../mirror/learn.ts';
import { decide, decideSettled, plan, unitResults } from '../rules/outbox.ts';
import type { Meta, Row } from '../rules/state.ts';
import { fitting, opsOf } from './outgoing.ts';
import type { Replay } from './replay.ts';
import { type Stop, stopOf } from './stop.ts';

const MOST = 100;
/** A unit, which is sent as a whole, has fewer writes. */
const READ = 500;

/**
 * Send what waits, up to the row with the number `last`.
 *
 * @param met The server as it was met: there may have been no room to note that down.
 * @param full Why nothing can be noted down.
 */
export async function replayFull(
  { tables, level1, progress, signal }: Replay,
  { era, epoch, seq, level }: Meta,
  last: number,
  full: StorageError,
): Promise<Stop | undefined> {
  while (!signal.aborted) {
    const { meta, waiting } = await tables.read(async (reading) => ({
      meta: { ...((await reading.meta()) as Meta), era, epoch, seq, level },
      waiting: await reading.first(READ),
    }));
    const unmarked = fitting(waiting, level1.limits.bodyBytes).map((row) => ({ ...row, mark: undefined }));
    const planned = plan(unmarked, newClient(), MOST);
    if (!planned || !('send' in planned) || (planned.send[0] as Row).n > last) return undefined;
    const rows = planned.send.map((row) => waiting.find(({ n }) => n === row.n) as Row);
    const applied = await appliedOf(level1, rows);
    if ('why' in applied) return applied;
    const rest = rows.filter((row) => !applied.has(row));
    const ops = opsOf(rest, meta);
    const sent = await level1.batch(
      { epoch, mutation: { client: newClient(), m: 1 }, atomic: rest[0]?.unit && true },
      ops,
    );
    if (!sent.answer) return stopOf(sent);
    const { results } = sent.answer;
    const unit = rest[0]?.unit;
    const own = unit ? unitResults(rest, results).own : results;
    const seen = new Map(
      newsOf(ops, sent.answer, era, seq).flatMap((one) => ('key' in one ? [[one.key, one.seen]] : [])),
    );
    const done = rest.filter(
      (row, i) => decide(row, { status: own[i]?.status ?? 0, seen: seen.get(row.key) }).type === 'done',
    );
    // A unit with a part that did not apply is not there as a whole.
    if (!unit || results.every(({ status }) => status === 200 || status === 404))
      for (const row of done) applied.add(row);
    const dropped = await tables.write(async (writing) => {
      const places = await writing.places([...applied].map(({ key }) => key));
      // Where another write of the key waits it would have to be written anew, on what is there now.
      const only = [...applied].filter(({ key, n, version }) => {
        const now = places.get(key)?.rows ?? [];
        return now.length === 1 && now[0]?.n === n && now[0].version === version;
      });
      // Of a unit all writes go, or none.
      if (rows[0]?.unit && only.length < rows.length) return 0;
      for (const { key, n } of only) writing.drop(key, n);
      return only.length;
    });
    progress();
    if (dropped === 0) return { why: 'refused', error: full };
  }
  return undefined;
}

/** Which of rows that may have been sent before have arrived. */
async function appliedOf(level1: Level1, rows: readonly Row[]): Promise<Set<Row> | Stop> {
  const applied = new Set<Row>();
  const mutations = new Map(rows.flatMap(({ mark }) => (mark ? [[mark.client, mark]] : [])));
  for (const mutation of mutations.values()) {
    const given = await level1.giveUp(mutation);
    if (!given.answer && !isSettled(given)) return stopOf(given);
    for (const row of rows) {
      const result = row.mark?.client === mutation.client && given.answer?.results?.[row.mark.at];
      if (result && decideSettled(row, result, undefined).type === 'done') applied.add(row);
    }
  }
  return applied;
}
