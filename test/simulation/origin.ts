/**
 * An origin as a model: what is on its disk, and the transactions over it, each a function that does all of it or nothing.
 *
 * They do what src/sync does in transactions of IndexedDB, with the same rules.
 */
import type { Decision } from '../../src/sync/rules/outbox.ts';
import {
  ALL,
  type Held,
  isSame,
  type Mark,
  type Meta,
  NOTHING_KNOWN,
  type Parked,
  type Place,
  type Row,
  type Seen,
} from '../../src/sync/rules/state.ts';
import type { Accounts, Unit, Write } from './accounts.ts';
import type { News, Rules } from './tried-rules.ts';

/** What to do where the server has something that a writer had not seen. */
export type Policy = 'keep-server' | 'keep-local' | 'merge';

/** A write that the app makes. */
export interface Append {
  readonly write: Write;
  readonly mark?: Mark | undefined;
  /** What an update was computed on. */
  readonly base?: Seen | undefined;
  /** The unit that it is part of. */
  readonly unit?: Row['unit'];
}

/** A decision on a row that was sent. */
export interface Decided {
  readonly row: Row;
  readonly decision: Decision;
}

export interface Origin {
  readonly index: number;
  readonly policy: Policy;
  readonly rules: Rules;
  readonly accounts: Accounts;
  meta: Meta;
  readonly mirror: Map<string, Seen>;
  readonly pending: Map<string, readonly Row[]>;
  readonly conflicts: Parked[];
  /** The writes that rows stand for, by their version. */
  readonly writes: Map<number, Write>;
  /** The units that have waited, by the number of their first row. */
  readonly units: Map<number, Unit>;
  /** The incarnation of the server that was last met, for the accounts. */
  incarnation: number;
  /** How many values it has merged. */
  merges: number;
  /** Whose turn it is to send. */
  turn: object | undefined;
}

export const createOrigin = (index: number, policy: Policy, rules: Rules, accounts: Accounts): Origin => ({
  index,
  policy,
  rules,
  accounts,
  meta: NOTHING_KNOWN,
  mirror: new Map(),
  pending: new Map(),
  conflicts: [],
  writes: new Map(),
  units: new Map(),
  incarnation: 0,
  merges: 0,
  turn: undefined,
});

const NONE: readonly Row[] = [];
export const placeOf = ({ mirror, pending }: Origin, key: string): Place => ({
  seen: mirror.get(key),
  rows: pending.get(key) ?? NONE,
});
export const clearsOf = ({ pending }: Origin): readonly Row[] => pending.get(ALL) ?? NONE;
export const writeOf = (origin: Origin, { version }: Row): Write => origin.writes.get(version) as Write;

function setRows({ pending }: Origin, key: string, rows: readonly Row[]): void {
  if (rows.length > 0) pending.set(key, rows);
  else pending.delete(key);
}

/** What an app sees of a key without the server. */
export const view = (origin: Origin, key: string): ReturnType<Rules['viewOf']> =>
  origin.rules.viewOf(placeOf(origin, key), clearsOf(origin), origin.meta);

/** Where an origin that is up to date differs from what the server holds. */
export function differences(
  origin: Origin,
  keys: readonly string[],
  heldOf: (key: string) => Held | undefined,
): string[] {
  const { index, pending } = origin;
  const waits = pending.size > 0 ? [`origin ${index}: ${JSON.stringify([...pending])} still waits`] : [];
  const different = keys.flatMap((key) => {
    const shown = view(origin, key);
    if (shown && isSame(shown.held, heldOf(key))) return [];
    return [`origin ${index} shows ${JSON.stringify(shown)} for ${key}, not ${JSON.stringify(heldOf(key))}`];
  });
  return [...waits, ...different];
}

