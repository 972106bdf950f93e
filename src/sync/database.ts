/**
 * The database of sync, `codeforge-sync:…`: which record holds what, and what one transaction reads and writes.
 *
 * There is one object store, as idb-keyval creates it. The first member of each key is the record type. A transaction applies as a
 * whole: a request that fails aborts it. Acknowledged writes are stored with durability `strict`.
 */
import type { ChangeFeed } from '../core/change-feed.ts';
import type { StoredChange } from '../core/changes.ts';
import { StorageError } from '../core/errors.ts';
import { LONGEST_DELAY_MS, withTimeLimit } from '../core/time.ts';
import { lastNumberIn, takingNumber } from '../indexeddb/commits.ts';
import { type Connection, settled } from '../indexeddb/connection.ts';
import { asStorageError } from '../indexeddb/errors.ts';
import { createSentWrites, type SentMutation, type SentWrites } from './rules/sent.ts';
import {
  ALL_KEYS,
  type ConflictRecord,
  INITIAL_META,
  type KeyState,
  type Meta,
  type Owner,
  type QueuedWrite,
  type ServerState,
} from './rules/state.ts';
import { createViews, type Origin, type Views } from './rules/views.ts';

/** The type of a record. */
export type RecordType =
  /** Server states of keys that exist: key → {@link ServerState}. */
  | 'mirror'
  /** Server states of missing keys: key → {@link ServerState}. */
  | 'absent'
  /** Queued writes: key → {@link QueuedWrite}s. */
  | 'pending'
  /** Their order: `order` → key. */
  | 'order'
  /** Mutations that may have been sent: client → {@link SentMutation}. */
  | 'sent'
  /** Keys that queued units check: `order` of a unit → keys. */
  | 'checked'
  /** Conflicts: number → {@link ConflictRecord}. */
  | 'conflict';

/** The heartbeat of the tab lock, and the lock itself if the browser has no Web Locks. */
export interface Lease {
  readonly holder: string;
  readonly untilMs: number;
}

const META = 'meta';
/** Apart from the rest of the meta: it can be deleted with the mirror on a full disk, where nothing can be stored. */
const CURSOR = 'cursor';
const LEASE = 'lease';

type Key = readonly [RecordType, string | number];

/** What a transaction can read. */
export interface ReadTransaction {
  meta(): Promise<Meta | undefined>;
  keyStates(keys: readonly string[]): Promise<Map<string, KeyState>>;
  /** The key states of all keys with queued writes. */
  pending(): Promise<Map<string, KeyState>>;
  /** Which of these keys have queued writes; possibly other keys with queued writes too. Reads no values. */
  queuedKeys(keys: readonly string[]): Promise<Set<string>>;
  /** How many acknowledged writes are queued. */
  pendingCount(): Promise<number>;
  /** The keys that queued units check. They must not change before the units are sent. */
  checkedKeys(): Promise<Set<string>>;
  /** Whether a write is queued. */
  hasWrites(): Promise<boolean>;
  /** The first queued writes, in their order. */
  firstWrites(most: number): Promise<QueuedWrite[]>;
  /** All queued writes, in their order. */
  allWrites(): Promise<QueuedWrite[]>;
  /** The writes that may have been sent, in their order. */
  sentWrites(): Promise<QueuedWrite[]>;
  /** Keys of records from `from` on, in the order of IndexedDB. */
  keys<K extends string | number>(type: RecordType, from?: K, most?: number): Promise<K[]>;
  records<T>(type: RecordType): Promise<T[]>;
  count(type: RecordType): Promise<number>;
  lease(): Promise<Lease | undefined>;
  /** The number of the last commit that was told. */
  lastCommit(): Promise<number>;
}

/** What a transaction can write. No request is awaited: a failure aborts the transaction. */
export interface WriteTransaction extends ReadTransaction {
  setMeta(meta: Meta): void;
  /** Deletes everything. */
  erase(): void;
  setLease(lease: Lease): void;
  setServerState(key: string, serverState: ServerState): void;
  /** Removes keys from the mirror, or all keys. The mirror is not complete then. */
  forget(keys?: readonly string[]): void;
  /** Removes the server states before a sequence number of this generation. */
  forgetBefore(generation: number, seq: number): Promise<void>;
  /** Deletes the only queued write of a key. This stores nothing, so it works on a full disk. */
  drop(key: string, n: number): void;
  /** Replaces the queued writes of a key. */
  setWrites(key: string, before: readonly QueuedWrite[], writes: readonly QueuedWrite[]): void;
  addConflicts(conflicts: readonly ConflictRecord[]): Promise<void>;
  removeConflicts(isSettled: (conflict: ConflictRecord) => boolean): Promise<void>;
}

