/**
 * Calls on this device: reads come from the outbox over the mirror, writes are appended to the outbox.
 *
 * One transaction reads the key states. Then the batch is computed, because values are decoded and encoded asynchronously, and no
 * transaction waits for that. A second transaction stores the writes, if the key states are still the same; otherwise it starts again.
 *
 * Invariant: a write is fulfilled only after the second transaction is on disk.
 */

import {
  type AtomicPart,
  fulfilled,
  isDependent,
  isRead,
  isRevised,
  type Outcome,
  type ProtocolOperation,
  rejected,
  type Snapshot,
  type StoredEntry,
} from '../../core/backend.ts';
import { ConflictError } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { clearsOf, type ReadTransaction, type SyncDatabase } from '../database.ts';
import { checkAccount } from '../mirror/account.ts';
import { enqueue, enqueueClear } from '../rules/outbox.ts';
import {
  ALL_KEYS,
  type AtomicUnit,
  arrivedAs,
  INITIAL_META,
  isNewer,
  isSame,
  type KeyState,
  localView,
  type Meta,
  type QueuedWrite,
  revisionOf,
  type SentAs,
  type ServerState,
  type StoredJson,
} from '../rules/state.ts';

/** What an update was computed on, and what it has computed. */
export interface Computed {
  readonly on: Snapshot;
  readonly value: Snapshot;
}

/** An operation for this device, and what is known of it if the server was asked and did not answer. */
export interface LocalCall {
  readonly operation: ProtocolOperation | AtomicOperation;
  /** Present if the server may have applied it. */
  readonly sentAs?: SentAs | undefined;
  readonly computed?: Computed | undefined;
  /** Whether the call rejects. The write is queued only to find out whether it was applied, so that later writes follow it. */
  readonly isRejected?: boolean;
}

/** An atomic unit. */
interface AtomicOperation {
  readonly type: 'atomic';
  readonly parts: readonly AtomicPart[];
  /** Of its parts, if the server may have applied it. */
  readonly sentAs?: ReadonlyArray<SentAs | undefined>;
}

/** Whether an outcome contains a revision, which is made of a number of the outbox. */
const isRevisedCall = ({ operation, isRejected = false }: LocalCall): boolean =>
  operation.type !== 'atomic' && !isRejected && isRevised(operation);

const keysOf = ({ operation }: LocalCall): readonly string[] => {
  if (operation.type === 'atomic') return operation.parts.map(({ key }) => key);
  return ['key' in operation ? operation.key : ALL_KEYS];
};

/** The keys that a call writes. */
function writtenKeysOf(call: LocalCall): readonly string[] {
  const { operation, isRejected } = call;
  if (isRejected) return [];
  if (operation.type === 'atomic')
    return operation.parts.filter(({ type }) => type !== 'check').map(({ key }) => key);
  return isRead(operation) ? [] : keysOf(call);
}

/** The most calls in one transaction: other tabs wait for its end. */
const MAX_CALLS = 100;
/** The limits of an atomic unit. Every server of level 1 accepts that much in one request. */
const UNIT_PARTS = 250;
const UNIT_BYTES = 2 * 1024 * 1024;

/** The key states of a batch. */
interface Draft {
  readonly keyStates: Map<string, KeyState>;
  meta: Meta;
}

/**
 * Carries out calls in transactions of bounded length. If one of them fails, what is stored before stays stored.
 *
 * @param known The account that the calls are for.
 * @param limitMs Milliseconds for the first transaction.
 */
export type LocalCalls = (
  calls: readonly LocalCall[],
  known: KnownAccount | undefined,
  limitMs: number,
) => Promise<Outcome[]>;

/**
 * Calls over `database`.
 *
 * @param timeout Milliseconds for each further transaction.
 * @param unstored The server state of a key that the mirror had no room for.
 */
