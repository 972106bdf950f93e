/**
 * The rules of the outbox: what waits, what is sent of it, and what becomes of it.
 *
 * No I/O, as in state.ts, whose promises they keep.
 */
import {
  ALL,
  type Held,
  isSame,
  type Mark,
  type Meta,
  type Place,
  type Row,
  type Seen,
  seenOf,
  type Unit,
} from './state.ts';

/** A write, about to wait. */
export interface Write {
  readonly key: string;
  readonly held?: Held | undefined;
  readonly mark?: Mark | undefined;
  /** What its writer had seen, where that was at the server and the mirror may be further by now. */
  readonly base?: Seen | undefined;
  readonly updates?: boolean | undefined;
  readonly unit?: Unit | undefined;
  readonly rejected?: true | undefined;
  readonly atMs: number;
}

/** The waiting writes of a key with one more. One that was not sent is replaced, and its base stays: that is what its writer saw. */
export function enqueue(
  place: Place,
  clears: readonly Row[],
  meta: Meta,
  write: Write,
): { readonly rows: readonly Row[]; readonly meta: Meta } {
  const last = place.rows.at(-1);
  const clear = clears.at(-1);
  const version = meta.rows + 1;
  const counted = { ...meta, rows: version };
  if (last && last.n > (clear?.n ?? 0)) {
    const sameBatch = last.mark && last.mark.client === write.mark?.client;
    // What was made on something else than the write before it neither replaces that nor follows from it.
    if (write.base && !sameBatch)
      return { rows: [...place.rows, { ...write, n: version, version, own: true }], meta: counted };
    // A unit stays as it is, and so does what was rejected. What follows waits for its result.
    if (write.unit || last.unit || write.rejected || last.rejected)
      return { rows: [...place.rows, { ...write, n: version, version, base: last.base }], meta: counted };
    // What is set replaces all that waits; what was computed on the last write does not know of those before an own base.
    const row: Row = {
      ...write,
      n: last.n,
      version,
      base: last.base,
      own: write.updates && last.own,
      stale: write.updates && last.stale,
    };
    if (!last.mark || sameBatch) return { rows: [...place.rows.slice(0, -1), row], meta: counted };
    // Until what was sent is settled its base stands here too; then its result does.
    return { rows: [...place.rows, { ...row, n: version, own: undefined }], meta: counted };
  }
  const known = clear ? absentAt(clear.base) : (seenOf(place, meta) ?? absentHere(meta));
  const base = write.base ?? known;
  return { rows: [...place.rows, { ...write, n: version, version, base }], meta: counted };
}

const absentAt = (seen: Seen | undefined): Seen | undefined => seen && { ...seen, held: undefined };

/** That a complete mirror lacks a key is knowledge. */
const absentHere = ({ era, epoch, cursor }: Meta): Seen | undefined =>
  cursor === undefined ? undefined : { era, epoch, seq: cursor };

/**
 * The waiting writes of all keys after a clear: what was not sent is superseded, what was is followed by a delete.
 *
 * @param pending All keys with writes that wait, clears included.
 */
export function enqueueClear(
  pending: ReadonlyMap<string, Place>,
  meta: Meta,
  { mark, atMs }: Pick<Write, 'mark' | 'atMs'>,
): { readonly rows: ReadonlyMap<string, readonly Row[]>; readonly meta: Meta } {
  const rows = new Map<string, readonly Row[]>();
  let counted = meta;
  for (const [key, place] of pending) {
    const sent = place.rows.filter((row) => row.mark && row.mark.client !== mark?.client);
    const last = sent.at(-1);
    if (key === ALL || !last) rows.set(key, sent);
    else {
      const n = counted.rows + 1;
      counted = { ...counted, rows: n };
      rows.set(key, [...sent, { n, version: n, key, base: last.base, clears: true, atMs }]);
    }
  }
  // Of a server that was never reached there is nothing to clear.
  if (meta.level === undefined) return { rows, meta: counted };
  const n = counted.rows + 1;
  const base = { era: meta.era, epoch: meta.epoch, seq: meta.seq };
  const clear: Row = { n, version: n, key: ALL, base, mark, atMs };
  rows.set(ALL, [...(rows.get(ALL) ?? []), clear]);
  return { rows, meta: { ...counted, rows: n } };
}

/** What the next request is about. */
export type Plan = { readonly settle: readonly Row[] } | { readonly send: readonly Row[] } | undefined;

/**
 * What to send next of the writes that wait. What may have been sent is settled first. What is to be sent is marked: it stays
 * where it is until there is a result.
 *
 * @param rows In their order, from the first on.
 * @param client Never used before: two copies of a device must not name two mutations alike.
 */