/**
 * Transactions over the database. Each has a time limit (indexeddb/connection.ts). After one has exceeded it, the next ones reject
 * within a moment with `blocked` until the database answers again, so that a tab that is suspended in a transaction does not delay every
 * call of the other tabs.
 */
export interface SyncDatabase {
  read<T>(work: (transaction: ReadTransaction) => Promise<T>): Promise<T>;
  /**
   * @param strict Whether the data is on disk when it resolves.
   * @param origin Where its changes come from. They are told to the listeners of `watch()` after the commit.
   */
  write<T>(work: (writing: WriteTransaction) => Promise<T>, strict?: boolean, origin?: Origin): Promise<T>;
  /** Tells changes of the data of an account that could not be stored here. */
  tell(changes: readonly StoredChange[], account: string | undefined): void;
  /** Keeps the meta in memory, because it cannot be stored. */
  remember(meta: Meta): void;
  /** Keeps in memory that an answer has named a sequence number: on a full disk it cannot be stored. */
  saw(generation: number, seq: number): void;
  /**
   * Waits for work that needs the database, but for less time than a transaction may take: the caller can go on without it.
   *
   * @throws {StorageError} `timeout`. The work goes on.
   */
  withPatience<T>(work: Promise<T>, limitMs?: number): Promise<T>;
  /** Whether a call has waited in vain for the database, which has answered nothing since. */
  isSilent(): boolean;
}

/** Events of a database, and how long calls wait for it. */
export interface DatabaseEvents {
  /** Milliseconds for {@link SyncDatabase.withPatience}, unless a call has less. */
  patienceMs(): number;
  /** The records are gone, for example because the user has deleted the site's data. */
  deleted(): void;
  /** It answers again. */
  recovered(): void;
}

const localErrors = new WeakSet<object>();

/** Whether an error comes from the database. It says nothing about the server. */
export const isLocal = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && localErrors.has(error);

function local<E>(error: E): E {
  if (typeof error === 'object' && error !== null) localErrors.add(error);
  return error;
}

/**
 * The meta as this tab knows it. The database may be deleted while the tab is open: keys that the mirror has lost are then unknown,
 * not missing.
 */
interface Memory {
  meta?: Meta | undefined;
}

/** The highest count that IndexedDB takes. */
export const ALL_RECORDS = 0xffffffff;

/** With more keys than this, all records of a type are read at once if there are few. */
const MANY = 16;

/** Milliseconds that a call waits at least for a database that has not answered earlier calls. */
const LEAST_MS = 500;

/** The limit passes in steps. A page that was suspended has missed one of them, not the whole limit. */
const STEPS = 4;

/** The errors of a value whose file is lost: of Chromium, and of Firefox. */
const UNREADABLE = /^(Unknown|NotReadable|Data)Error$/;