export function createLocalCalls(
  database: SyncDatabase,
  timeout: number,
  unstored: (key: string) => ServerState | undefined,
): LocalCalls {
  const read = async (transaction: ReadTransaction, calls: readonly LocalCall[]): Promise<Draft> => {
    const keys = new Set(calls.flatMap(keysOf));
    const keyStates = await transaction.keyStates([...keys.add(ALL_KEYS)]);
    const meta = (await transaction.meta()) ?? INITIAL_META;
    if (calls.some(({ operation }) => operation.type === 'clear')) {
      for (const [key, keyState] of await transaction.pending()) keyStates.set(key, keyState);
      // Level 0 cannot delete by age: each key is deleted on its own base.
      if (meta.level === 0) {
        const known = await transaction.keys<string>('mirror');
        for (const [key, keyState] of await transaction.keyStates(known)) keyStates.set(key, keyState);
      }
    }
    for (const [key, { serverState, writes }] of keyStates) {
      const newer = unstored(key);
      if (newer && isNewer(serverState, newer, meta)) keyStates.set(key, { serverState: newer, writes });
    }
    return { keyStates, meta };
  };

  /**
   * @param known The account that the calls are for.
   * @param isOver Whether the calls have been rejected because their time was over. Then nothing may be stored any more.
   * @throws {OtherAccountError} if this device belongs to another account by now.
   */
  async function run(
    calls: readonly LocalCall[],
    known: KnownAccount | undefined,
    isOver: () => boolean,
  ): Promise<Outcome[]> {
    const values = await encoded(calls);
    for (;;) {
      const before = await database.read((transaction) => read(transaction, calls));
      checkAccount(before.meta, known);
      const draft: Draft = { keyStates: new Map(before.keyStates), meta: before.meta };
      const outcomes: Outcome[] = [];
      for (const call of calls)
        outcomes.push(await carryOut(call, draft, values.get(call)).then(fulfilled, rejected));
      if ([...draft.keyStates].every(([key, keyState]) => before.keyStates.get(key) === keyState))
        return outcomes;
      const own = new Set(
        calls.flatMap((call, i) => (outcomes[i]?.status === 'fulfilled' ? writtenKeysOf(call) : [])),
      );
      const inDoubt = new Set(calls.flatMap((call) => (call.sentAs ? writtenKeysOf(call) : [])));
      const stored = await database.write(
        async (writing) => {
          const now = await read(writing, calls);
          // It would follow writes of later calls.
          if (isOver()) throw new StorageError('unavailable', 'The time limit of the call was over.');
          if (stampOf(now) !== stampOf(before)) return false;
          // Other tabs have used numbers meanwhile.
          const given = before.meta.lastOrder;
          const shift = now.meta.lastOrder - given;
          // The revisions in outcomes are made of them.
          if (shift > 0 && calls.some(isRevisedCall)) return false;
          for (const [key, { writes }] of draft.keyStates) {
            const had = before.keyStates.get(key)?.writes ?? [];
            if (had !== writes)
              writing.setWrites(
                key,
                had,
                writes.map((write) => shifted(write, given, shift)),
              );
          }
          writing.setMeta({ ...now.meta, lastOrder: draft.meta.lastOrder + shift });
          return true;
        },
        true,
        { own, inDoubt },
      );
      if (stored) return outcomes;
    }
  }

  function runWithin(
    calls: readonly LocalCall[],
    known: KnownAccount | undefined,
    limitMs: number,
  ): Promise<Outcome[]> {
    let isOver = false;
    return database
      .withPatience(
        run(calls, known, () => isOver),
        limitMs,
      )
      .finally(() => {
        isOver = true;
      });
  }

  return async (calls, known, limitMs) => {
    const outcomes: Outcome[] = [];
    for (let from = 0; from < calls.length; from += MAX_CALLS) {
      try {
        const part = calls.slice(from, from + MAX_CALLS);
        outcomes.push(...(await runWithin(part, known, from === 0 ? limitMs : timeout)));
      } catch (error) {
        if (from === 0) throw error;
        while (outcomes.length < calls.length) outcomes.push(rejected(error));
      }
    }
    return outcomes;
  };
}

/** The JSON of the values of calls, or why there is none. */
async function encoded(calls: readonly LocalCall[]): Promise<Map<LocalCall, StoredJson | StorageError>> {
  const values = new Map<LocalCall, StoredJson | StorageError>();
  for (const call of calls) {
    const { operation, computed } = call;
    const value = operation.type === 'put' ? operation : computed?.value;
    if (!value || !('key' in operation)) continue;
    values.set(call, await storedJsonOf(operation.key, value).catch((error) => error));
  }
  return values;
}

