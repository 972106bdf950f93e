/**
 * What the server's answers show, put into the mirror.
 *
 * Answers overtake each other, so what is older than what is known is left out (rules/state.ts). A value that a restored server has
 * lost is parked on the way.
 */
import type { BatchAnswer, WireOp } from '../../remote/level1/protocol.ts';
import type { Writing } from '../database.ts';
import { isNews, type Meta, type Parked, parkedBy, type Seen } from '../rules/state.ts';

/** Something that an answer showed: of one key, or that everything was deleted at a sequence number. */
export type News =
  | { readonly key: string; readonly seen: Seen }
  | { readonly era: number; readonly clearedAt: number };

/**
 * What the answer to a batch shows.
 *
 * @param asked A sequence number that the server had reached before the batch was sent: the result of a write may be an old one.
 */
export function newsOf(
  ops: readonly WireOp[],
  { results, epoch, seq }: BatchAnswer,
  era: number,
  asked: number,
): News[] {
  const news: News[] = [];
  const applied = results.flatMap(({ status, revision }, i) =>
    status === 200 && isChange(ops[i] as WireOp) ? [seqOf(revision)] : [],
  );
  // A key that is not there was not there before what the rest of the batch changed.
  let at = applied.length > 0 ? Math.min(...applied) - 1 : seq;
  for (const [i, op] of ops.entries()) {
    const { status, revision, value } = results[i] as (typeof results)[number];
    const rev = seqOf(revision);
    if (status === 200 && isChange(op)) at = rev;
    if (op.op === 'clear') {
      if (status === 200) news.push({ era, clearedAt: rev });
      continue;
    }
    const see = (seq: number, held?: Seen['held']): void => {
      news.push({ key: op.key, seen: { era, epoch, seq, held } });
    };
    if (status === 200 && op.op === 'put') see(rev, { json: JSON.parse(op.text) });
    else if (status === 200 && op.op === 'delete') see(rev);
    else if (value && revision !== undefined) see(rev, value);
    else if (status === 404) see(isChange(op) ? asked : at);
  }
  return news;
}

const isChange = ({ op }: WireOp): boolean => op === 'put' || op === 'delete' || op === 'clear';

/** `<epoch>.<rev>` → rev. */
export const seqOf = (revision: string | undefined): number =>
  Number(revision?.slice(revision.lastIndexOf('.') + 1) ?? 0);

/**
 * Put news into the mirror, in a transaction.
 *
 * @param seq The server's sequence number when it answered, in that era.
 * @returns Whether that is the era of the mirror: of another one nothing is news.
 */
export async function learn(
  writing: Writing,
  news: readonly News[],
  era: number,
  seq: number,
): Promise<boolean> {
  let meta = await writing.meta();
  if (!meta) return true;
  const keys = news.flatMap((one) => ('key' in one ? [one.key] : []));
  const places = await writing.places([...new Set(keys)]);
  const known = new Map([...places].map(([key, place]) => [key, place.seen]));
  const parked: Parked[] = [];
  const changed = new Set<string>();
  for (const one of news) {
    if ('clearedAt' in one) {
      if (one.era !== meta.era) continue;
      meta = clearedAt(meta, one.clearedAt, seq);
      for (const [key, seen] of known)
        if (seen?.era === meta.era && seen.seq < one.clearedAt) known.delete(key);
      await writing.forgetBefore(meta.era, one.clearedAt);
    } else if (isNews(known.get(one.key), one.seen, meta)) {
      const lost = parkedBy(one.key, known.get(one.key), one.seen, Date.now());
      if (lost) parked.push(lost);
      const before = known.get(one.key);
      const same = before?.era === one.seen.era && before.seq === one.seen.seq;
      const version = one.seen.version ?? (same ? before.version : undefined);
      known.set(one.key, { ...one.seen, version });
      changed.add(one.key);
    }
  }
  for (const key of changed) {
    const seen = known.get(key);
    if (seen) writing.setSeen(key, seen);
  }
  await writing.park(parked);
  writing.setMeta(era === meta.era && seq > meta.seq ? { ...meta, seq } : meta);
  return era === meta.era;
}

/** After a clear nothing is there that is older; where nothing newer is there either, that is everything. */
const clearedAt = (meta: Meta, at: number, seq: number): Meta => ({
  ...meta,
  clearedAt: Math.max(meta.clearedAt, at),
  cursor:
    meta.cursor === undefined && at < Math.max(meta.seq, seq) ? undefined : Math.max(meta.cursor ?? 0, at),
});
