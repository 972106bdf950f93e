/**
 * An origin as a model: what is on its disk, and the transactions over it, each a function that does all of it or nothing.
 *
 * They do what src/sync does in transactions of IndexedDB, with the same rules.
 */
import type { Decision } from '../../src/sync/rules/outbox.ts';
import {
  ALL_KEYS,
  type ConflictRecord,
  INITIAL_META,
  isSame,
  type KeyState,
  type Meta,
  type QueuedWrite,
  type SentAs,
  type ServerState,
  type StoredJson,
} from '../../src/sync/rules/state.ts';
import type { Accounts, Unit, Write } from './accounts.ts';
import type { Observation, Rules } from './tried-rules.ts';

/** What to do where the server has something that a writer had not seen. */
export type Policy = 'keep-server' | 'keep-local' | 'merge';

/** A write that the app makes. */
export interface Append {
  readonly write: Write;
  readonly sentAs?: SentAs | undefined;
  /** What an update was computed on. */
  readonly base?: ServerState | undefined;
  /** The unit that it is part of. */
  readonly unit?: QueuedWrite['unit'];
}

/** A decision on a queued write that was sent. */
export interface Decided {
  readonly queued: QueuedWrite;
  readonly decision: Decision;
}

export interface Origin {
  readonly index: number;
  readonly policy: Policy;
  readonly rules: Rules;
  readonly accounts: Accounts;
  meta: Meta;
  readonly mirror: Map<string, ServerState>;
  readonly pending: Map<string, readonly QueuedWrite[]>;
  readonly conflicts: ConflictRecord[];
  /** The writes of the app that queued writes stand for, by their version. */
  readonly writes: Map<number, Write>;
  /** The units that have waited, by the number of their first row. */
  readonly units: Map<number, Unit>;
  /** The incarnation of the server of the last handshake, for the accounts. */
  incarnation: number;
  /** How many values it has merged. */
  merges: number;
  /** Who holds the lock. */
  lockHolder: object | undefined;
}

export const createOrigin = (index: number, policy: Policy, rules: Rules, accounts: Accounts): Origin => ({
  index,
  policy,
  rules,
  accounts,
  meta: INITIAL_META,
  mirror: new Map(),
  pending: new Map(),
  conflicts: [],
  writes: new Map(),
  units: new Map(),
  incarnation: 0,
  merges: 0,
  lockHolder: undefined,
});

const NONE: readonly QueuedWrite[] = [];
export const keyStateOf = ({ mirror, pending }: Origin, key: string): KeyState => ({
  serverState: mirror.get(key),
  writes: pending.get(key) ?? NONE,
});
export const clearsOf = ({ pending }: Origin): readonly QueuedWrite[] => pending.get(ALL_KEYS) ?? NONE;
export const writeOf = (origin: Origin, { version }: QueuedWrite): Write =>
  origin.writes.get(version) as Write;

function setWrites({ pending }: Origin, key: string, writes: readonly QueuedWrite[]): void {
  if (writes.length > 0) pending.set(key, writes);
  else pending.delete(key);
}

/** What an app sees of a key without the server. */
export const view = (origin: Origin, key: string): ReturnType<Rules['localView']> =>
  origin.rules.localView(keyStateOf(origin, key), clearsOf(origin), origin.meta);

/** Where an origin that is up to date differs from what the server holds. */
export function differences(
  origin: Origin,
  keys: readonly string[],
  storedJsonOf: (key: string) => StoredJson | undefined,
): string[] {
  const { index, pending } = origin;
  const waits = pending.size > 0 ? [`origin ${index}: ${JSON.stringify([...pending])} is still queued`] : [];
  const different = keys.flatMap((key) => {
    const shown = view(origin, key);
    if (shown && isSame(shown.value, storedJsonOf(key))) return [];
    return [
      `origin ${index} shows ${JSON.stringify(shown)} for ${key}, not ${JSON.stringify(storedJsonOf(key))}`,
    ];
  });
  return [...waits, ...different];
}