/** A write whose numbers, if a draft has given them out, are higher by `shift`. */
const shifted = (write: QueuedWrite, given: number, shift: number): QueuedWrite => ({
  ...write,
  order: write.order > given ? write.order + shift : write.order,
  version: write.version > given ? write.version + shift : write.version,
  ...(write.unit && write.unit.order > given && { unit: { ...write.unit, order: write.unit.order + shift } }),
});

/** Everything that a draft depends on. */
const stampOf = ({ keyStates, meta }: Draft): string =>
  JSON.stringify([
    meta.generation,
    meta.level,
    meta.cursor === undefined,
    [...keyStates].map(([key, { serverState, writes }]) => [
      key,
      serverState?.generation,
      serverState?.seq,
      writes.map(({ order, version, sentAs, base, stale, rejected, failed }) => [
        order,
        version,
        sentAs?.client,
        base?.seq,
        stale,
        rejected,
        failed,
      ]),
    ]),
  ]);

async function carryOut(
  { operation, sentAs, computed, isRejected }: LocalCall,
  draft: Draft,
  encoded: StoredJson | StorageError | undefined,
): Promise<unknown> {
  const { keyStates, meta } = draft;
  const atMs = Date.now();
  if (operation.type === 'atomic') return carryOutUnit(operation, draft, atMs);
  if (operation.type === 'clear') {
    if (meta.level === 0) return clearKnown(draft, atMs);
    const pending = new Map([...keyStates].filter(([, { writes }]) => writes.length > 0));
    const cleared = enqueueClear(pending, meta, { sentAs, atMs });
    for (const [key, writes] of cleared.writes) keyStates.set(key, { ...keyStates.get(key), writes });
    draft.meta = cleared.meta;
    return undefined;
  }
  const { key } = operation;
  if (isDependent(operation) && meta.level === 0 && !isRejected)
    throw new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so update(), getEntry() and ifRevision cannot work there: use get() and set().',
    );
  const keyState = keyStates.get(key) as KeyState;
  const current = (): Promise<StoredEntry | undefined> => currentOf(key, draft);
  const base = computed && (await baseOf(key, computed, keyState, meta));
  const store = (value: StoredJson | undefined): void => {
    const { writes, meta } = enqueue(keyState, clearsOf(keyStates), draft.meta, {
      key,
      value,
      sentAs,
      base,
      dependsOnBase: operation.type === 'update' || undefined,
      ...(isRejected && { rejected: true }),
      atMs,
    });
    keyStates.set(key, { ...keyState, writes });
    draft.meta = meta;
  };
  switch (operation.type) {
    case 'get':
      return (await current())?.value;
    case 'has':
      return viewAt(key, draft) !== undefined;
    case 'entry':
      return current();
    case 'update': {
      checkSettled(key, draft);
      if (encoded instanceof StorageError) throw encoded;
      if (encoded) {
        store(encoded);
        return decodeAt(key, structuredClone(encoded.json));
      }
      const changed = operation.change((await current())?.value);
      store(await storedJsonOf(key, changed));
      return changed.value;
    }
    default: {
      if (encoded instanceof StorageError) throw encoded;
      if (!isRejected) await checkCondition(operation as AtomicPart, draft);
      store(encoded);
      return undefined;
    }
  }
}

/** @throws {StorageError} `unavailable` if this device does not know the state of the key. */
function viewAt(key: string, { keyStates, meta }: Draft): StoredJson | undefined {
  const view = localView(keyStates.get(key) as KeyState, clearsOf(keyStates), meta);
  if (view) return view.value;
  throw new StorageError(
    'unavailable',
    `Key ${key}: the server cannot be reached, and this device has never read the key. Try again when status().state is 'online'.`,
  );
}

async function currentOf(key: string, draft: Draft): Promise<StoredEntry | undefined> {
  const value = viewAt(key, draft);
  const revision = revisionOf(draft.keyStates.get(key) as KeyState);
  return value && { value: await decodeAt(key, structuredClone(value.json)), revision };
}

/** @throws {StorageError} `unavailable` if it is not known whether an earlier write of this device was applied. */
function checkSettled(key: string, { keyStates }: Draft): void {
  if (!keyStates.get(key)?.writes.at(-1)?.rejected) return;
  throw new StorageError(
    'unavailable',
    `Key ${key}: the server cannot be reached, and it is not known whether an earlier write was applied. Try again when status().state is 'online'.`,
  );
}