export function plan(rows: readonly Row[], client: string, most: number): Plan {
  const marked = rows.find(({ mark }) => mark)?.mark;
  if (marked) return { settle: rows.filter(({ mark }) => mark?.client === marked.client) };
  const batch: Row[] = [];
  const keys = new Set<string>();
  const [{ unit }] = rows.length > 0 ? (rows as [Row]) : [{ unit: undefined }];
  if (unit) {
    const parts = rows.filter((row) => row.unit?.n === unit.n);
    if (parts.length === unit.size) batch.push(...parts);
  }
  for (const row of rows) {
    // What follows a write of its own key needs its result; a clear and a unit go alone.
    if (unit || row.unit) break;
    if (batch.length >= most || keys.has(row.key) || keys.has(ALL) || (row.key === ALL && batch.length > 0))
      break;
    batch.push(row);
    keys.add(row.key);
  }
  if (batch.length === 0) return undefined;
  return {
    send: stepsOf(batch).flatMap((step, at) =>
      'check' in step ? [] : [{ ...step, mark: { client, m: 1, at } }],
    ),
  };
}

/** A state of a key that must be current when a unit applies. */
export interface Check extends Pick<Row, 'base' | 'stale'> {
  readonly check: string;
}

/**
 * The writes of a request with what their unit checks, in the order of its operations. The mark of a write is its place among them.
 *
 * To a server the delete of a missing key is no failure, so a delete with a condition comes directly after a check of its key.
 */
export const stepsOf = (rows: readonly Row[]): Array<Row | Check> => [
  ...rows.flatMap((row) =>
    isCheckedBefore(row) ? [{ check: row.key, base: row.base, stale: row.stale }, row] : [row],
  ),
  ...(rows[0]?.unit?.checks ?? []).map(({ key, base }) => ({ check: key, base })),
];

const isCheckedBefore = ({ unit, updates, held }: Row): boolean => Boolean(unit && updates && !held);

/**
 * The results of a unit that was sent.
 *
 * @param results Of its steps.
 * @returns The result of each write, which is that of its own check where that has failed, and the first of the other keys whose
 *   check has failed.
 */
export function unitResults<T extends { readonly status: number }>(
  rows: readonly Row[],
  results: readonly T[],
): { readonly own: readonly T[]; readonly failed: string | undefined } {
  const own: T[] = [];
  let failed: string | undefined;
  for (const [at, step] of stepsOf(rows).entries()) {
    const result = results[at] as T;
    const checked = results[at - 1];
    if (!('check' in step)) own.push(isCheckedBefore(step) && checked?.status === 412 ? checked : result);
    else if (own.length === rows.length && result.status === 412) failed ??= step.check;
  }
  return { own, failed };
}

/** The server's result of a write. */
export interface Result {
  readonly status: number;
  /** What is there now, as far as the answer shows it. */
  readonly seen?: Seen | undefined;
}

/** What becomes of a write. */
export type Decision =
  /** It is at the server. */
  | { readonly type: 'done'; readonly seen?: Seen | undefined }
  /** It has not arrived, and is sent on this base. */
  | { readonly type: 'again'; readonly base: Seen | undefined }
  /** The server has something that its writer had not seen. */
  | { readonly type: 'conflict'; readonly seen: Seen }
  /** The server will never take it. */
  | { readonly type: 'rejected' }
  /** Another part of its unit is in conflict, or will never be taken. */
  | { readonly type: 'not-applied' };

/** What the result of a write that was sent says. */
export function decide(row: Row, { status, seen }: Result): Decision {
  if (status === 200) return { type: 'done', seen: seen && { ...seen, held: row.held } };
  // A delete of what is not there.
  if (status === 404) return { type: 'done', seen };
  if (status === 412 && seen) return compare(row, seen);
  return status === 412 ? { type: 'again', base: row.base } : { type: 'rejected' };
}

/** What is to become of a write where the server holds `seen`: on level 0 that is all there is to go by. */
export function compare({ base, held, updates, stale }: Row, seen: Seen): Decision {
  if (stale) return { type: 'conflict', seen };
  const revised = seen.epoch !== '' && base?.epoch !== '';
  if (isSame(held, seen.held) && !(updates && revised)) return { type: 'done', seen };
  if (base === undefined) return seen.held ? { type: 'conflict', seen } : { type: 'again', base };
  const ordered = revised && base.era === seen.era;
  const unchanged = ordered && base.held && seen.held ? base.seq === seen.seq : isSame(base.held, seen.held);
  return unchanged ? { type: 'again', base: seen } : { type: 'conflict', seen };
}

/**
 * What becomes of a write whose mutation was given up.
 *
 * @param result The stored result; nothing if the mutation was not applied, and never will be.
 * @param refused A mark of a mutation that the server would not take.
 */
