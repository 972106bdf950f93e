/**
 * The rules of sync: what the mirror and the outbox hold in, what they are to hold out.
 *
 * No I/O. Each function is what one transaction does with what it has read, or what follows from one answer, so that a
 * simulation can drive them through every order of losses and crashes. They keep three promises: a write that was put into the
 * outbox is at the server, in the outbox or among the conflicts; it applies once; and it never overwrites what its writer had
 * not seen.
 */

/** A value in the form in which it travels (docs/contract.md, 11), parsed. */
export interface Held {
  readonly json: unknown;
}

/** What was seen of a key at the server. */
export interface Seen {
  /** Counts the incarnations of the server's data that this origin has met: a restore begins a new one. */
  readonly era: number;
  /** The server's own name for it; empty on level 0. */
  readonly epoch: string;
  /** The revision of the value, or, where the key did not exist, a sequence number at which that was so. 0 on level 0. */
  readonly seq: number;
  /** Nothing where the key did not exist. */
  readonly held?: Held | undefined;
  /** The `version` of the write of this origin that made it, where it waited before. */
  readonly version?: number | undefined;
}

/** The numbers under which a batch was sent, and the one of this write. */
export interface Mark {
  readonly client: string;
  readonly first: number;
  readonly count: number;
  readonly n: number;
}

/** A write that waits to be at the server. */
export interface Row {
  /** Its place in the order of writes. */
  readonly n: number;
  /** Names this state of the key. */
  readonly version: number;
  /** The key; empty for a clear, which deletes everything that was there at the `seq` of its base. */
  readonly key: string;
  /** What to store; nothing where the key is to be deleted. */
  readonly held?: Held | undefined;
  /** What its writer knew of the key; nothing where that was nothing. */
  readonly base?: Seen | undefined;
  /** Present when it may have been sent: whether it has arrived is to be settled first. */
  readonly mark?: Mark | undefined;
  /** Whether it was computed from what was there: that the server has its value by somebody else does not make it done. */
  readonly updates?: boolean | undefined;
  /** When it was made, in milliseconds since 1970. */
  readonly atMs: number;
}

/** What is known of the server as a whole, and the counters. */
export interface Meta {
  readonly era: number;
  readonly epoch: string;
  /** The highest sequence number that was seen. */
  readonly seq: number;
  /** Up to this sequence number the mirror holds everything; nothing while it may lack keys. */
  readonly cursor?: number | undefined;
  /** What was seen before this sequence number is gone. */
  readonly clearedAt: number;
  /** The level at which the server was reached; nothing where it never was. */
  readonly level?: 0 | 1 | undefined;
  /** Whether entries of an earlier era are still to be compared with the server. */
  readonly rewound?: boolean | undefined;
  /** Under this name the outbox is sent, and its next number. */
  readonly client: string;
  readonly next: number;
  /** The last `n` and `version` that were given out. */
  readonly rows: number;
  readonly lastSyncAtMs?: number | undefined;
}

/** What is here of one key. */
export interface Place {
  readonly seen?: Seen | undefined;
  /** Its writes that wait, in their order. */
  readonly rows: readonly Row[];
}

/** A local value that did not come to be the server's. */
export interface Parked {
  readonly key: string;
  /** The server's had changed, it refused the write for good, or it has lost it in a restore. */
  readonly reason: 'changed' | 'rejected' | 'restored';
  readonly base?: Held | undefined;
  readonly local?: Held | undefined;
  readonly server?: Held | undefined;
  readonly detail: string;
  readonly atMs: number;
}

/** A write that is about everything. */
export const ALL = '';

/** Before anything is known. */
export const nothingKnown = (client: string): Meta => ({
  era: 1,
  epoch: '',
  seq: 0,
  clearedAt: 0,
  client,
  next: 1,
  rows: 0,
});

/** Whether two values, or their absence, are the same, whatever the order of members. */
export function isSame(a: Held | undefined, b: Held | undefined): boolean {
  return a === undefined || b === undefined ? a === b : isSameJson(a.json, b.json);
}

function isSameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const names = Object.keys(a);
  return (
    Array.isArray(a) === Array.isArray(b) &&
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSameJson(a[name as never], b[name as never]))
  );
}

/** Whether what an answer showed is not older than what is known: answers overtake each other. */
export function isNews(known: Seen | undefined, seen: Seen, { era, clearedAt }: Meta): boolean {
  if (seen.era !== era || seen.seq < clearedAt) return false;
  return known === undefined || known.era !== era || seen.seq >= known.seq;
}

/** What becomes of a value of the mirror that a restored server does not have: it is kept as a conflict. */
export function parkedBy(key: string, known: Seen | undefined, seen: Seen, atMs: number): Parked | undefined {
  // A server of level 0 has no revisions to lose.
  if (!known?.held || known.era === seen.era || known.epoch === '' || isSame(known.held, seen.held))
    return undefined;
  const { held: local } = known;
  return {
    key,
    reason: 'restored',
    local,
    server: seen.held,
    detail: 'The server was restored to an earlier state.',
    atMs,
  };
}

/** What a reader sees of a key, writes that wait laid over the mirror. Nothing where that cannot be known. */
export function viewOf(
  place: Place,
  clears: readonly Row[],
  meta: Meta,
): { held: Held | undefined } | undefined {
  const last = place.rows.at(-1);
  const clear = clears.at(-1);
  if (last && last.n > (clear?.n ?? 0)) return { held: last.held };
  if (clear) return { held: undefined };
  const seen = seenOf(place, meta);
  if (seen) return { held: seen.held };
  return meta.cursor !== undefined || meta.level === undefined ? { held: undefined } : undefined;
}