/** Transactions over `connection`. `owner` is stored with the meta, and `feed` tells the changes. */
export function createSyncDatabase(
  connection: Connection,
  owner?: Owner,
  events?: DatabaseEvents,
  feed?: ChangeFeed,
): SyncDatabase {
  const memory: Memory = {};
  let isDeleted = false;
  /** The number of transactions under way. */
  let underWay = 0;
  /** When the database has answered the last time, or was asked after it had answered everything. */
  let answeredAt = 0;
  /** When a call has waited in vain for it the last time. */
  let silentAt = 0;
  /** Why the database does not answer. */
  let failure: StorageError | undefined;
  let probing: Promise<void> | undefined;

  function answered(): void {
    answeredAt = performance.now();
  }

  /** Asks whether the database answers again. Resolves when it does, or has not for a moment. */
  function probe(): Promise<void> {
    if (probing !== undefined) return probing;
    const probed = connection
      .readInSteps((store) => results([store.getKey(META)]))
      .then(
        () => {
          failure = undefined;
          answered();
          events?.recovered();
        },
        () => undefined,
      )
      .finally(() => {
        probing = undefined;
      });
    probing = withTimeLimit(probed, LEAST_MS, () => undefined);
    return probing;
  }

  async function transact<T>(transaction: () => Promise<T>): Promise<T> {
    // It may have answered again since the last call.
    if (failure) await probe();
    if (failure) {
      throw local(
        new StorageError(
          'blocked',
          `${failure.message} Until it answers again, nothing is read or stored there.`,
        ),
      );
    }
    if (underWay === 0) answered();
    underWay += 1;
    try {
      const result = await transaction().catch(async (error) => {
        if (!UNREADABLE.test(((error as Error).cause as Error | undefined)?.name ?? '')) throw error;
        // Otherwise no write of such a key could be appended, and none could leave the outbox.
        if (!(await removeUnreadable())) throw error;
        return transaction();
      });
      answered();
      return result;
    } catch (error) {
      if (error instanceof StorageError && /^(timeout|blocked)$/.test(error.code)) failure = error;
      else answered();
      throw local(error);
    } finally {
      underWay -= 1;
    }
  }

  /**
   * Removes values of the mirror that cannot be read, as after a power cut: the server has them. Then the mirror is not complete.
   *
   * @returns Whether there were any.
   */
  async function removeUnreadable(): Promise<boolean> {
    let isAny = false;
    await connection.write(async (store) => {
      const [keys = []] = (await results([store.getAllKeys(recordsOf('mirror'))])) as [IDBValidKey[]];
      for (let from = 0; from < keys.length; from += MANY) {
        const part = keys.slice(from, from + MANY);
        const reads = await settled(part.map((key) => store.get(key)));
        for (const [i, { error }] of reads.entries()) {
          if (!error) continue;
          isAny = true;
          store.delete(part[i] as IDBValidKey);
        }
      }
      if (isAny) store.delete(CURSOR);
      return [];
    });
    return isAny;
  }

  /** The meta that was read, with the highest sequence number that this tab has seen, or the one in memory if the record is gone. */
  const remembered: Remembering = (meta) => {
    if (meta) {
      const { generation, epoch, seq } = memory.meta ?? meta;
      const isSeen = generation === meta.generation && epoch === meta.epoch && seq > meta.seq;
      memory.meta = isSeen ? { ...meta, seq } : meta;
      isDeleted = false;
      return memory.meta;
    }
    if (memory.meta && !isDeleted) {
      isDeleted = true;
      queueMicrotask(() => events?.deleted());
    }
    return memory.meta && { ...memory.meta, cursor: undefined };
  };

  return {
    remember(meta) {
      memory.meta = meta;
      isDeleted = true;
    },
    saw(generation, seq) {
      if (memory.meta?.generation === generation)
        memory.meta = { ...memory.meta, seq: Math.max(memory.meta.seq, seq) };
    },
    read: (work) =>
      transact(() => connection.readInSteps((store) => work(readTransactionOf(store, remembered)))),
    tell: (changes, account) => feed?.publish(undefined, changes, account),
    write: (work, strict = false, origin = undefined) =>
      transact(async () => {
        let result: Awaited<ReturnType<typeof work>> | undefined;
        let told: Told | undefined;
        let failure: unknown;
        let written: Meta | undefined;
        const write = async (store: IDBObjectStore): Promise<[]> => {
          failure = written = told = undefined;
          // A failed request aborts the whole transaction. The connection alone would let it fail by itself.
          const fail = (error: unknown): void => {
            failure ??= error;
            store.transaction.abort();
          };
          const views = feed?.isWatched() ? createViews(origin) : undefined;
          const { writing, finish } = writeTransactionOf(store, fail, owner, remembered, views);
          const { setMeta } = writing;
          const before = views && (await stateOf(store, writing));
          result = await work({
            ...writing,
            setMeta(meta) {
              written = meta;
              setMeta(meta);
            },
          });
          if (views && before) told = await tellingOf(store, views, before, await stateOf(store, writing));
          finish();
          return [];
        };
        await connection.write(write, strict ? 'strict' : 'relaxed').catch((error) => {
          throw failure === undefined ? error : asStorageError(failure, 'The outbox');
        });
        if (written) remembered(written);
        if (told) feed?.publish(told.number, told.changes, told.account);
        return result as Awaited<ReturnType<typeof work>>;
      }),
    isSilent: () => failure !== undefined || silentAt > answeredAt,
    async withPatience(work, patienceMs = events?.patienceMs() ?? LONGEST_DELAY_MS) {
      const now = performance.now();
      // Calls that follow each other do not each wait that long for a database that does not answer. It may answer soon if this
      // page was suspended.
      const silentMs = underWay > 0 ? now - answeredAt : 0;
      const leftMs = Math.max(Math.min(patienceMs, LEAST_MS), patienceMs - silentMs);
      for (let step = 1; step < STEPS; step++) {
        let isLate = false;
        const result = await withTimeLimit(work, leftMs / STEPS, () => {
          isLate = true;
        });
        if (!isLate) return result as Awaited<typeof work>;
      }
      return withTimeLimit(work, leftMs / STEPS, () => {
        // Otherwise it was busy, or this page was suspended.
        if (answeredAt < now && performance.now() < now + 2 * leftMs) silentAt = now;
        throw local(
          new StorageError(
            'timeout',
            `IndexedDB did not answer within ${Math.round(patienceMs)} ms. Another tab may be in a long transaction.`,
          ),
        );
      });
    },
  };
}