/** Put a batch of writes into the outbox; they are acknowledged with that. */
export function append(origin: Origin, appends: readonly Append[]): void {
  const { accounts } = origin;
  for (const { write, mark, base, unit } of appends) {
    if (write.key === ALL) appendClear(origin, write, mark);
    else {
      const place = placeOf(origin, write.key);
      const { key, held } = write;
      // What has a base of its own follows from nothing. What comes after it was made on that.
      const made = base
        ? []
        : place.rows.slice(
            Math.max(
              0,
              place.rows.findLastIndex(({ own }) => own),
            ),
          );
      const before = [...made, ...clearsOf(origin)].map((row) => writeOf(origin, row));
      note(origin, write, base ?? place.seen, before.length > 0 && !base ? before : undefined);
      const followed = base ? [] : place.rows;
      accounts.follows(
        write,
        followed.map((row) => writeOf(origin, row)),
      );
      const last = [...place.rows, ...clearsOf(origin)].sort((a, b) => a.n - b.n).at(-1);
      write.madeOn = last && !base ? writeOf(origin, last) : undefined;
      for (const clear of clearsOf(origin)) write.before.add(writeOf(origin, clear));
      const updates = write.isConditional || undefined;
      const waiting = { key, held, mark, updates, unit, atMs: 0, ...(base && { base }) };
      const queued = origin.rules.enqueue(place, clearsOf(origin), origin.meta, waiting);
      origin.meta = queued.meta;
      setRows(origin, key, queued.rows);
      register(origin, queued.rows, write);
    }
    accounts.acknowledge(write);
  }
  countUnits(origin);
}

/**
 * Put a unit into the outbox.
 *
 * @param marks Of its writes, where they may have arrived.
 */
export function appendUnit(origin: Origin, unit: Unit, marks: readonly Mark[] = []): void {
  const { meta, units } = origin;
  const { era, epoch, cursor = 0 } = meta;
  const n = meta.rows + 1;
  const size = unit.writes.length;
  const checks = unit.checks.map(({ key, saw }) => ({ key, base: saw ?? { era, epoch, seq: cursor } }));
  units.set(n, unit);
  append(
    origin,
    unit.writes.map((write, i) => ({ write, mark: marks[i], unit: { n, size, checks } })),
  );
}

/** Have the accounts look at what is here of units. */
function countUnits({ pending, conflicts, units, accounts }: Origin): void {
  for (const parts of [
    [...pending.values()].flat().map(({ unit }) => unit?.n),
    conflicts.map(({ unit }) => unit),
  ]) {
    const here = new Map<Unit, number>();
    for (const n of parts) {
      const unit = n === undefined ? undefined : units.get(n);
      if (unit) here.set(unit, (here.get(unit) ?? 0) + 1);
    }
    accounts.counts(here);
  }
}

/** What the writer of a write knows, as the accounts see it. */
function note(
  origin: Origin,
  write: Write,
  seen: Seen | undefined,
  before: readonly Write[] | undefined,
): void {
  write.saw = before ? (before[0] as Write).saw : seen;
  const sure = before ? (before[0] as Write).incarnation : seen?.era === origin.meta.era;
  write.incarnation = typeof sure === 'number' ? sure : sure ? origin.incarnation : 0;
}

function appendClear(origin: Origin, write: Write, mark: Mark | undefined): void {
  const { pending, meta, accounts } = origin;
  write.incarnation = origin.incarnation;
  write.clears = meta.level === undefined ? 0 : meta.seq;
  for (const rows of pending.values())
    accounts.follows(
      write,
      rows.map((row) => writeOf(origin, row)),
    );
  const places = new Map([...pending.keys()].map((key) => [key, placeOf(origin, key)]));
  const queued = origin.rules.enqueueClear(places, meta, { mark, atMs: 0 });
  origin.meta = queued.meta;
  for (const [key, rows] of queued.rows) {
    setRows(origin, key, rows);
    if (key === ALL) register(origin, rows, write);
    for (const row of rows) {
      if (origin.writes.has(row.version)) continue;
      const last = writeOf(origin, rows[0] as Row);
      const removal = accounts.open(origin.index, key, undefined);
      note(origin, removal, undefined, [last]);
      for (const earlier of write.before) removal.before.add(earlier);
      removal.before.delete(removal);
      origin.writes.set(row.version, removal);
    }
  }
}

function register(origin: Origin, rows: readonly Row[], write: Write): void {
  const last = rows.at(-1);
  if (last && !origin.writes.has(last.version)) origin.writes.set(last.version, write);
}

