/**
 * A batch carried out here: reads from the outbox over the mirror, writes into the outbox.
 *
 * What is here is read in one transaction, the batch is computed, and what it writes is stored in another one, if nothing of what
 * was read has changed by then. Values have to be decoded and encoded in between, which no transaction waits for.
 *
 * Invariant: a write is fulfilled only after that transaction is on the disk.
 */

import {
  type AtomicPart,
  fulfilled,
  isDependent,
  isRevised,
  type Outcome,
  type ProtocolOperation,
  rejected,
  type Snapshot,
  type StoredEntry,
} from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, heldOf } from '../../core/json.ts';
import { clearsOf, type Reading, type Tables } from '../database.ts';
import { enqueue, enqueueClear } from '../rules/outbox.ts';
import {
  ALL,
  type Held,
  isNews,
  isSame,
  lastOf,
  type Mark,
  type Meta,
  NOTHING_KNOWN,
  type Place,
  type Row,
  type Seen,
  type Unit,
  viewOf,
} from '../rules/state.ts';

/** A write that may have arrived at the server. */
export interface InDoubt {
  readonly mark: Mark;
  /** What an update was computed on, and what it has computed. */
  readonly computed?: { readonly on: Snapshot; readonly value: Snapshot } | undefined;
}

/** The writes of a batch that may have arrived, by their operation. */
export type Doubts = ReadonlyMap<ProtocolOperation, InDoubt>;

/** An atomic unit. */
interface AtomicOperation {
  readonly type: 'atomic';
  readonly parts: readonly AtomicPart[];
  /** Of its parts, where it may have arrived. */
  readonly marks?: readonly Mark[] | undefined;
}

/** A write whose call has rejected, although it may have arrived. */
export interface RejectedOperation {
  readonly type: 'rejected';
  readonly key: string;
  readonly value: Snapshot | undefined;
  readonly mark: Mark;
}

type LocalOperation = ProtocolOperation | AtomicOperation | RejectedOperation;

/** Whether an outcome holds a revision that numbers of the outbox are made of. */
const isRevisedCall = (operation: LocalOperation): boolean =>
  operation.type !== 'atomic' && operation.type !== 'rejected' && isRevised(operation);

const keysOf = (operation: LocalOperation): readonly string[] => {
  if (operation.type === 'atomic') return operation.parts.map(({ key }) => key);
  return ['key' in operation ? operation.key : ALL];
};

/** Limits of an atomic unit, which every server of level 1 takes in one request. */
const UNIT_PARTS = 250;
const UNIT_BYTES = 2 * 1024 * 1024;

/** What is here of the keys that a batch is about. */
interface Draft {
  readonly places: Map<string, Place>;
  meta: Meta;
}

/**
 * A runner of batches over `tables`.
 *
 * @param unstored What was seen of a key and is not in the mirror.
 */
export function createLocal(tables: Tables, unstored: (key: string) => Seen | undefined) {
  const read = async (reading: Reading, operations: readonly LocalOperation[]): Promise<Draft> => {
    const keys = new Set(operations.flatMap(keysOf));
    const places = await reading.places([...keys.add(ALL)]);
    const meta = (await reading.meta()) ?? NOTHING_KNOWN;
    if (operations.some(({ type }) => type === 'clear')) {
      for (const [key, place] of await reading.pending()) places.set(key, place);
      // Level 0 cannot clear what is as old as this: each key is deleted on what is known of it.
      if (meta.level === 0) {
        const known = await reading.keys<string>('mirror');
        for (const [key, place] of await reading.places(known)) places.set(key, place);
      }
    }
    for (const [key, { seen, rows }] of places) {
      const newer = unstored(key);
      if (newer && isNews(seen, newer, meta)) places.set(key, { seen: newer, rows });
    }
    return { places, meta };
  };

  return async function run(
    operations: readonly LocalOperation[],
    doubts: Doubts = new Map(),
  ): Promise<Outcome[]> {
    const texts = await encoded(operations, doubts);
    for (;;) {
      const before = await tables.read((reading) => read(reading, operations));
      const draft: Draft = { places: new Map(before.places), meta: before.meta };
      const outcomes: Outcome[] = [];
      for (const operation of operations) {
        const outcome = await carryOut(
          operation,
          draft,
          texts,
          doubts.get(operation as ProtocolOperation),
        ).then(fulfilled, rejected);
        outcomes.push(outcome);
      }
      if ([...draft.places].every(([key, place]) => before.places.get(key) === place)) return outcomes;
      const stored = await tables.write(async (writing) => {
        const now = await read(writing, operations);
        if (stampOf(now) !== stampOf(before)) return false;
        // Other tabs have given out numbers meanwhile.
        const given = before.meta.rows;
        const shift = now.meta.rows - given;
        // Revisions that outcomes hold are made of them.
        if (shift > 0 && operations.some(isRevisedCall)) return false;
        for (const [key, { rows }] of draft.places) {
          const had = before.places.get(key)?.rows ?? [];
          if (had !== rows)
            writing.setRows(
              key,
              had,
              rows.map((row) => shifted(row, given, shift)),
            );
        }
        writing.setMeta({ ...now.meta, rows: draft.meta.rows + shift });
        return true;
      }, true);
      if (stored) return outcomes;
    }
  };
}