/** Put a batch of writes into the outbox; they are acknowledged with that. */
export function append(origin: Origin, appends: readonly Append[]): void {
  const { accounts } = origin;
  for (const { write, sentAs, base, unit } of appends) {
    if (write.key === ALL_KEYS) appendClear(origin, write, sentAs);
    else {
      const keyState = keyStateOf(origin, write.key);
      const { key, value } = write;
      // What has a base of its own follows from nothing. What comes after it was made on that.
      const made = base
        ? []
        : keyState.writes.slice(
            Math.max(
              0,
              keyState.writes.findLastIndex(({ hasOwnBase }) => hasOwnBase),
            ),
          );
      const before = [...made, ...clearsOf(origin)].map((queued) => writeOf(origin, queued));
      note(origin, write, base ?? keyState.serverState, before.length > 0 && !base ? before : undefined);
      const followed = base ? [] : keyState.writes;
      accounts.follows(
        write,
        followed.map((queued) => writeOf(origin, queued)),
      );
      const last = [...keyState.writes, ...clearsOf(origin)].sort((a, b) => a.order - b.order).at(-1);
      write.madeOn = last && !base ? writeOf(origin, last) : undefined;
      for (const clear of clearsOf(origin)) write.before.add(writeOf(origin, clear));
      const dependsOnBase = write.isConditional || undefined;
      const waiting = { key, value, sentAs, dependsOnBase, unit, atMs: 0, ...(base && { base }) };
      const queued = origin.rules.enqueue(keyState, clearsOf(origin), origin.meta, waiting);
      origin.meta = queued.meta;
      setWrites(origin, key, queued.writes);
      register(origin, queued.writes, write);
    }
    accounts.acknowledge(write);
  }
  countUnits(origin);
}

/**
 * Put a unit into the outbox.
 *
 * @param sent Of its writes, where they may have arrived.
 */
export function appendUnit(origin: Origin, unit: Unit, sent: readonly SentAs[] = []): void {
  const { meta, units } = origin;
  const { generation, epoch, cursor = 0 } = meta;
  const order = meta.lastOrder + 1;
  const size = unit.writes.length;
  const checks = unit.checks.map(({ key, saw }) => ({
    key,
    base: saw ?? { generation, epoch, seq: cursor },
  }));
  units.set(order, unit);
  append(
    origin,
    unit.writes.map((write, i) => ({ write, sentAs: sent[i], unit: { order, size, checks } })),
  );
}

