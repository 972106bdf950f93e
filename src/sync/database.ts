/**
 * The database of sync, `codeforge-sync:…`: which record holds what, and what one transaction reads and writes.
 *
 * One object store, as idb-keyval makes it; the first member of a key is the room. A transaction is carried out as a whole: a
 * request that fails takes it back. What has been promised to an app is written with durability `strict`.
 */
import { StorageError } from '../core/errors.ts';
import { LONGEST_DELAY_MS, withTimeLimit } from '../core/time.ts';
import { type Connection, settled } from '../indexeddb/connection.ts';
import { asStorageError } from '../indexeddb/errors.ts';
import { createMarks, type Marks, type SentBatch } from './rules/sent.ts';
import { ALL, type Meta, type Owner, type Parked, type Place, type Row, type Seen } from './rules/state.ts';

/** A kind of record. */
export type Room =
  /** What exists at the server: key → {@link Seen}. */
  | 'mirror'
  /** What was seen not to exist. */
  | 'absent'
  /** Writes that wait: key → {@link Row}s. */
  | 'pending'
  /** Their order: `n` → key. */
  | 'order'
  /** Which of them may have been sent: client → {@link SentBatch}. */
  | 'sent'
  /** What atomic units check besides what they write: `n` of a unit → keys. */
  | 'checked'
  /** Values that did not come to be the server's: number → {@link Parked}. */
  | 'conflict';

/** Which tab is at work, where the browser has no locks. */
export interface Lease {
  readonly holder: string;
  readonly untilMs: number;
}

const META = 'meta';
/** Beside the rest of the meta: where the disk is full, it goes with the mirror, and nothing needs to be written for that. */
const CURSOR = 'cursor';
const LEASE = 'lease';

type Key = readonly [Room, string | number];

/** What a transaction can read. */
export interface Reading {
  meta(): Promise<Meta | undefined>;
  places(keys: readonly string[]): Promise<Map<string, Place>>;
  /** All keys with writes that wait. */
  pending(): Promise<Map<string, Place>>;
  /** Which of these keys have writes that wait. Reads no values. */
  waiting(keys: readonly string[]): Promise<Set<string>>;
  /** How many writes wait: those that were acknowledged. */
  pendingCount(): Promise<number>;
  /** The keys that atomic units check which wait: until they are sent these must not change. */
  checked(): Promise<Set<string>>;
  /** Whether any write waits. */
  waits(): Promise<boolean>;
  /** The first writes that wait, in their order. */
  first(most: number): Promise<Row[]>;
  /** All writes that wait, in their order. */
  all(): Promise<Row[]>;
  /** The writes that may have been sent, in their order. */
  sent(): Promise<Row[]>;
  /** Keys of a room from `from` on, in the order of IndexedDB. */
  keys<K extends string | number>(room: Room, from?: K, most?: number): Promise<K[]>;
  values<T>(room: Room): Promise<T[]>;
  count(room: Room): Promise<number>;
  lease(): Promise<Lease | undefined>;
}

/** What a transaction can write besides. Nothing is waited for: the end of the transaction tells. */
export interface Writing extends Reading {
  setMeta(meta: Meta): void;
  /** Deletes everything. */
  erase(): void;
  setLease(lease: Lease): void;
  setSeen(key: string, seen: Seen): void;
  /** Forget what was seen of keys, or of all: what the mirror lacks is not known then. */
  forget(keys?: readonly string[]): void;
  /** Everything that was seen before a sequence number of this era is forgotten. */
  forgetBefore(era: number, seq: number): Promise<void>;
  /** Delete the only write of a key that waits: nothing is written for that. */
  drop(key: string, n: number): void;
  /** The waiting writes of a key, instead of those it had. */
  setRows(key: string, before: readonly Row[], rows: readonly Row[]): void;
  park(parked: readonly Parked[]): Promise<void>;
  unpark(isSettled: (parked: Parked) => boolean): Promise<void>;
}

/**
 * Transactions over the database. Each has a time limit (indexeddb/connection.ts). After one that had no answer within it, the next
 * ones reject at once with `blocked`, until the database answers again: so that a tab that is suspended in a transaction does not
 * make every call of the other tabs wait.
 */