/** The values of a batch as they travel, or why they cannot. */
async function encoded(
  operations: readonly LocalOperation[],
  doubts: Doubts,
): Promise<Map<ProtocolOperation, Held | StorageError>> {
  const texts = new Map<ProtocolOperation, Held | StorageError>();
  for (const operation of operations) {
    if (operation.type === 'atomic' || operation.type === 'rejected') continue;
    const value = operation.type === 'put' ? operation : doubts.get(operation)?.computed?.value;
    if (!value || !('key' in operation)) continue;
    texts.set(operation, await heldOf(operation.key, value).catch((error) => error));
  }
  return texts;
}

/** A row whose numbers, where they were given out by a draft, are so many higher. */
const shifted = (row: Row, given: number, shift: number): Row => ({
  ...row,
  n: row.n > given ? row.n + shift : row.n,
  version: row.version > given ? row.version + shift : row.version,
  ...(row.unit && row.unit.n > given && { unit: { ...row.unit, n: row.unit.n + shift } }),
});

/** Everything that a draft was made on. */
const stampOf = ({ places, meta }: Draft): string =>
  JSON.stringify([
    meta.era,
    meta.level,
    meta.cursor === undefined,
    [...places].map(([key, { seen, rows }]) => [
      key,
      seen?.era,
      seen?.seq,
      rows.map(({ n, version, mark, base, stale }) => [n, version, mark?.client, base?.seq, stale]),
    ]),
  ]);

async function carryOut(
  operation: LocalOperation,
  draft: Draft,
  texts: ReadonlyMap<ProtocolOperation, Held | StorageError>,
  doubt: InDoubt | undefined,
): Promise<unknown> {
  const { places, meta } = draft;
  const atMs = Date.now();
  if (operation.type === 'atomic') return carryOutUnit(operation, draft, atMs);
  if (operation.type === 'rejected') {
    const { key, value, mark } = operation;
    const held = value && (await heldOf(key, value));
    const place = places.get(key) as Place;
    const queued = enqueue(place, clearsOf(places), meta, { key, held, mark, rejected: true, atMs });
    places.set(key, { ...place, rows: queued.rows });
    draft.meta = queued.meta;
    return undefined;
  }
  const mark = doubt?.mark;
  if (operation.type === 'clear') {
    if (meta.level === 0) return clearKnown(draft, atMs);
    const pending = new Map([...places].filter(([, { rows }]) => rows.length > 0));
    const cleared = enqueueClear(pending, meta, { mark, atMs });
    for (const [key, rows] of cleared.rows) places.set(key, { ...places.get(key), rows });
    draft.meta = cleared.meta;
    return undefined;
  }
  const { key } = operation;
  if (isDependent(operation) && meta.level === 0)
    throw new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so update(), getEntry() and ifRevision cannot work there: use get() and set().',
    );
  const place = places.get(key) as Place;
  const seenByApp = (): Held | undefined => viewAt(key, draft);
  const current = (): Promise<StoredEntry | undefined> => currentOf(key, draft);
  const base = doubt && (await baseOf(operation, doubt, place, meta));
  const store = (held: Held | undefined): void => {
    const { rows, meta } = enqueue(place, clearsOf(places), draft.meta, {
      key,
      held,
      mark,
      base,
      updates: operation.type === 'update' || undefined,
      atMs,
    });
    places.set(key, { ...place, rows });
    draft.meta = meta;
  };
  switch (operation.type) {
    case 'get':
      return (await current())?.value;
    case 'has':
      return seenByApp() !== undefined;
    case 'entry':
      return current();
    case 'update': {
      checkSettled(key, draft);
      let held = texts.get(operation);
      let value: unknown;
      if (held === undefined) {
        const changed = operation.change((await current())?.value);
        value = changed.value;
        held = await heldOf(key, changed);
      } else if (!(held instanceof StorageError)) value = await decodeAt(key, structuredClone(held.json));
      if (held instanceof StorageError) throw held;
      store(held);
      return value;
    }
    default: {
      const held = texts.get(operation);
      if (held instanceof StorageError) throw held;
      await checkCondition(operation as AtomicPart, draft);
      store(held);
      return undefined;
    }
  }
}

/** @throws {StorageError} `unavailable` where what the server holds under a key is not known. */
function viewAt(key: string, { places, meta }: Draft): Held | undefined {
  const view = viewOf(places.get(key) as Place, clearsOf(places), meta);
  if (view) return view.held;
  throw new StorageError(
    'unavailable',
    `The server is away, and what it holds under ${key} was never read here: try again when it is back.`,
  );
}

async function currentOf(key: string, draft: Draft): Promise<StoredEntry | undefined> {
  const held = viewAt(key, draft);
  const revision = revisionOf(draft.places.get(key) as Place);
  return held && { value: await decodeAt(key, structuredClone(held.json)), revision };
}

