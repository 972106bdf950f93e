/**
 * The accounts of a simulation: every write, what was promised about it, and what has become of it.
 *
 * They are kept beside the rules, from what really happened at the server and in the origins, and trust nothing that the rules say.
 */
import {
  ALL_KEYS,
  type ConflictRecord,
  isSame,
  type ServerState,
  type StoredJson,
} from '../../src/sync/rules/state.ts';
import { type Entry, isStill, type Op, type Server, type Watcher } from './server.ts';

/** One write of an app. */
export interface Write {
  readonly id: number;
  readonly origin: number;
  readonly key: string;
  /** Nothing for a delete or a clear. Another value once a policy has merged it. */
  value: StoredJson | undefined;
  /** When the app made it. */
  readonly tick: number;
  /** When it was acknowledged; never, so far, where that is infinite. */
  acknowledgedAt: number;
  /** It was sent without the outbox. */
  direct: boolean;
  /** The server answered, and the origin could put nothing of it into its mirror. */
  notMirrored: boolean;
  /** It was replaced by a write whose writer had seen it, or by one that asks for nothing. */
  superseded: boolean;
  /** It has been at the server. */
  applied: boolean;
  /** What its writer knew: the mirror's state. */
  saw: ServerState | undefined;
  /** Which incarnation of the server that was of; 0 where it was of none that the origin is sure of. */
  incarnation: number;
  /** Up to which sequence number a queued clear deletes. */
  clears: number;
  /** Earlier writes of the same origin that it replaces. */
  readonly before: Set<Write>;
  /** States that a policy has seen and chosen to replace. */
  readonly accepted: Array<StoredJson | undefined>;
  /** The atomic unit that it is part of. */
  unit: Unit | undefined;
  /** Whether it is only for the state that its writer has seen, also where the server has its very value. */
  isConditional: boolean;
  /** The write that waited when it was made, and that it was made on. */
  madeOn: Write | undefined;
  /** The server has said that it will never take it. */
  refused: boolean;
}

/** Writes that apply together or not at all. */
export interface Unit {
  readonly writes: readonly Write[];
  /** Other keys that must be as they were seen. */
  readonly checks: ReadonlyArray<{ readonly key: string } & Pick<Write, 'saw' | 'incarnation'>>;
}

/** What must not be. */
export type Fault = 'lost' | 'applied twice' | 'diverged' | 'blind overwrite' | 'false alarm' | 'split';

/** What a place holds at the end. */
export interface Rest {
  readonly conflicts: readonly ConflictRecord[];
  /** Writes that still wait. */
  readonly queued: ReadonlyArray<{ readonly key: string; readonly value?: StoredJson | undefined }>;
  /** Units among the conflicts. */
  readonly units: readonly Unit[];
}

/** The accounts of one schedule. */
export interface Accounts extends Watcher {
  readonly faults: Array<{ readonly fault: Fault; readonly text: string }>;
  open(origin: number, key: string, value: StoredJson | undefined): Write;
  openUnit(writes: readonly Write[], checks: Unit['checks']): Unit;
  /** A queued write is put behind, or in the place of, others of its origin. */
  follows(write: Write, before: Iterable<Write>): void;
  acknowledge(write: Write): void;
  /** A write is not kept, because a later one of its key stands for it. */
  isReplaced(write: Write, later: Iterable<Write>): void;
  /** The server is said to have refused a write for good. */
  isRejected(write: Write): void;
  /** Units are here with so many of their writes. */
  counts(units: Iterable<readonly [Unit, number]>): void;
  /** A write is said to be in conflict with what the server holds. */
  isInConflict(write: Write, value: StoredJson | undefined): void;
  fail(fault: Fault, text: string): void;
  acknowledged(): number;
  /** Look for every acknowledged write. */
  close(server: Server, rests: readonly Rest[]): void;
  /** A server is about to be restored. */
  restores(server: Server, keys: readonly string[]): void;
}

/** A value that several writes store, unlike all others. */
export const SHARED = 'shared';
const isShared = ({ json }: StoredJson): boolean => json === SHARED;

const isAcknowledged = ({ acknowledgedAt }: Write): boolean => acknowledgedAt < Number.POSITIVE_INFINITY;

const shown = (value: StoredJson | undefined): string => (value ? JSON.stringify(value.json) : 'nothing');
const namesOf = ({ writes }: Unit): string => `the unit of ${writes.map(nameOf).join(', ')}`;
const nameOf = ({ id, origin, key, value }: Write): string =>
  `w${id} of origin ${origin} (${key === ALL_KEYS ? 'clear' : `${key} = ${shown(value)}`})`;

