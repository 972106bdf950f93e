/**
 * The Backend contract: the one waist that every call passes.
 *
 * A backend moves batches. It gets keys and values that were checked already and answers one result an operation,
 * because calls that travel together fail separately. It never swallows a failure, never answers "empty" for
 * "failed", and never retries for ever.
 */
import type { KeyRange } from './order.ts';

/** Who serves operations. */
export type BackendType = 'indexeddb' | 'flask';

/**
 * How a storage stands to its server: `'local'` where none is configured; `'online'`; `'offline'`, it was not reached and is asked
 * again; `'reconnecting'`, it is being asked, and brought up to date; `'auth-required'`, it lets this caller do nothing (option
 * `token`), and is asked again.
 */
export type SyncState = 'local' | 'online' | 'offline' | 'reconnecting' | 'auth-required';

/** A value, copied and checked by `snapshot`: nobody else holds it. */
export interface Snapshot {
  /** Whether JSON carries the value as it is. */
  readonly plain: boolean;
  /** The copy. */
  readonly value: unknown;
  /** Whether the value is or contains a Blob or a File. */
  readonly hasBlob?: boolean;
  /** Whether the value is or contains an Error. */
  readonly hasError?: boolean;
}

/** A value, and the revision that it is. */
export interface StoredEntry<Value = unknown> {
  /** The value, the caller's own copy. */
  readonly value: Value;
  /**
   * Names this state of the key, for `ifRevision`. Opaque: compare it, store it, do not read it. On a server no two states
   * of a key share one; a state that waits to be sent has a name of this origin, which holds beside the server's when it has
   * arrived. IndexedDB keeps no revisions: there it is a fingerprint, so equal values have equal revisions, and
   * a Blob counts by its size and type, a File by its name and `lastModified` too, not by its bytes.
   */
  readonly revision: string;
}

/** A write that holds only for one state: with a revision for that one, with `null` where there is nothing. */
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
  /** Deletes every key that begins with `prefix`. Not a `clear` with a member, so that no code takes it for one. */
  | { readonly type: 'clear-prefix'; readonly prefix: string };

/**
 * What became of one operation: the value of a `get` or `update`, the `StoredEntry` of an `entry`, the boolean of a `has`,
 * or why it failed.
 */
export type Outcome = PromiseSettledResult<unknown>;

/** How much a backend holds. */
export interface StorageStats {
  /** Number of entries. */
  readonly keys: number;
  /**
   * Bytes of all values as JSON text in UTF-8, keys not counted. On IndexedDB, a value that cannot be read, or that another
   * program stored and that has no JSON text, counts as 0 bytes. Its entry is counted in `keys`. While the part that writes values
   * other than JSON has not been loaded and cannot be, such as offline, the size of these values is estimated.
   */
  readonly sizeBytes: number;
}

/** Whether an operation changes nothing. */
export const isRead = ({ type }: Operation): boolean => type === 'get' || type === 'entry' || type === 'has';

/** An operation that both levels of a server's protocol know: on one key, or on all. */
export type ProtocolOperation = Exclude<Operation, { type: 'clear-prefix' }>;

/** Whether an operation is about revisions: it reads one, or holds only for one. */
export const isRevised = (operation: Operation): operation is Revised =>
  operation.type === 'entry' || (operation as Condition).ifRevision !== undefined;

/** Whether what becomes of an operation depends on what is there. */
export const isDependent = (operation: Operation): operation is Dependent =>
  operation.type === 'update' || isRevised(operation);

/** Whether an operation writes a Blob. */
export const holdsBlob = (operation: Operation): boolean =>
  operation.type === 'put' && operation.hasBlob === true;

/** An operation that reads before it is decided. */
export type Dependent = Revised | Extract<Operation, { type: 'update' }>;

/** An operation that is about revisions. */
export type Revised = Extract<Operation, { type: 'entry' | 'put' | 'delete' }>;

/** Entries, in byte order of their keys. */
export type Page = ReadonlyArray<readonly [key: string, value: unknown]>;

/**
 * When a write to IndexedDB resolves: when the browser has handed it to the operating system (`relaxed`), or when it is flushed
 * to the disk (`strict`).
 *
 * @see W3C Indexed Database API 3.0, §2.7.1 Durability hint.
 */
export type Durability = 'relaxed' | 'strict';

/** Options of one batch. */
export interface RunOptions {
  readonly durability?: Durability;
}

/** A medium that holds entries. */
export interface Backend {
  /** Which medium this is. */
  readonly type: BackendType;
  /**
   * Resolves when the medium has answered once.
   *
   * @throws {StorageError} `unavailable`, `timeout`, `blocked`
   */
  open(): Promise<void>;
  /**
   * Carry out a batch: as many outcomes as operations, in their order.
   *
   * @param options `durability` of this batch. A server ignores it: what it has answered is on its disk.
   * @throws {StorageError} when none of the batch was carried out.
   */
  run(operations: readonly Operation[], options?: RunOptions): Promise<Outcome[]>;
  /** The keys of a range, in byte order, or in the reverse of it. */
  keys(range: KeyRange): Promise<string[]>;
  /** The entries of a range, in the order of their keys, in pages of bounded size. */
  entries(range: KeyRange): AsyncIterable<Page>;
  /** How much it holds. */
  stats(): Promise<StorageStats>;
  /** The number of entries of a range, whose `limit` and `reverse` make no difference. Without bounds it costs at most as much as `stats`. */
  count(range: Omit<KeyRange, 'limit' | 'reverse'>): Promise<number>;
  /**
   * Resolves where it would take this value, as far as that is known before it is asked.
   *
   * @throws {StorageError} `invalid-key`, `too-large`, `unsupported-value`
   */
  check?(key: string, value: Snapshot): Promise<void>;
  /** Let go of the medium. What is under way is cut off and rejects with `closed`. */
  close(): Promise<void>;
}

/** The part of a backend that moves entries: what each level of a server's protocol provides. */
export interface Protocol
  extends Pick<Backend, 'keys' | 'entries' | 'stats'>,
    Required<Pick<Backend, 'check'>> {
  run(operations: readonly ProtocolOperation[]): Promise<Outcome[]>;
  /**
   * The operations that delete the keys that begin with `prefix` as they are now: where the server has revisions, only if nobody
   * has written them since.
   */
  deletesOf(prefix: string): Promise<Delete[]>;
}

/** A delete. */
export type Delete = Extract<Operation, { type: 'delete' }>;

/** The outcome of an operation that succeeded. */
export const fulfilled = (value?: unknown): Outcome => ({ status: 'fulfilled', value });

/**
 * Runs a batch on a medium that has no operation for `clear-prefix`: each is carried out by `clear`, after the operations before it
 * and before the operations after it.
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

/** The outcome of a `clear-prefix` that was carried out by deletes. A key that somebody has written meanwhile stays, which is right. */
export const outcomeOfClear = (deletes: readonly Outcome[]): Outcome =>
  deletes.find(
    (outcome) =>
      outcome.status === 'rejected' &&
      (outcome.reason as { code?: unknown } | undefined)?.code !== 'conflict',
  ) ?? fulfilled();

/** The outcome of an operation that failed. */
export const rejected = (reason: unknown): Outcome => ({ status: 'rejected', reason });