export interface Tables {
  read<T>(work: (reading: Reading) => Promise<T>): Promise<T>;
  /** @param strict Whether it is on the disk when it resolves. */
  write<T>(work: (writing: Writing) => Promise<T>, strict?: boolean): Promise<T>;
  /** What is known of the server, where the disk has no room for it. */
  remember(meta: Meta): void;
  /**
   * Waits for what needs the database, where it is possible to go on without: not as long as a transaction may take.
   *
   * @throws {StorageError} `timeout`. The work goes on.
   */
  inTime<T>(work: Promise<T>): Promise<T>;
}

/** What happens to a database, and how long is waited for it. */
export interface TablesEvents {
  /** Milliseconds for {@link Tables.inTime}. */
  patienceMs(): number;
  /** The records are gone, such as after the user has deleted the data of the site. */
  deleted(): void;
  /** It answers again. */
  recovered(): void;
}

const localErrors = new WeakSet<object>();

/** Whether an error is one of the database: it says nothing of the server. */
export const isLocal = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && localErrors.has(error);

function local<E>(error: E): E {
  if (typeof error === 'object' && error !== null) localErrors.add(error);
  return error;
}

/**
 * What this tab knows of the server. The database may be deleted while the tab is open: the server is known all the same, and what
 * the mirror had is not taken to be missing.
 */
interface Memory {
  meta?: Meta | undefined;
}

/** The highest count that IndexedDB takes. */
export const ALL_ROWS = 0xffffffff;

/** From so many keys on counting a room first pays. */
const MANY = 16;

const STRICT = { durability: 'strict' } as const;
const RELAXED = { durability: 'relaxed' } as const;