/** @throws {StorageError} `unavailable` where it is not known whether a write of this origin was applied. */
function checkSettled(key: string, { places }: Draft): void {
  if (!places.get(key)?.rows.at(-1)?.rejected) return;
  throw new StorageError(
    'unavailable',
    `The server is away, and it is not known whether an earlier write of key ${key} was applied: try again when it is back.`,
  );
}

/** @throws {ConflictError} where a key is not at the state that a write, or a check, is for. */
async function checkCondition(part: AtomicPart, draft: Draft): Promise<void> {
  const { key, ifRevision } = part;
  if (ifRevision === undefined) return;
  checkSettled(key, draft);
  const entry = await currentOf(key, draft);
  if ((entry?.revision ?? null) === ifRevision) return;
  if (arrivedAs(draft.places.get(key) as Place, ifRevision) !== undefined) return;
  throw new ConflictError(key, part.type === 'put' ? part.value : undefined, entry);
}

/**
 * Puts an atomic unit into the outbox: all of its writes, or none. What it checks of keys whose own write still waits is sent as a
 * write of the same value, which has the result of that one as its base.
 */
async function carryOutUnit({ parts, marks }: AtomicOperation, draft: Draft, atMs: number): Promise<void> {
  if (draft.meta.level === 0)
    throw new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so atomic() cannot work there: use set() and delete().',
    );
  const { places } = draft;
  for (const part of parts) await checkCondition(part, draft);
  const checks: Array<Unit['checks'][number]> = [];
  const writes: Array<{
    readonly key: string;
    readonly held: Held | undefined;
    readonly mark?: Mark | undefined;
    readonly updates?: true | undefined;
  }> = [];
  let bytes = 0;
  for (const [i, part] of parts.entries()) {
    const { key, ifRevision } = part;
    const { seen, rows } = places.get(key) as Place;
    const isQueued = rows.length > 0 || clearsOf(places).length > 0;
    if (part.type === 'check' && !isQueued) {
      const { era, epoch, cursor = 0 } = draft.meta;
      checks.push({ key, base: seen ?? { era, epoch, seq: cursor } });
      continue;
    }
    const held =
      part.type === 'put' ? await heldOf(key, part) : part.type === 'check' ? viewAt(key, draft) : undefined;
    bytes += key.length + (held ? JSON.stringify(held.json).length : 0);
    writes.push({ key, held, mark: marks?.[i], updates: ifRevision === undefined ? undefined : true });
  }
  if (writes.length === 0) return;
  if (parts.length > UNIT_PARTS || bytes > UNIT_BYTES)
    throw new StorageError(
      'too-large',
      `While the server is away an atomic unit has at most ${UNIT_PARTS} operations and 2 MiB of values: this one has ${parts.length} operations and about ${bytes} bytes. Nothing was stored. Cut it into smaller units, or call again when status().state is 'online'.`,
    );
  const unit: Unit = { n: draft.meta.rows + 1, size: writes.length, checks };
  for (const write of writes) {
    const { key } = write;
    const place = places.get(key) as Place;
    const queued = enqueue(place, clearsOf(places), draft.meta, { ...write, unit, atMs });
    places.set(key, { ...place, rows: queued.rows });
    draft.meta = queued.meta;
  }
}

/** What an update that may have arrived was computed on. */
async function baseOf(
  operation: Exclude<ProtocolOperation, { type: 'clear' }>,
  { computed }: InDoubt,
  { seen }: Place,
  { era, epoch }: Meta,
): Promise<Seen | undefined> {
  if (!computed) return undefined;
  const held = computed.on.value === undefined ? undefined : await heldOf(operation.key, computed.on);
  return seen && isSame(seen.held, held) ? seen : { era, epoch, seq: 0, held };
}

/** The server's name for a state that was named here while it waited, where that is the current one. */
export function arrivedAs({ seen, rows }: Place, revision: string | null): string | undefined {
  const arrived = rows.length === 0 && seen?.version !== undefined && revision === `${LOCAL}${seen.version}`;
  return arrived ? `${seen.epoch}.${seen.seq}` : undefined;
}

/** What names of states begin with that only this origin knows. */
export const LOCAL = 'local.';

/** Names the state of a key: the server's revision, or the write that waits. */
function revisionOf(place: Place): string {
  const { seen } = place;
  const last = lastOf(place);
  return last ? `${LOCAL}${last.version}` : `${seen?.epoch}.${seen?.seq}`;
}

function clearKnown(draft: Draft, atMs: number): void {
  if (draft.meta.cursor === undefined)
    throw new StorageError(
      'unavailable',
      'The server is away, and not everything that it holds was read here: clear() has to wait until it is back.',
    );
  for (const [key, place] of draft.places) {
    if (key === ALL || !(place.rows.length > 0 || place.seen?.held)) continue;
    const { rows, meta } = enqueue(place, [], draft.meta, { key, atMs });
    draft.places.set(key, { ...place, rows });
    draft.meta = meta;
  }
}
