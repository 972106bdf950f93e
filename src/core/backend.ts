/**
 * The Backend interface: the one narrow interface that every call passes through.
 *
 * A backend carries out batches. Its keys and values have already been checked. It returns one outcome for each operation, because
 * calls in one batch fail separately. It never hides a failure, never returns "empty" for "failed", and never retries without end.
 */
import type { KeyRange } from './order.ts';
import type { Deadline } from './time.ts';

/** Which backend serves calls. */
export type BackendType = 'indexeddb' | 'flask';

/**
 * The connection state of a storage.
 *
 * - `'local'`: no server is configured;
 * - `'online'`: the server answers, and serves all calls;
 * - `'offline'`: the server cannot be reached; the SDK tries again;
 * - `'reconnecting'`: the SDK is connecting to the server and sending the outbox;
 * - `'auth-required'`: the server rejects every request of this caller (see the option `token`); the SDK tries again.
 */
export type SyncState = 'local' | 'online' | 'offline' | 'reconnecting' | 'auth-required';

/** A value that `snapshot` has checked and copied. No other code has a reference to the copy. */
export interface Snapshot {
  /** Whether the value is plain JSON, which travels without an envelope. */
  readonly plain: boolean;
  /** The copy. */
  readonly value: unknown;
  /** Whether the value is or contains a Blob or a File. */
  readonly hasBlob?: boolean;
  /** Whether the value is or contains an Error. */
  readonly hasError?: boolean;
}

/** A value and its revision. */
export interface StoredEntry<Value = unknown> {
  /** The value: a copy that belongs to the caller. */
  readonly value: Value;
  /**
   * Identifies this state of the key, for `ifRevision`. Opaque: compare it and store it, but do not parse it.
   *
   * On a server each state of a key has a revision of its own. A write in the outbox has a revision of this origin, which stays
   * valid, beside the server's, after the write was sent. On IndexedDB the revision is a fingerprint of the value: equal values have
   * equal revisions. There a Blob is compared by size and type, and a File also by `name` and `lastModified`; their bytes are not
   * compared.
   */
  readonly revision: string;
}

/** The condition of a write: with a revision, the key must still have it; with `null`, the key must not exist. */
export interface Condition {
  readonly ifRevision?: string | null | undefined;
}

/** One call. Operations of a batch take effect in their order. */
export type Operation =
  | { readonly type: 'get' | 'has'; readonly key: string }
  | { readonly type: 'entry'; readonly key: string }
  | ({ readonly type: 'delete'; readonly key: string } & Condition)
  | ({ readonly type: 'put'; readonly key: string } & Snapshot & Condition)
  | { readonly type: 'update'; readonly key: string; readonly change: (current: unknown) => Snapshot }
  | { readonly type: 'clear' }
  /** Deletes every key that begins with `prefix`. A type of its own, so that no code mistakes it for a `clear` of everything. */
  | { readonly type: 'clear-prefix'; readonly prefix: string };

/** A part of an atomic unit. A `check` changes nothing. */
export type AtomicPart =
  | Extract<Operation, { type: 'put' | 'delete' }>
  | { readonly type: 'check'; readonly key: string; readonly ifRevision: string | null };

/** The mutation as which a write was sent to a server of level 1, and its index among the writes of that mutation. */
export interface SentAs {
  readonly client: string;
  readonly m: number;
  readonly index: number;
}

/**
 * The outcome of one operation: the value of a `get` or `update`, the `StoredEntry` of an `entry`, the boolean of a `has`, or an error.
 * `inDoubt` is present if a write has failed that the server may have applied, or may still apply.
 */
export type Outcome =
  | PromiseFulfilledResult<unknown>
  | (PromiseRejectedResult & { readonly inDoubt?: SentAs | undefined });

/** The number and size of the stored entries. */
export interface StorageStats {
  /** Number of entries. */
  readonly keys: number;
  /**
   * Bytes of all values as JSON text in UTF-8, without keys. On IndexedDB, a value that cannot be read, or that another
   * program stored and that has no JSON text, counts as 0 bytes; its entry is counted in `keys`. If the codec, which writes values
   * other than JSON, cannot be loaded, for example offline, the size of these values is estimated.
   */
  readonly sizeBytes: number;
}

/** Whether an operation only reads. */
export const isRead = ({ type }: Operation): boolean => type === 'get' || type === 'entry' || type === 'has';

/** An operation that both levels of the server protocol support: on one key, or on all. */
export type ProtocolOperation = Exclude<Operation, { type: 'clear-prefix' }>;

/** Whether an operation needs revisions: it reads one, or its condition is one. */
export const isRevised = (operation: Operation): operation is Revised =>
  operation.type === 'entry' || (operation as Condition).ifRevision !== undefined;

/** Whether the result of an operation depends on the stored value. */
export const isDependent = (operation: Operation): operation is Dependent =>
  operation.type === 'update' || isRevised(operation);

/** Whether an operation writes a Blob. */
export const holdsBlob = (operation: Operation): boolean =>
  operation.type === 'put' && operation.hasBlob === true;

/** An operation whose result depends on the stored value. */
export type Dependent = Revised | Extract<Operation, { type: 'update' }>;

/** An operation that needs revisions. */
export type Revised = Extract<Operation, { type: 'entry' | 'put' | 'delete' }>;

/** Entries, in byte order of their keys. */
export type Page = ReadonlyArray<readonly [key: string, value: unknown]>;