/** Transactions over `connection`. `owner` is stored with what is known of the server. */
export function createTables(connection: Connection, owner?: Owner, events?: TablesEvents): Tables {
  const memory: Memory = {};
  let isDeleted = false;
  /** When the transactions under way began. */
  const underWay = new Set<{ readonly since: number }>();
  /** Why the database does not answer. */
  let failure: StorageError | undefined;
  let isProbing = false;

  function probe(): void {
    if (isProbing) return;
    isProbing = true;
    void connection
      .readInSteps((store) => results([store.getKey(META)]))
      .then(
        () => {
          failure = undefined;
          events?.recovered();
        },
        () => undefined,
      )
      .finally(() => {
        isProbing = false;
      });
  }

  async function transact<T>(transaction: () => Promise<T>): Promise<T> {
    if (failure) {
      probe();
      throw local(
        new StorageError(
          'blocked',
          `${failure.message} Until it answers again, nothing is read or stored there.`,
        ),
      );
    }
    const begun = { since: performance.now() };
    underWay.add(begun);
    try {
      return await transaction();
    } catch (error) {
      if (error instanceof StorageError && /^(timeout|blocked)$/.test(error.code)) failure = error;
      throw local(error);
    } finally {
      underWay.delete(begun);
    }
  }

  /** What is read of the server; what this tab remembers of it where the record is gone. */
  const remembered: Remembering = (meta) => {
    if (meta) {
      memory.meta = meta;
      isDeleted = false;
    } else if (memory.meta && !isDeleted) {
      isDeleted = true;
      queueMicrotask(() => events?.deleted());
    }
    return meta ?? (memory.meta && { ...memory.meta, cursor: undefined });
  };

  return {
    remember(meta) {
      memory.meta = meta;
      isDeleted = true;
    },
    read: (work) => transact(() => connection.readInSteps((store) => work(readingOf(store, remembered)))),
    write: (work, strict = false) =>
      transact(async () => {
        let result: Awaited<ReturnType<typeof work>> | undefined;
        let failure: unknown;
        let written: Meta | undefined;
        const write = async (store: IDBObjectStore): Promise<[]> => {
          failure = written = undefined;
          // All or nothing: the connection lets a request fail alone.
          const fail = (error: unknown): void => {
            failure ??= error;
            store.transaction.abort();
          };
          const { writing, finish } = writingOf(store, fail, owner, remembered);
          const { setMeta } = writing;
          result = await work({
            ...writing,
            setMeta(meta) {
              written = meta;
              setMeta(meta);
            },
          });
          finish();
          return [];
        };
        await connection.write(write, strict ? STRICT : RELAXED).catch((error) => {
          throw failure === undefined ? error : asStorageError(failure, 'The outbox');
        });
        if (written) remembered(written);
        return result as Awaited<ReturnType<typeof work>>;
      }),
    inTime(work) {
      const patienceMs = events?.patienceMs() ?? LONGEST_DELAY_MS;
      const now = performance.now();
      const isLate = [...underWay].some(({ since }) => now - since > patienceMs);
      return withTimeLimit(work, isLate ? 0 : patienceMs, () => {
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

/** What requests came to, in an active transaction. */
async function results(requests: readonly IDBRequest[]): Promise<unknown[]> {
  await settled(requests);
  return requests.map(({ error, result }) => {
    if (error) throw error;
    return result;
  });
}

const roomOf = (room: Room, from: string | number = Number.NEGATIVE_INFINITY): IDBKeyRange =>
  // Every list sorts after every text.
  IDBKeyRange.bound([room, from], [room, []]);

function readingOf(store: IDBObjectStore, remembered: Remembering, marks = marksIn(store)): Reading {
  const rowsOf = async (keys: readonly string[]): Promise<Row[]> => {
    const { marked } = await marks();
    const found = (await results([...new Set(keys)].map((key) => get('pending', key)))) as Row[][];
    return found
      .flat()
      .map(marked)
      .sort((a, b) => a.n - b.n);
  };
  const get = (...key: Key): IDBRequest => store.get(key as unknown as IDBValidKey);
  /** What a room has of keys: of many, a small room is read as a whole. */
  async function many<T>(room: Room, keys: readonly string[]): Promise<Map<string, T | undefined>> {
    if (keys.length > MANY && (await reading.count(room)) <= keys.length) {
      const found = await reading.keys<string>(room);
      const values = await reading.values<T>(room);
      return new Map(found.map((key, i) => [key, values[i]]));
    }
    const values = (await results(keys.map((key) => get(room, key)))) as Array<T | undefined>;
    return new Map(keys.map((key, i) => [key, values[i]]));
  }

  const reading: Reading = {
    async meta() {
      const [meta, cursor] = (await results([store.get(META), store.get(CURSOR)])) as [Meta?, number?];
      return remembered(meta && { ...meta, cursor });
    },
    async places(keys) {
      const { marked } = await marks();
      const mirror = await many<Seen>('mirror', keys);
      const absent = await many<Seen>('absent', keys);
      const pending = await many<Row[]>('pending', keys);
      return new Map(
        keys.map((key) => [
          key,
          { seen: mirror.get(key) ?? absent.get(key), rows: (pending.get(key) ?? []).map(marked) },
        ]),
      );
    },
    async pending() {
      const [keys = []] = (await results([store.getAllKeys(roomOf('pending'))])) as [Array<[Room, string]>];
      return reading.places(keys.map(([, key]) => key));
    },
    async waiting(keys) {
      if (keys.length > MANY && (await reading.count('pending')) <= keys.length)
        return new Set(await reading.keys<string>('pending'));
      const found = await results(keys.map((key) => store.getKey(['pending', key])));
      return new Set(keys.filter((_, i) => found[i] !== undefined));
    },
    pendingCount: async () => (await reading.count('order')) - (await marks()).rejected(),
    checked: async () => new Set((await reading.values<string[]>('checked')).flat()),
    waits: async () => (await results([store.getKey(roomOf('order'))]))[0] !== undefined,
    async first(most) {
      const [keys = []] = (await results([store.getAll(roomOf('order'), most)])) as [string[]];
      return (await rowsOf(keys)).slice(0, most);
    },
    all: () => reading.first(ALL_ROWS),
    async sent() {
      const numbers = (await marks()).rows();
      const keys = (await results(numbers.map((n) => get('order', n)))) as Array<string | undefined>;
      const known = keys.filter((key) => key !== undefined);
      return (await rowsOf(known)).filter(({ mark }) => mark);
    },
    async keys<K extends string | number>(room: Room, from?: K, most?: number) {
      const [keys = []] = (await results([store.getAllKeys(roomOf(room, from), most)])) as [Array<[Room, K]>];
      return keys.map(([, key]) => key);
    },
    values: async <T>(room: Room) => (await results([store.getAll(roomOf(room))]))[0] as T[],
    count: async (room) => (await results([store.count(roomOf(room))]))[0] as number,
    lease: async () => (await results([store.get(LEASE)]))[0] as Lease | undefined,
  };
  return reading;
}

/** Reads once which writes may have been sent. */
function marksIn(store: IDBObjectStore): () => Promise<Marks> {
  let marks: Marks | undefined;
  return async () => {
    if (marks) return marks;
    const [keys, batches] = await results([store.getAllKeys(roomOf('sent')), store.getAll(roomOf('sent'))]);
    marks ??= createMarks(
      (keys as Array<[Room, string]>).map(([, client]) => client),
      batches as SentBatch[],
    );
    return marks;
  };
}

/** A transaction, and what is left to be written when its work is done. */
function writingOf(
  store: IDBObjectStore,
  fail: (error: unknown) => void,
  owner: Owner | undefined,
  remembered: Remembering,
): { readonly writing: Writing; finish(): void } {
  let marks: Marks | undefined;
  const read = marksIn(store);
  const reading = readingOf(store, remembered, async () => {
    marks = await read();
    return marks;
  });
  const check = (request: IDBRequest): void => {
    request.onerror = () => {
      // These come with the end of the transaction itself.
      if (!/^(QuotaExceeded|Abort)Error$/.test(request.error?.name ?? '')) fail(request.error);
    };
  };
  const put = (value: unknown, ...key: Key): void => check(store.put(value, key as unknown as IDBValidKey));
  const remove = (...key: Key): void => check(store.delete(key as unknown as IDBValidKey));
  const writing: Writing = {
    ...reading,
    setMeta({ cursor, ...meta }) {
      check(store.put({ ...meta, ...(owner && { owner }) }, META));
      check(cursor === undefined ? store.delete(CURSOR) : store.put(cursor, CURSOR));
    },
    setLease(lease) {
      check(store.put(lease, LEASE));
    },
    setSeen(key, seen) {
      put(seen, seen.held ? 'mirror' : 'absent', key);
      remove(seen.held ? 'absent' : 'mirror', key);
    },
    forget(keys) {
      for (const room of ['mirror', 'absent'] as const)
        if (keys) for (const key of keys) remove(room, key);
        else check(store.delete(roomOf(room)));
      check(store.delete(CURSOR));
    },
    erase() {
      check(store.clear());
    },
    async forgetBefore(era, seq) {
      for (const room of ['mirror', 'absent'] as const) {
        const keys = await reading.keys<string>(room);
        const seen = await reading.values<Seen>(room);
        // At once, and what is later again: it is little.
        check(store.delete(roomOf(room)));
        for (const [i, key] of keys.entries()) {
          const known = seen[i] as Seen;
          if (known.era !== era || known.seq >= seq) put(known, room, key);
        }
      }
    },
    drop(key, n) {
      remove('pending', key);
      remove('order', n);
      remove('checked', n);
    },
    setRows(key, before, rows) {
      const same =
        rows.length === before.length && rows.every((row, i) => isSameButMark(row, before[i] as Row));
      if (rows.length === 0) remove('pending', key);
      else if (!same) put(rows.map(withoutMark), 'pending', key);
      for (const row of before) {
        const after = rows.find(({ n }) => n === row.n);
        if (!after) remove('order', row.n);
        if (!after && row.unit?.n === row.n) remove('checked', row.n);
        marks?.change(row, after);
      }
      for (const row of rows) {
        if (before.some(({ n }) => n === row.n)) continue;
        put(key, 'order', row.n);
        const checks = row.unit?.n === row.n ? row.unit.checks : [];
        if (checks.length > 0)
          put(
            checks.map((check) => check.key),
            'checked',
            row.n,
          );
        marks?.change(undefined, row);
      }
    },
    async park(parked) {
      if (parked.length === 0) return;
      const [last] = (await results([store.openKeyCursor(roomOf('conflict'), 'prev') as IDBRequest])) as [
        IDBCursor | null,
      ];
      const from = last ? Number((last.key as unknown[])[1]) : 0;
      for (const [i, one] of parked.entries()) put(one, 'conflict', from + 1 + i);
    },
    async unpark(isSettled) {
      const numbers = await reading.keys<number>('conflict');
      const conflicts = await reading.values<Parked>('conflict');
      for (const [i, conflict] of conflicts.entries())
        if (isSettled(conflict)) remove('conflict', numbers[i] as number);
    },
  };
  return {
    writing,
    finish() {
      for (const [client, batch] of marks?.changes() ?? [])
        if (batch) put(batch, 'sent', client);
        else remove('sent', client);
    },
  };
}

const withoutMark = ({ mark: _, ...row }: Row): Row => row;

const isSameButMark = (a: Row, b: Row): boolean =>
  (['n', 'version', 'held', 'base', 'stale', 'failed', 'rejected'] as const).every(
    (name) => a[name] === b[name],
  );

/** The writes about everything that wait. */
export const clearsOf = (places: ReadonlyMap<string, Place>): readonly Row[] => places.get(ALL)?.rows ?? [];