export function createAccounts(now: () => number): Accounts {
  const writes: Write[] = [];
  const lastAbsent = new Map<string, number>();
  let restored = false;
  const split = new Set<Unit>();
  const faults: Accounts['faults'] = [];
  const fail: Accounts['fail'] = (fault, text) => {
    faults.push({ fault, text });
  };

  /** Whether the writer of `write` may replace `entry`. */
  function mayReplace(write: Write, entry: Entry | undefined, server: Server): boolean {
    const maker = entry ? entry.write : server.state.clearedBy;
    if (maker && write.before.has(maker)) return true;
    const { value } = entry ?? {};
    const isHeld = (other: StoredJson | undefined): boolean => isSame(other, value);
    const earlier = [...write.before];
    if (earlier.some((other) => isHeld(other.value) || other.accepted.some(isHeld))) return true;
    if (write.accepted.some(isHeld)) return true;
    // That writes the very value which is there.
    if (write.unit && isHeld(write.value)) return true;
    return isAsSeen(write, entry, server);
  }

  /** Whether a key is as it was seen. */
  function isAsSeen(
    { saw, incarnation }: Pick<Write, 'saw' | 'incarnation'>,
    entry: Entry | undefined,
    server: Server,
  ): boolean {
    const { value } = entry ?? {};
    if (!value) return !saw?.value;
    if (!saw?.value) return false;
    if (saw.seq === entry?.rev && isStill(server, incarnation, saw.seq)) return true;
    // After a restore revisions say nothing, and an equal value is the same one.
    return (server.restores.length > 0 || incarnation === 0) && isSame(saw.value, value);
  }

  function appliesBatch(ops: readonly Op[], isAtomic: boolean, server: Server): void {
    const writes = new Set(ops.flatMap(({ write }) => (write ? [write] : [])));
    for (const unit of new Set([...writes].flatMap((write) => write.unit ?? []))) {
      if (!isAtomic || writes.size !== unit.writes.length || !unit.writes.every((write) => writes.has(write)))
        fail('split', `${namesOf(unit)} is sent as [${[...writes].map(nameOf).join(', ')}]`);
      for (const write of unit.writes) {
        write.applied = true;
        for (const other of write.before) other.superseded = true;
      }
      if (!ops.some(({ queued }) => queued)) continue;
      const { entries } = server.state;
      for (const { key, ...serverState } of unit.checks)
        if (!isAsSeen(serverState, entries.get(key), server))
          fail('blind overwrite', `${namesOf(unit)} applies, though ${key} has changed, which it checks`);
      for (const write of unit.writes) {
        const entry = entries.get(write.key);
        const { madeOn } = write;
        const isMet = madeOn ? isSame(madeOn.value, entry?.value) : isAsSeen(write, entry, server);
        if (write.isConditional && !isMet)
          fail('blind overwrite', `${namesOf(unit)} applies, though ${write.key} has changed`);
      }
    }
  }

  function refuses({ op, key, unit, queued }: Op, entry: Entry | undefined, { restores }: Server): void {
    const [first] = unit?.writes ?? [];
    const maker = entry?.write;
    if (op !== 'check' || !queued || !first || !maker || restores.length > 0) return;
    if (maker.origin === first.origin && maker.tick > first.acknowledgedAt)
      fail('false alarm', `${nameOf(maker)} has changed ${key} before a unit that checks it was sent`);
  }

  function applies(op: Op, entry: Entry | undefined, server: Server): void {
    const { write } = op;
    if (!entry?.value && op.key !== ALL_KEYS) lastAbsent.set(op.key, now());
    if (write?.key === op.key) write.applied = true;
    const gone = op.key === ALL_KEYS ? [...server.state.entries.values()] : entry ? [entry] : [];
    for (const { write: other, value, rev } of gone) {
      if (write?.key === ALL_KEYS && op.queued && value)
        if (!isStill(server, write.incarnation, write.clears) || rev > write.clears)
          fail('blind overwrite', `${nameOf(write)} has deleted ${op.key} at ${rev}, which is newer`);
      // Who wanted what was there anyway has had it.
      if (value)
        for (const one of writes)
          if (one !== write && one.key === other?.key && isSame(one.value, value)) one.superseded = true;
      if (!other || other === write) continue;
      if (op.queued && write && other.before.has(write) && write.acknowledgedAt < other.tick)
        fail('lost', `${nameOf(write)} has replaced ${nameOf(other)}, which came after it`);
      other.superseded = true;
    }
    if (op.queued && write && write.key !== ALL_KEYS && !mayReplace(write, entry, server))
      fail(
        'blind overwrite',
        `${nameOf(write)} has replaced ${shown(entry?.value)} at ${entry?.rev}; its writer knew ${shown(write.saw?.value)} at ${write.saw?.seq}`,
      );
  }

  function isThere(write: Write, server: Server, rests: readonly Rest[]): boolean {
    const { key, value, origin } = write;
    const { entries } = server.state;
    const same = (other: { key: string; value?: StoredJson | undefined }): boolean =>
      other.key === key && isSame(other.value, value);
    const { conflicts = [], queued = [] } = rests[origin] ?? {};
    if (queued.some(same)) return true;
    if (rests.some((rest) => rest.conflicts.some((one) => same({ key: one.key, value: one.local }))))
      return true;
    if (key === ALL_KEYS) {
      // What a restore brings back was deleted nevertheless.
      if (write.applied || write.clears === 0 || write.incarnation !== server.restores.length + 1)
        return true;
      return (
        conflicts.some((one) => one.key === ALL_KEYS) ||
        [...entries.values()].every((entry) => !entry.value || entry.rev > write.clears)
      );
    }
    if (isSame(entries.get(key)?.value, value)) return true;
    // That a restore brings back what was deleted cannot be told from any other value of its.
    if (!value) return write.applied || (lastAbsent.get(key) ?? -1) >= write.tick;
    return write.notMirrored && server.restores.length > 0;
  }

  return {
    faults,
    fail,
    applies,
    appliesBatch,
    refuses,
    open(origin, key, value) {
      const write: Write = {
        id: writes.length + 1,
        origin,
        key,
        value,
        tick: now(),
        direct: false,
        acknowledgedAt: Number.POSITIVE_INFINITY,
        notMirrored: false,
        superseded: false,
        applied: false,
        saw: undefined,
        incarnation: 0,
        clears: 0,
        before: new Set(),
        accepted: [],
        unit: undefined,
        isConditional: false,
        madeOn: undefined,
        refused: false,
      };
      writes.push(write);
      return write;
    },
    openUnit(parts, checks) {
      const unit = { writes: parts, checks };
      for (const write of parts) write.unit = unit;
      return unit;
    },
    follows(write, before) {
      for (const other of before) {
        if (other === write) continue;
        // A unit may come to nothing: what it follows is to be at the server nevertheless.
        other.superseded ||= !write.unit;
        write.before.add(other);
        for (const earlier of other.before) write.before.add(earlier);
      }
    },
    isReplaced(write, later) {
      for (const other of later) write.superseded ||= other.before.has(write);
    },
    isRejected(write) {
      if (!write.refused && write.key !== ALL_KEYS)
        fail('false alarm', `${nameOf(write)} is said to be refused by the server, which it was not`);
    },
    counts(units) {
      for (const [unit, here] of units) {
        if (here === unit.writes.length || split.has(unit)) continue;
        split.add(unit);
        fail('split', `${here} writes are here of ${namesOf(unit)}`);
      }
    },
    acknowledge(write) {
      write.acknowledgedAt = now();
    },
    isInConflict(write, value) {
      // A restored server may hold what was replaced long ago.
      if (!value || isShared(value) || restored) return;
      // What it was made on never came to be.
      if (write.isConditional && write.madeOn && !write.madeOn.applied) return;
      const isOwn = (other: Write): boolean => isSame(other.value, value);
      // What two tabs do at once has no order: one may find what the other has stored directly.
      const earlier = [...write.before];
      const own = earlier.some(({ direct }) => direct) ? undefined : earlier.find(isOwn);
      // What a policy has made of another writer's value a unit, which has no policy, does not know.
      if (own && !(write.unit && own.accepted.length > 0))
        fail('false alarm', `${nameOf(write)} is said to be in conflict with ${nameOf(own)}`);
    },
    appliedTwice: (write) => fail('applied twice', `${nameOf(write)} was applied twice`),
    acknowledged: () => writes.filter(isAcknowledged).length,
    close(server, rests) {
      for (const write of writes)
        if (isAcknowledged(write) && !write.superseded && !isThere(write, server, rests))
          fail('lost', `${nameOf(write)} was acknowledged and is nowhere`);
      if (server.restores.length === 0)
        for (const clear of writes) {
          const { conflicts = [], queued = [] } = rests[clear.origin] ?? {};
          if (
            clear.key !== ALL_KEYS ||
            !isAcknowledged(clear) ||
            [...conflicts, ...queued].some(({ key }) => key === ALL_KEYS)
          )
            continue;
          for (const { value, write } of server.state.entries.values())
            if (value && write && clear.before.has(write))
              fail('lost', `${nameOf(clear)} came after ${nameOf(write)}, which is at the server`);
        }
      if (server.restores.length === 0)
        for (const unit of rests.flatMap(({ units }) => units))
          if (unit.writes.some(({ applied }) => applied))
            fail('false alarm', `${namesOf(unit)} is among the conflicts, and was applied`);
      for (const { conflicts } of rests)
        for (const { key, reason, local } of conflicts)
          if (reason === 'restored' && server.restores.length === 0)
            fail(
              'false alarm',
              `${shown(local)} of ${key} is said to be lost in a restore, and there was none`,
            );
    },
    restores(server, keys) {
      restored = true;
      for (const key of keys) if (!server.state.entries.get(key)?.value) lastAbsent.set(key, now());
    },
  };
}