/** Put what an answer showed into the mirror. */
export function learn(origin: Origin, news: readonly News[], era: number, seq: number): void {
  const { mirror, rules } = origin;
  for (const one of news) {
    const { meta } = origin;
    if ('clearedAt' in one) {
      if (one.era !== meta.era) continue;
      const at = one.clearedAt;
      const isAll = meta.cursor !== undefined || at >= Math.max(meta.seq, seq);
      origin.meta = {
        ...meta,
        clearedAt: Math.max(meta.clearedAt, at),
        cursor: isAll ? Math.max(meta.cursor ?? 0, at) : undefined,
      };
      for (const [key, seen] of mirror) if (seen.era === meta.era && seen.seq < at) mirror.delete(key);
    } else if (rules.isNews(mirror.get(one.key), one.seen, meta)) {
      const lost = rules.parkedBy(one.key, mirror.get(one.key), one.seen, 0);
      if (lost) origin.conflicts.push(lost);
      mirror.set(one.key, one.seen);
    }
  }
  if (era === origin.meta.era && seq > origin.meta.seq) origin.meta = { ...origin.meta, seq };
}

/** What a request is about. */
export interface Next {
  readonly rows: readonly Row[];
  readonly mark: Mark;
  /** Whether it has not been sent before. */
  readonly isNew: boolean;
  /** As it was when it was taken. */
  readonly meta: Meta;
}

/** What is sent next, marked. */
export function take(origin: Origin, client: string, most: number): Next | undefined {
  const rows = [...origin.pending.values()].flat().sort((a, b) => a.n - b.n);
  const planned = origin.rules.plan(rows, client, most);
  if (!planned) return undefined;
  const isNew = 'send' in planned;
  const taken = isNew ? planned.send : planned.settle;
  const mark = taken[0]?.mark as Mark;
  if (!isNew) return { rows: taken, mark, isNew, meta: origin.meta };
  for (const row of planned.send)
    setRows(origin, row.key, origin.rules.taken(origin.pending.get(row.key) ?? NONE, row));
  return { rows: taken, mark, isNew, meta: origin.meta };
}

/** Record what becomes of writes that were sent, and what the answer showed. */
export function settle(
  origin: Origin,
  decided: readonly Decided[],
  news: readonly News[],
  era: number,
  seq: number,
  client?: string,
): void {
  const { rules, pending } = origin;
  // An answer of an earlier era says nothing of what the server holds now. The rows stay marked, and are settled when their mutation is given up.
  if (!rules.counts(era, origin.meta)) return;
  const shown = [...news];
  for (const { row, decision } of decided) {
    const before = pending.get(row.key) ?? NONE;
    const after = rules.afterDecision(before, row, decision, clearsOf(origin));
    if ('seen' in decision && decision.seen)
      shown.push(
        row.key === ALL ? { era, clearedAt: decision.seen.seq } : { key: row.key, seen: decision.seen },
      );
    if (after.parked && decision.type === 'conflict' && origin.policy !== 'keep-server' && !row.unit) {
      const again = rules.afterDecision(before, row, { type: 'again', base: decision.seen }, []);
      const held = origin.policy === 'merge' ? { json: `m${origin.index}.${++origin.merges}` } : row.held;
      const write = writeOf(origin, row);
      write.accepted.push(decision.seen.held);
      write.held = held;
      setRows(
        origin,
        row.key,
        again.rows.map((other) => (other.n === row.n ? { ...other, held, stale: undefined } : other)),
      );
      continue;
    }
    if (after.parked) {
      origin.conflicts.push(parkedOf(row, decision));
      if (decision.type === 'conflict') origin.accounts.meets(writeOf(origin, row), decision.seen.held);
      if (decision.type === 'rejected') origin.accounts.isRejected(writeOf(origin, row));
    } else if (decision.type === 'conflict' || decision.type === 'rejected')
      origin.accounts.isReplaced(
        writeOf(origin, row),
        after.rows.map((other) => writeOf(origin, other)),
      );
    if (after.rows !== before) setRows(origin, row.key, after.rows);
  }
  learn(origin, shown, era, seq);
  if (client !== undefined) origin.meta = { ...origin.meta, client };
  countUnits(origin);
}

const parkedOf = ({ key, base, held: local, unit }: Row, decision: Decision): Parked => ({
  key,
  reason: decision.type === 'rejected' ? 'rejected' : 'changed',
  base: base?.held,
  local,
  server: decision.type === 'conflict' ? decision.seen.held : undefined,
  detail: '',
  atMs: 0,
  unit: unit?.n,
});