/** What the mirror says, unless it says that a key of an earlier era did not exist. */
const seenOf = ({ seen }: Place, { era }: Meta): Seen | undefined =>
  seen && (seen.held || seen.era === era) ? seen : undefined;

/** A write, about to wait. */
export interface Write {
  readonly key: string;
  readonly held?: Held | undefined;
  readonly mark?: Mark | undefined;
  /** What its writer had seen, where that was at the server and the mirror may be further by now. */
  readonly base?: Seen | undefined;
  readonly updates?: boolean | undefined;
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
    const row: Row = { ...write, n: last.n, version, base: write.base ?? last.base };
    if (!last.mark || sameBatch) return { rows: [...place.rows.slice(0, -1), row], meta: counted };
    // Until what was sent is settled its base stands here too; then its result does.
    return { rows: [...place.rows, { ...row, n: version }], meta: counted };
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
      rows.set(key, [...sent, { n, version: n, key, base: last.base, atMs }]);
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
export type Plan =
  | { readonly settle: readonly Row[] }
  | { readonly send: readonly Row[]; readonly meta: Meta }
  | undefined;

/**
 * What to send next of the writes that wait. What may have been sent is settled first. What is to be sent is marked: it stays
 * where it is until there is a result.
 *
 * @param rows In their order, from the first on.
 */
export function plan(rows: readonly Row[], meta: Meta, most: number): Plan {
  const marked = rows.find(({ mark }) => mark)?.mark;
  if (marked) return { settle: rows.filter(({ mark }) => mark?.client === marked.client) };
  const batch: Row[] = [];
  const keys = new Set<string>();
  for (const row of rows) {
    // What follows a write of its own key needs its result; a clear goes alone.
    if (batch.length >= most || keys.has(row.key) || keys.has(ALL) || (row.key === ALL && batch.length > 0))
      break;
    batch.push(row);
    keys.add(row.key);
  }
  if (batch.length === 0) return undefined;
  const { client, next } = meta;
  const send = batch.map((row, i) => ({
    ...row,
    mark: { client, first: next, count: batch.length, n: next + i },
  }));
  return { send, meta: { ...meta, next: next + batch.length } };
}

/** The numbers of a batch as the server answered them, or of what took their place. */
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
  | { readonly type: 'rejected' };

/** What the result of a write that was sent says. */
export function decide(row: Row, { status, seen }: Result): Decision {
  if (status === 200) return { type: 'done', seen: seen && { ...seen, held: row.held } };
  // A delete of what is not there. To another write only a number that was used up answers so.
  if (status === 404) return row.held ? { type: 'again', base: row.base } : { type: 'done', seen };
  if (status === 412 && seen) return compare(row, seen);
  return status === 412 ? { type: 'again', base: row.base } : { type: 'rejected' };
}

/** What is to become of a write where the server holds `seen`: on level 0 that is all there is to go by. */
export function compare({ base, held, updates }: Row, seen: Seen): Decision {
  const ordered = base !== undefined && base.epoch !== '' && seen.epoch !== '' && base.era === seen.era;
  if (isSame(held, seen.held) && !(updates && ordered)) return { type: 'done', seen };
  if (base === undefined) return seen.held ? { type: 'conflict', seen } : { type: 'again', base };
  const unchanged = ordered && base.held && seen.held ? base.seq === seen.seq : isSame(base.held, seen.held);
  return unchanged ? { type: 'again', base: seen } : { type: 'conflict', seen };
}

/** What the result of a number that was used up says: whether the write it stood for had applied. */
export function decideSettled(row: Row, { status, seen }: Result): Decision {
  return status === 200
    ? { type: 'done', seen: seen && { ...seen, held: row.held } }
    : { type: 'again', base: row.base };
}

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
  const next = later[0] && !clearedBetween(later[0]) ? later[0] : undefined;
  const rest = (base: Seen | undefined): Row[] =>
    later.map((other) =>
      other === next ? { ...other, base: row.key === ALL ? laterOf(other.base, base) : base } : other,
    );
  const before = rows.slice(0, at);
  switch (decision.type) {
    case 'done':
      return { rows: [...before, ...rest(decision.seen ?? absentAt(row.base))], parked: false };
    case 'again':
      // A later write of the same key stands for both.
      return next
        ? { rows: [...before, ...rest(decision.base)], parked: false }
        : {
            rows: [...before, { ...current, base: decision.base, mark: undefined }, ...later],
            parked: false,
          };
    default:
      return { rows: [...before, ...later], parked: !next };
  }
}

/** A clear deletes what was there when it was made, whatever became of one before it. */
const laterOf = (own: Seen | undefined, other: Seen | undefined): Seen | undefined =>
  own && other && own.era === other.era && own.seq < other.seq ? other : own;

const isSameMark = (a: Mark | undefined, b: Mark | undefined): boolean =>
  a?.client === b?.client && a?.n === b?.n;

/** Whether a server cannot be the one whose answers were seen: it was restored to an earlier state. */
export const isRewound = (meta: Meta, epoch: string, seq: number): boolean =>
  meta.epoch !== '' && (epoch !== meta.epoch || seq < meta.seq);

/** A new era: nothing that was seen orders what comes, and no number that was used means anything. */
export const inNewEra = (meta: Meta, epoch: string, client: string): Meta => ({
  ...meta,
  era: meta.era + 1,
  epoch,
  seq: 0,
  cursor: undefined,
  clearedAt: 0,
  rewound: true,
  client,
  next: 1,
});