/**
 * When a write to IndexedDB resolves: after the browser has handed it to the operating system (`relaxed`), or after it was flushed
 * to the disk (`strict`).
 *
 * @see W3C Indexed Database API 3.0, §2.7.1 Durability hint.
 */
export type Durability = 'relaxed' | 'strict';

/** Options of one batch. */
export interface RunOptions {
  readonly durability?: Durability;
  /** By when the batch is to settle. Default: each request has a limit of its own. */
  readonly deadline?: Deadline | undefined;
}

/** A store of entries: IndexedDB or a server. */
export interface Backend {
  /** The kind of this backend. */
  readonly type: BackendType;
  /**
   * Resolves when the database is open, or when the server has answered.
   *
   * @param deadline By when it is to settle, here and in the other methods. Default: each request has a limit of its own.
   * @throws {StorageError} `unavailable`, `timeout`, `blocked`
   */
  open(deadline?: Deadline): Promise<void>;
  /**
   * Carries out a batch. Returns one outcome for each operation, in their order.
   *
   * @param options `durability` of this batch. Servers ignore it: they answer a write after it is on their disk.
   * @throws {StorageError} if no operation of the batch was carried out.
   */
  run(operations: readonly Operation[], options?: RunOptions): Promise<Outcome[]>;
  /**
   * Carries out all parts or none. No key occurs twice.
   *
   * @throws {ConflictError} of the first part whose condition is not met.
   * @throws {StorageError} `unsupported` if the server has no revisions. Nothing was stored.
   */
  atomic(parts: readonly AtomicPart[], deadline?: Deadline): Promise<void>;
  /** The keys of a range, in byte order, or with `reverse` in reverse byte order. From a server they come in pages: `deadline` is that of the first one. */
  keys(range: KeyRange, deadline?: Deadline): Promise<string[]>;
  /** The entries of a range, in the order of their keys, in pages of bounded size. */
  entries(range: KeyRange): AsyncIterable<Page>;
  /** The number of entries and the size of their values. */
  stats(deadline?: Deadline): Promise<StorageStats>;
  /** The number of entries of a range. Without bounds it costs at most as much as `stats`. */
  count(range: Omit<KeyRange, 'limit' | 'reverse'>, deadline?: Deadline): Promise<number>;
  /**
   * Resolves if the backend would accept this value, as far as that is known without sending it.
   *
   * @throws {StorageError} `invalid-key`, `too-large`, `unsupported-value`
   */
  check?(key: string, value: Snapshot): Promise<void>;
  /** Closes the database or the connection. Calls in progress are aborted and reject with `closed`. */
  close(): Promise<void>;
}

/** The part of a backend that moves entries: what each level of a server's protocol provides. */
export interface Protocol
  extends Pick<Backend, 'keys' | 'entries' | 'stats'>,
    Required<Pick<Backend, 'check'>> {
  run(operations: readonly ProtocolOperation[], deadline?: Deadline): Promise<Outcome[]>;
  /** As `Backend.atomic`, with one outcome for each part: all are fulfilled or all are rejected. Missing if the protocol has no revisions. */
  atomic?(parts: readonly AtomicPart[], deadline?: Deadline): Promise<Outcome[]>;
  /**
   * Returns operations that delete the keys that now begin with `prefix`. If the server has revisions, each delete applies only if
   * the key has not changed since.
   */
  deletesOf(prefix: string, deadline?: Deadline): Promise<Delete[]>;
}

/** A delete. */
export type Delete = Extract<Operation, { type: 'delete' }>;

/** The outcome of an operation that succeeded. */
export const fulfilled = (value?: unknown): Outcome => ({ status: 'fulfilled', value });

/**
 * Runs a batch on a backend without an operation for `clear-prefix`. Each `clear-prefix` is carried out by `clear`, after the
 * operations before it and before the operations after it.
 */
export async function runWithClears(
  operations: readonly Operation[],
  run: (operations: readonly ProtocolOperation[]) => Promise<Outcome[]>,
  clear: (prefix: string) => Promise<Outcome>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let part: ProtocolOperation[] = [];
  for (const operation of operations) {
    if (operation.type !== 'clear-prefix') {
      part.push(operation);
      continue;
    }
    outcomes.push(...(await runPart(part, run)), await clear(operation.prefix).catch(rejected));
    part = [];
  }
  if (part.length === operations.length) return run(part);
  return [...outcomes, ...(await runPart(part, run))];
}

const runPart = async (
  part: readonly ProtocolOperation[],
  run: (operations: readonly ProtocolOperation[]) => Promise<Outcome[]>,
): Promise<Outcome[]> =>
  part.length === 0 ? [] : run(part).catch((reason) => part.map(() => rejected(reason)));

/** The outcome of a `clear-prefix` that was carried out by deletes. A key that another client has written since then is kept. */
export const outcomeOfClear = (deletes: readonly Outcome[]): Outcome =>
  deletes.find(
    (outcome) =>
      outcome.status === 'rejected' &&
      (outcome.reason as { code?: unknown } | undefined)?.code !== 'conflict',
  ) ?? fulfilled();

/** The outcome of an operation that failed. */
export const rejected = (reason: unknown, inDoubt?: SentAs): Outcome => ({
  status: 'rejected',
  reason,
  ...(inDoubt && { inDoubt }),
});
