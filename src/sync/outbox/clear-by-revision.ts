/**
 * A queued clear of a server that has changed since: it deletes what existed when the clear was made, and nothing later.
 *
 * Each key is deleted by its revision, so it can be repeated after any failure.
 */
import { isObject, type JsonObject } from '../../core/json.ts';
import { type Level1, OP_BYTES, type WireOp } from '../../remote/level1/protocol.ts';
import { type Observation, observationsOf } from '../mirror/update.ts';
import type { Meta } from '../rules/state.ts';
import { type Stop, stopOf } from './stop.ts';

const PAGE = 500;
/** The most bytes of one delete in a request, whatever its key is. */
const OPERATION = 6 * 1024 + 2 * OP_BYTES;

/** Deletes every key whose revision is at most `seq`. Adds the observations of the answers. */
export async function clearByRevision(
  level1: Level1,
  meta: Meta,
  seq: number,
  observations: Observation[],
): Promise<Stop | undefined> {
  const { epoch, generation } = meta;
  const { batchOps, bodyBytes } = level1.limits;
  const most = Math.max(1, Math.min(PAGE, batchOps, Math.floor(bodyBytes / OPERATION)));
  for (let after: string | undefined = ''; after !== undefined; ) {
    const query: string = after === '' ? '' : `after=${encodeURIComponent(after)}&`;
    const page = await level1.read(`keys?${query}limit=${most}`, pageOf);
    if (!page.answer) return stopOf(page);
    const ops = page.answer.keys
      .filter(({ rev }) => Number(rev) <= seq)
      .map(({ key, rev }): WireOp => ({ op: 'delete', key, ifRevision: `${epoch}.${rev}` }));
    const sent = await level1.batch({ epoch }, ops);
    if (!sent.answer) return stopOf(sent);
    observations.push(...observationsOf(ops, sent.answer, generation, meta.seq));
    after = page.answer.next;
  }
  return undefined;
}

interface Page {
  readonly keys: ReadonlyArray<{ readonly key: string; readonly rev: string }>;
  readonly next: string | undefined;
}

function pageOf({ keys, next }: JsonObject): Page | undefined {
  const whole =
    Array.isArray(keys) &&
    keys.every((one) => isObject(one) && typeof one.key === 'string' && /^\d+$/.test(String(one.rev)));
  return whole && (next === null || typeof next === 'string') ? { keys, next: next ?? undefined } : undefined;
}