type Remembering = (meta: Meta | undefined) => Meta | undefined;

/** The results of requests in an active transaction. */
async function results(requests: readonly IDBRequest[]): Promise<unknown[]> {
  await settled(requests);
  return requests.map(({ error, result }) => {
    if (error) throw error;
    return result;
  });
}

const recordsOf = (type: RecordType, from: string | number = Number.NEGATIVE_INFINITY): IDBKeyRange =>
  // Every list sorts after every text.
  IDBKeyRange.bound([type, from], [type, []]);

/** What a transaction tells, and its number. */
interface Told {
  readonly number: number;
  readonly changes: readonly StoredChange[] | undefined;
  readonly account: string | undefined;
}

/** What decides how key states are seen. */
interface Seen {
  readonly meta: Meta;
  readonly clears: readonly QueuedWrite[];
}

const stateOf = async (store: IDBObjectStore, writing: WriteTransaction): Promise<Seen> => {
  const [clears] = await results([store.get(['pending', ALL_KEYS])]);
  return { meta: (await writing.meta()) ?? INITIAL_META, clears: (clears ?? []) as QueuedWrite[] };
};

/** The changes of a transaction at its end. It takes a number if there are any. */
async function tellingOf(
  store: IDBObjectStore,
  views: Views,
  before: Seen,
  after: Seen,
): Promise<Told | undefined> {
  const clears = { before: before.clears, after: after.clears };
  const changes = views.changes(before.meta, after.meta, clears);
  if (changes?.length === 0) return undefined;
  const { number } = await takingNumber(store, () => undefined);
  return { number, changes, account: after.meta.account };
}