export function decideSettled(row: Row, result: Result | undefined, refused: Mark | undefined): Decision {
  if (!result) return refused && refused.client === row.mark?.client ? { type: 'rejected' } : again(row);
  // The value that is there was not stored with the result.
  return result.status === 412 || result.status === 424 ? again(row) : decide(row, result);
}

/**
 * What becomes of the writes of a unit that the server has carried out as a whole, or not at all.
 *
 * @param decisions What the result of each alone says; nothing where it was not applied because another one failed.
 * @param isChecked Whether the states that it has checked were current.
 */
export function decideUnit(
  rows: readonly Row[],
  decisions: ReadonlyArray<Decision | undefined>,
  isChecked: boolean,
): Decision[] {
  const applied = decisions.filter((decision) => decision !== undefined);
  if (isChecked && applied.length === rows.length && applied.every(({ type }) => type === 'done'))
    return applied;
  const isLost = !isChecked || applied.some(({ type }) => type === 'conflict' || type === 'rejected');
  return rows.map((row, i) => {
    const decision = decisions[i];
    if (!isLost)
      return decision?.type === 'done' ? { type: 'again', base: decision.seen } : (decision ?? again(row));
    return decision?.type === 'conflict' || decision?.type === 'rejected'
      ? decision
      : { type: 'not-applied' };
  });
}

const again = ({ base }: Row): Decision => ({ type: 'again', base });

/**
 * The waiting writes of a key after a decision on one of them.
 *
 * @returns Whether the write is parked: not where a later one of the same writer has replaced it already.
 */
export function afterDecision(
  rows: readonly Row[],
  row: Row,
  decision: Decision,
  clears: readonly Row[],
): { readonly rows: readonly Row[]; readonly parked: boolean } {
  const at = rows.findIndex(({ n }) => n === row.n);
  const current = rows[at];
  // Somebody else has settled it.
  if (!current || !isSameMark(current.mark, row.mark)) return { rows, parked: false };
  const clearedBetween = (later: Row): boolean => clears.some(({ n }) => n > row.n && n < later.n);
  const later = rows.slice(at + 1);
  const next = later[0] && !later[0].own && !clearedBetween(later[0]) ? later[0] : undefined;
  const rest = (base: Seen | undefined, isUnmade = false): Row[] =>
    later.map((other) => {
      if (other !== next) return other;
      const own = other.updates && current.own;
      const stale = other.updates && (current.stale || isUnmade || undefined);
      return {
        ...other,
        base: row.key === ALL ? laterOf(other.base, base) : base,
        ...(own && { own }),
        ...(stale && { stale }),
      };
    });
  const before = rows.slice(0, at);
  if (current.version !== row.version) {
    // What was sent without a mark was replaced meanwhile: that stays, on what has become of this one.
    const base = decision.type === 'done' ? (decision.seen ?? absentAt(row.base)) : current.base;
    return { rows: [...before, { ...current, base }, ...later], parked: false };
  }
  switch (decision.type) {
    case 'done':
      // A condition of a unit was met before what was rejected: that it has applied was not known.
      return {
        rows: [
          ...before,
          ...rest(decision.seen ?? absentAt(row.base), Boolean(current.rejected && next?.unit)),
        ],
        parked: false,
      };
    case 'again':
      if (current.rejected)
        return { rows: [...before, ...rest(decision.base).slice(next?.clears ? 1 : 0)], parked: false };
      if (current.unit) {
        const kept = { ...current, base: decision.base, mark: undefined };
        return { rows: [...before, kept, ...later], parked: false };
      }
      if (next?.clears) return { rows: [...before, ...later.slice(1)], parked: false };
      // A later write of the same key stands for both; a unit, which may come to nothing, only for itself.
      return next && !next.unit
        ? { rows: [...before, ...rest(decision.base)], parked: false }
        : {
            rows: [...before, { ...current, base: decision.base, mark: undefined }, ...later],
            parked: false,
          };
    default:
      // What was computed on a state that never comes to be, or is for that state, is not for the one before it.
      return {
        rows: [...before, ...rest(current.base, !current.rejected && Boolean(current.unit ?? next?.unit))],
        parked: !current.rejected && (!next || current.unit !== undefined),
      };
  }
}

/** A clear deletes what was there when it was made, whatever became of one before it. */
const laterOf = (own: Seen | undefined, other: Seen | undefined): Seen | undefined =>
  own && other && own.era === other.era && own.seq < other.seq ? other : own;

const isSameMark = (a: Mark | undefined, b: Mark | undefined): boolean =>
  a?.client === b?.client && a?.at === b?.at;