/** @throws {ConflictError} if the condition of a write or a check is not met. */
async function checkCondition(part: AtomicPart, draft: Draft): Promise<void> {
  const { key, ifRevision } = part;
  if (ifRevision === undefined) return;
  checkSettled(key, draft);
  const entry = await currentOf(key, draft);
  if ((entry?.revision ?? null) === ifRevision) return;
  if (arrivedAs(draft.keyStates.get(key) as KeyState, ifRevision) !== undefined) return;
  throw new ConflictError(key, part.type === 'put' ? part.value : undefined, entry);
}

/**
 * Appends all writes of an atomic unit to the outbox, or none. A check of a key with a queued write is sent as a write of the same
 * value, which follows the queued write.
 */
async function carryOutUnit({ parts, sentAs }: AtomicOperation, draft: Draft, atMs: number): Promise<void> {
  if (draft.meta.level === 0)
    throw new StorageError(
      'unsupported',
      'This server has no revisions (level 0), so atomic() cannot work there: use set() and delete().',
    );
  const { keyStates } = draft;
  for (const part of parts) await checkCondition(part, draft);
  const checks: Array<AtomicUnit['checks'][number]> = [];
  const unitWrites: Array<{
    readonly key: string;
    readonly value: StoredJson | undefined;
    readonly sentAs?: SentAs | undefined;
    readonly dependsOnBase?: true | undefined;
  }> = [];
  let bytes = 0;
  for (const [i, part] of parts.entries()) {
    const { key, ifRevision } = part;
    const { serverState, writes } = keyStates.get(key) as KeyState;
    const isQueued = writes.length > 0 || clearsOf(keyStates).length > 0;
    if (part.type === 'check' && !isQueued) {
      const { generation, epoch, cursor = 0 } = draft.meta;
      checks.push({ key, base: serverState ?? { generation, epoch, seq: cursor } });
      continue;
    }
    const value =
      part.type === 'put'
        ? await storedJsonOf(key, part)
        : part.type === 'check'
          ? viewAt(key, draft)
          : undefined;
    bytes += key.length + (value ? JSON.stringify(value.json).length : 0);
    unitWrites.push({
      key,
      value,
      sentAs: sentAs?.[i],
      dependsOnBase: ifRevision === undefined ? undefined : true,
    });
  }
  if (unitWrites.length === 0) return;
  if (parts.length > UNIT_PARTS || bytes > UNIT_BYTES)
    throw new StorageError(
      'too-large',
      `While the server cannot be reached, an atomic unit has at most ${UNIT_PARTS} operations and 2 MiB of values: this one has ${parts.length} operations and about ${bytes} bytes. Nothing was stored. Cut it into smaller units, or call again when status().state is 'online'.`,
    );
  const unit: AtomicUnit = { order: draft.meta.lastOrder + 1, size: unitWrites.length, checks };
  for (const write of unitWrites) {
    const { key } = write;
    const keyState = keyStates.get(key) as KeyState;
    const queued = enqueue(keyState, clearsOf(keyStates), draft.meta, { ...write, unit, atMs });
    keyStates.set(key, { ...keyState, writes: queued.writes });
    draft.meta = queued.meta;
  }
}

/** The base of an update in doubt: what it was computed on. */
async function baseOf(
  key: string,
  { on }: Computed,
  { serverState }: KeyState,
  { generation, epoch }: Meta,
): Promise<ServerState> {
  const value = on.value === undefined ? undefined : await storedJsonOf(key, on);
  return serverState && isSame(serverState.value, value) ? serverState : { generation, epoch, seq: 0, value };
}

function clearKnown(draft: Draft, atMs: number): void {
  if (draft.meta.cursor === undefined)
    throw new StorageError(
      'unavailable',
      "The server cannot be reached, and this device does not know all of its keys. Call clear() again when status().state is 'online'.",
    );
  for (const [key, keyState] of draft.keyStates) {
    if (key === ALL_KEYS || !(keyState.writes.length > 0 || keyState.serverState?.value)) continue;
    const { writes, meta } = enqueue(keyState, [], draft.meta, { key, atMs });
    draft.keyStates.set(key, { ...keyState, writes });
    draft.meta = meta;
  }
}