function readTransactionOf(
  store: IDBObjectStore,
  remembered: Remembering,
  sentWrites = sentWritesIn(store),
): ReadTransaction {
  const rowsOf = async (keys: readonly string[]): Promise<QueuedWrite[]> => {
    const { withSentAs } = await sentWrites();
    const found = (await results([...new Set(keys)].map((key) => get('pending', key)))) as QueuedWrite[][];
    return found
      .flat()
      .map(withSentAs)
      .sort((a, b) => a.order - b.order);
  };
  const get = (...key: Key): IDBRequest => store.get(key as unknown as IDBValidKey);
  /** The records of keys. If there are many keys and few records, all records are read. */
  async function many<T>(type: RecordType, keys: readonly string[]): Promise<Map<string, T | undefined>> {
    if (keys.length > MANY && (await transaction.count(type)) <= keys.length) {
      const found = await transaction.keys<string>(type);
      const values = await transaction.records<T>(type);
      return new Map(found.map((key, i) => [key, values[i]]));
    }
    const values = (await results(keys.map((key) => get(type, key)))) as Array<T | undefined>;
    return new Map(keys.map((key, i) => [key, values[i]]));
  }

  const transaction: ReadTransaction = {
    async meta() {
      const [meta, cursor] = (await results([store.get(META), store.get(CURSOR)])) as [Meta?, number?];
      return remembered(meta && { ...meta, cursor });
    },
    async keyStates(keys) {
      const { withSentAs } = await sentWrites();
      const mirror = await many<ServerState>('mirror', keys);
      const absent = await many<ServerState>('absent', keys);
      const pending = await many<QueuedWrite[]>('pending', keys);
      return new Map(
        keys.map((key) => [
          key,
          {
            serverState: mirror.get(key) ?? absent.get(key),
            writes: (pending.get(key) ?? []).map(withSentAs),
          },
        ]),
      );
    },
    async pending() {
      const [keys = []] = (await results([store.getAllKeys(recordsOf('pending'))])) as [
        Array<[RecordType, string]>,
      ];
      return transaction.keyStates(keys.map(([, key]) => key));
    },
    async queuedKeys(keys) {
      if (keys.length > MANY && (await transaction.count('pending')) <= keys.length)
        return new Set(await transaction.keys<string>('pending'));
      const found = await results(keys.map((key) => store.getKey(['pending', key])));
      return new Set(keys.filter((_, i) => found[i] !== undefined));
    },
    pendingCount: async () => (await transaction.count('order')) - (await sentWrites()).rejected(),
    checkedKeys: async () => new Set((await transaction.records<string[]>('checked')).flat()),
    hasWrites: async () => (await results([store.getKey(recordsOf('order'))]))[0] !== undefined,
    async firstWrites(most) {
      const [keys = []] = (await results([store.getAll(recordsOf('order'), most)])) as [string[]];
      return (await rowsOf(keys)).slice(0, most);
    },
    allWrites: () => transaction.firstWrites(ALL_RECORDS),
    async sentWrites() {
      const numbers = (await sentWrites()).orders();
      const keys = (await results(numbers.map((n) => get('order', n)))) as Array<string | undefined>;
      const known = keys.filter((key) => key !== undefined);
      return (await rowsOf(known)).filter(({ sentAs }) => sentAs);
    },
    async keys<K extends string | number>(type: RecordType, from?: K, most?: number) {
      const [keys = []] = (await results([store.getAllKeys(recordsOf(type, from), most)])) as [
        Array<[RecordType, K]>,
      ];
      return keys.map(([, key]) => key);
    },
    records: async <T>(type: RecordType) => (await results([store.getAll(recordsOf(type))]))[0] as T[],
    count: async (type) => (await results([store.count(recordsOf(type))]))[0] as number,
    lease: async () => (await results([store.get(LEASE)]))[0] as Lease | undefined,
    lastCommit: () => lastNumberIn(store),
  };
  return transaction;
}

/** Reads the mutations that were sent, once. */
function sentWritesIn(store: IDBObjectStore): () => Promise<SentWrites> {
  let sentWrites: SentWrites | undefined;
  return async () => {
    if (sentWrites) return sentWrites;
    const [keys, batches] = await results([
      store.getAllKeys(recordsOf('sent')),
      store.getAll(recordsOf('sent')),
    ]);
    sentWrites ??= createSentWrites(
      (keys as Array<[RecordType, string]>).map(([, client]) => client),
      batches as SentMutation[],
    );
    return sentWrites;
  };
}