/** Have the accounts look at what is here of units. */
function countUnits({ pending, conflicts, units, accounts }: Origin): void {
  for (const parts of [
    [...pending.values()].flat().map(({ unit }) => unit?.order),
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
  serverState: ServerState | undefined,
  before: readonly Write[] | undefined,
): void {
  write.saw = before ? (before[0] as Write).saw : serverState;
  const sure = before ? (before[0] as Write).incarnation : serverState?.generation === origin.meta.generation;
  write.incarnation = typeof sure === 'number' ? sure : sure ? origin.incarnation : 0;
}

function appendClear(origin: Origin, write: Write, sentAs: SentAs | undefined): void {
  const { pending, meta, accounts } = origin;
  write.incarnation = origin.incarnation;
  write.clears = meta.level === undefined ? 0 : meta.seq;
  for (const writes of pending.values())
    accounts.follows(
      write,
      writes.map((queued) => writeOf(origin, queued)),
    );
  const keyStates = new Map([...pending.keys()].map((key) => [key, keyStateOf(origin, key)]));
  const queued = origin.rules.enqueueClear(keyStates, meta, { sentAs, atMs: 0 });
  origin.meta = queued.meta;
  for (const [key, writes] of queued.writes) {
    setWrites(origin, key, writes);
    if (key === ALL_KEYS) register(origin, writes, write);
    for (const queued of writes) {
      if (origin.writes.has(queued.version)) continue;
      const last = writeOf(origin, writes[0] as QueuedWrite);
      const removal = accounts.open(origin.index, key, undefined);
      note(origin, removal, undefined, [last]);
      for (const earlier of write.before) removal.before.add(earlier);
      removal.before.delete(removal);
      origin.writes.set(queued.version, removal);
    }
  }
}

function register(origin: Origin, writes: readonly QueuedWrite[], write: Write): void {
  const last = writes.at(-1);
  if (last && !origin.writes.has(last.version)) origin.writes.set(last.version, write);
}

/** Put what an answer showed into the mirror. */
export function updateMirror(
  origin: Origin,
  observations: readonly Observation[],
  generation: number,
  seq: number,
): void {
  const { mirror, rules } = origin;
  for (const one of observations) {
    const { meta } = origin;
    if ('clearedAt' in one) {
      if (one.generation !== meta.generation) continue;
      const at = one.clearedAt;
      const isAll = meta.cursor !== undefined || at >= Math.max(meta.seq, seq);
      origin.meta = {
        ...meta,
        clearedAt: Math.max(meta.clearedAt, at),
        cursor: isAll ? Math.max(meta.cursor ?? 0, at) : undefined,
      };
      for (const [key, serverState] of mirror)
        if (serverState.generation === meta.generation && serverState.seq < at) mirror.delete(key);
    } else if (rules.isNewer(mirror.get(one.key), one.serverState, meta)) {
      const lost = rules.restoreConflict(one.key, mirror.get(one.key), one.serverState, 0);
      if (lost) origin.conflicts.push(lost);
      mirror.set(one.key, one.serverState);
    }
  }
  if (generation === origin.meta.generation && seq > origin.meta.seq) origin.meta = { ...origin.meta, seq };
}

/** What a request is about. */
export interface Next {
  readonly writes: readonly QueuedWrite[];
  readonly sentAs: SentAs;
  /** Whether it has not been sent before. */
  readonly isNew: boolean;
  /** As it was when it was taken. */
  readonly meta: Meta;
}

/** What is sent next, marked as sent. */
export function take(origin: Origin, client: string, most: number): Next | undefined {
  const writes = [...origin.pending.values()].flat().sort((a, b) => a.order - b.order);
  const planned = origin.rules.planRequest(writes, client, most);
  if (!planned) return undefined;
  const isNew = 'send' in planned;
  const taken = isNew ? planned.send : planned.settle;
  const sentAs = taken[0]?.sentAs as SentAs;
  if (!isNew) return { writes: taken, sentAs, isNew, meta: origin.meta };
  for (const queued of planned.send)
    setWrites(origin, queued.key, origin.rules.taken(origin.pending.get(queued.key) ?? NONE, queued));
  return { writes: taken, sentAs, isNew, meta: origin.meta };
}

/** Record what becomes of writes that were sent, and what the answer showed. */
export function settle(
  origin: Origin,
  decided: readonly Decided[],
  observations: readonly Observation[],
  generation: number,
  seq: number,
  client?: string,
): void {
  const { rules, pending } = origin;
  // An answer of an earlier generation says nothing of what the server holds now. The writes stay marked as sent, and are settled when their mutation is voided.
  if (!rules.counts(generation, origin.meta)) return;
  const shown = [...observations];
  for (const { queued, decision } of decided) {
    const before = pending.get(queued.key) ?? NONE;
    const after = rules.applyDecision(before, queued, decision, clearsOf(origin));
    if ('serverState' in decision && decision.serverState)
      shown.push(
        queued.key === ALL_KEYS
          ? { generation, clearedAt: decision.serverState.seq }
          : { key: queued.key, serverState: decision.serverState },
      );
    if (after.isConflict && decision.type === 'conflict' && origin.policy !== 'keep-server' && !queued.unit) {
      const again = rules.applyDecision(before, queued, { type: 'again', base: decision.serverState }, []);
      const value =
        origin.policy === 'merge' ? { json: `m${origin.index}.${++origin.merges}` } : queued.value;
      const write = writeOf(origin, queued);
      write.accepted.push(decision.serverState.value);
      write.value = value;
      setWrites(
        origin,
        queued.key,
        again.writes.map((other) =>
          other.order === queued.order ? { ...other, value, stale: undefined } : other,
        ),
      );
      continue;
    }
    if (after.isConflict) {
      origin.conflicts.push(conflictOf(queued, decision));
      if (decision.type === 'conflict')
        origin.accounts.isInConflict(writeOf(origin, queued), decision.serverState.value);
      if (decision.type === 'rejected') origin.accounts.isRejected(writeOf(origin, queued));
    } else if (decision.type === 'conflict' || decision.type === 'rejected')
      origin.accounts.isReplaced(
        writeOf(origin, queued),
        after.writes.map((other) => writeOf(origin, other)),
      );
    if (after.writes !== before) setWrites(origin, queued.key, after.writes);
  }
  updateMirror(origin, shown, generation, seq);
  if (client !== undefined) origin.meta = { ...origin.meta, client };
  countUnits(origin);
}

const conflictOf = ({ key, base, value: local, unit }: QueuedWrite, decision: Decision): ConflictRecord => ({
  key,
  reason: decision.type === 'rejected' ? 'rejected' : 'changed',
  base: base?.value,
  local,
  server: decision.type === 'conflict' ? decision.serverState.value : undefined,
  detail: '',
  atMs: 0,
  unit: unit?.order,
});