/** A transaction, and `finish`, which stores the changed mutations at its end. */
function writeTransactionOf(
  store: IDBObjectStore,
  fail: (error: unknown) => void,
  owner: Owner | undefined,
  remembered: Remembering,
  views: Views | undefined,
): { readonly writing: WriteTransaction; finish(): void } {
  let sentWrites: SentWrites | undefined;
  const read = sentWritesIn(store);
  const transaction = readTransactionOf(store, remembered, async () => {
    sentWrites = await read();
    return sentWrites;
  });
  const check = (request: IDBRequest): void => {
    request.onerror = () => {
      // The transaction itself ends with these.
      if (!/^(QuotaExceeded|Abort)Error$/.test(request.error?.name ?? '')) fail(request.error);
    };
  };
  const put = (value: unknown, ...key: Key): void => check(store.put(value, key as unknown as IDBValidKey));
  const remove = (...key: Key): void => check(store.delete(key as unknown as IDBValidKey));
  const writing: WriteTransaction = {
    ...transaction,
    async keyStates(keys) {
      const keyStates = await transaction.keyStates(keys);
      views?.seen(keyStates);
      return keyStates;
    },
    setMeta({ cursor, ...meta }) {
      check(store.put({ ...meta, ...(owner && { owner }) }, META));
      check(cursor === undefined ? store.delete(CURSOR) : store.put(cursor, CURSOR));
    },
    setLease(lease) {
      check(store.put(lease, LEASE));
    },
    setServerState(key, serverState) {
      views?.setServerState(key, serverState);
      put(serverState, serverState.value ? 'mirror' : 'absent', key);
      remove(serverState.value ? 'absent' : 'mirror', key);
    },
    forget(keys) {
      for (const type of ['mirror', 'absent'] as const)
        if (keys) for (const key of keys) remove(type, key);
        else check(store.delete(recordsOf(type)));
      check(store.delete(CURSOR));
    },
    erase() {
      views?.erased();
      check(store.clear());
    },
    async forgetBefore(generation, seq) {
      // A queued write hides whether its key was deleted.
      views?.seen(await transaction.pending());
      const deleted = new Map<string, ServerState>();
      const left = new Map<string, ServerState>();
      for (const type of ['mirror', 'absent'] as const) {
        const keys = await transaction.keys<string>(type);
        const serverState = await transaction.records<ServerState>(type);
        // Deleted at once; the few later ones are stored again.
        check(store.delete(recordsOf(type)));
        for (const [i, key] of keys.entries()) {
          const known = serverState[i] as ServerState;
          const stays = known.generation !== generation || known.seq >= seq;
          if (stays) put(known, type, key);
          (stays ? left : deleted).set(key, known);
        }
      }
      views?.cleared(deleted, left);
    },
    drop(key, n) {
      remove('pending', key);
      remove('order', n);
      remove('checked', n);
    },
    setWrites(key, before, writes) {
      views?.setWrites(key, writes);
      const same =
        writes.length === before.length &&
        writes.every((write, i) => isSameButSentAs(write, before[i] as QueuedWrite));
      if (writes.length === 0) remove('pending', key);
      else if (!same) put(writes.map(withoutSentAs), 'pending', key);
      for (const write of before) {
        const after = writes.find(({ order }) => order === write.order);
        if (!after) remove('order', write.order);
        if (!after && write.unit?.order === write.order) remove('checked', write.order);
        sentWrites?.change(write, after);
      }
      for (const write of writes) {
        if (before.some(({ order }) => order === write.order)) continue;
        put(key, 'order', write.order);
        const checks = write.unit?.order === write.order ? write.unit.checks : [];
        if (checks.length > 0)
          put(
            checks.map((check) => check.key),
            'checked',
            write.order,
          );
        sentWrites?.change(undefined, write);
      }
    },
    async addConflicts(conflicts) {
      if (conflicts.length === 0) return;
      const [last] = (await results([store.openKeyCursor(recordsOf('conflict'), 'prev') as IDBRequest])) as [
        IDBCursor | null,
      ];
      const from = last ? Number((last.key as unknown[])[1]) : 0;
      for (const [i, one] of conflicts.entries()) put(one, 'conflict', from + 1 + i);
    },
    async removeConflicts(isSettled) {
      const numbers = await transaction.keys<number>('conflict');
      const conflicts = await transaction.records<ConflictRecord>('conflict');
      for (const [i, conflict] of conflicts.entries())
        if (isSettled(conflict)) remove('conflict', numbers[i] as number);
    },
  };
  return {
    writing,
    finish() {
      for (const [client, batch] of sentWrites?.changes() ?? [])
        if (batch) put(batch, 'sent', client);
        else remove('sent', client);
    },
  };
}

const withoutSentAs = ({ sentAs: _, ...write }: QueuedWrite): QueuedWrite => write;

const isSameButSentAs = (a: QueuedWrite, b: QueuedWrite): boolean =>
  (['order', 'version', 'value', 'base', 'stale', 'failed', 'rejected'] as const).every(
    (name) => a[name] === b[name],
  );

/** The queued clears. */
export const clearsOf = (keyStates: ReadonlyMap<string, KeyState>): readonly QueuedWrite[] =>
  keyStates.get(ALL_KEYS)?.writes ?? [];
