/**
 * The store as the rest of the server sees it: the keys of each tenant, the texts of their values, a revision for each
 * state of an entry, and the changes in their order.
 *
 * All writes are batches; a single write is a batch of one. A batch resolves after it is durable, and concurrent batches
 * may become durable together. A failure is a rejection, and then nothing of the batch was applied.
 *
 * A revision is the tenant's sequence number at the entry's last change. The number is assigned in the transaction of the
 * change, so numbers are committed in their order.
 */
import type { Quota, Usage } from './quota.ts';

/** Milliseconds after which tombstones, and clients with their stored results, expire. */
export const RETENTION = 30 * 24 * 60 * 60 * 1000;

/** The tenant of callers without a token. */
export const ANONYMOUS_TENANT = 'default';

/** An entry. */
export interface Entry {
  /** JSON text, as it was sent. */
  readonly value: string;
  readonly rev: number;
}

/** Decides whether an operation may apply. Called with the current revision, `undefined` when the key is missing. */
export type Condition = (rev: number | undefined) => boolean;

/** One step of a batch. The condition of a `clear` is called with the tenant's sequence number. */
export type Operation =
  | { readonly type: 'get' | 'head'; readonly key: string }
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      readonly condition?: Condition | undefined;
    }
  | { readonly type: 'delete'; readonly key: string; readonly condition?: Condition | undefined }
  | { readonly type: 'clear'; readonly condition?: Condition | undefined }
  /** Changes nothing. Fails like a write whose condition is not met. */
  | { readonly type: 'check'; readonly key: string; readonly condition: Condition }
  /** Refused before it reached the store. It keeps its position in the batch. */
  | { readonly type: 'refused'; readonly isWrite: boolean; readonly result: Result };

/** Operations, applied in their order. */
export interface Batch {
  readonly operations: readonly Operation[];
  /** All operations apply, or none. */
  readonly atomic?: boolean;
  /** The client that assigned the numbers `m`, `voided` and `settled`. */
  readonly client?: string | undefined;
  /** The client's number of this mutation. It is applied once; after that its results are repeated. */
  readonly m?: number | undefined;
  /** The number of a mutation that the client gives up. The batch has no operations then. */
  readonly voided?: number | undefined;
  /** The client will not ask again for its mutations up to this number. Less than `m` and `voided`. */
  readonly settled?: number | undefined;
}

/** Whether a batch must run in a transaction that writes. */
export function needsWriting({ operations, m, voided, settled }: Batch): boolean {
  return m !== undefined || voided !== undefined || settled !== undefined || operations.some(isWrite);
}

/** Whether an operation counts as a write: it has a stored result, and makes its atomic batch fail. */
export function isWrite(operation: Operation): boolean {
  if (operation.type === 'refused') return operation.isWrite;
  return operation.type !== 'get' && operation.type !== 'head';
}

/** The result of one operation. */
export type Result =
  /**
   * Applied. A write has its new revision, a `get` also the value, a `head` also the size in bytes. A `check` has the
   * current revision, and none if the key does not exist.
   */
  | { readonly outcome: 'ok'; readonly rev?: number; readonly value?: string; readonly size?: number }
  | { readonly outcome: 'missing' }
  /** With the current revision, and the current value (JSON text) if the answer has room for it. */
  | { readonly outcome: 'condition-failed'; readonly rev?: number | undefined; readonly value?: string }
  /** Another operation of the atomic batch failed. */
  | { readonly outcome: 'not-applied' }
  /** The answer has no room for the value. */
  | { readonly outcome: 'answer-too-large' }
  | { readonly outcome: 'invalid-key' | 'value-too-large'; readonly message: string }
  /** The tenant's quota has no room for the value. With what the tenant uses without it. */
  | { readonly outcome: 'quota-exceeded'; readonly used: Usage; readonly quota: Quota };

/** What an outcome means, for the caller. */
export const OUTCOME_TEXTS = {
  // Clients of level 0 compare this text exactly.
  missing: 'Key not found',
  'condition-failed': 'Precondition failed',
  'not-applied': 'Another operation of this atomic batch failed',
  'answer-too-large': 'The values of this answer are over the limit: request this key again',
} as const;

/** The outcome of a batch: one result for each operation, or the reason why nothing was applied. */
export type Outcome =
  | {
      readonly seq: number;
      readonly results: readonly Result[];
      /** The highest number of a mutation of the client before this batch: 0 if there is none. */
      readonly top?: number;
      /** The mutation that the client gave up had not been applied, and never will be. */
      readonly isVoid?: true;
    }
  | { readonly refused: MutationRefusal; readonly top: number };

/** Why a mutation is not applied: the client has settled it, has given it up, or sent it before with other writes. */
export type MutationRefusal = 'settled' | 'void' | 'mutation-changed';

/** Counts over all entries. */
export interface Stats {
  readonly seq: number;
  readonly keys: number;
  /** UTF-8 bytes of all values. */
  readonly sizeBytes: number;
}

/** Selects the keys that start with `prefix` and follow `after` in byte order. */
export interface Range {
  readonly prefix: string;
  readonly after: string;
  readonly limit: number;
}

/** A page of keys. */
export interface KeyPage {
  readonly seq: number;
  readonly keys: ReadonlyArray<{ readonly key: string; readonly rev: number; readonly size: number }>;
  readonly more: boolean;
}

/** The latest change of a key, or a clear. */
export type Change =
  | { readonly type: 'put'; readonly key: string; readonly rev: number; readonly value: string }
  | { readonly type: 'delete'; readonly key: string; readonly rev: number }
  | { readonly type: 'clear'; readonly rev: number };

/** The changes after a cursor in the order of revisions, or why they are not known. */
export type Changes =
  | { readonly seq: number; readonly changes: readonly Change[]; readonly more: boolean }
  | { readonly seq: number; readonly lost: 'cursor-gone' | 'epoch-changed' };

/** One state of a tenant's data. */
export interface Snapshot {
  readonly seq: number;
  /** All entries in byte order of their keys, in pages of bounded size. */
  pages(): AsyncGenerator<ReadonlyArray<Entry & { readonly key: string }>, void>;
  /** All keys in byte order, in pages of bounded size. */
  keys(): AsyncGenerator<readonly string[], void>;
  /** Ends it. Does nothing if it has ended. */
  close(): Promise<void>;
}

/** A durable key-value store of many tenants. No tenant sees the data of another. */
export interface Store {
  /** Identifies this incarnation of the data. */
  readonly epoch: string;
  /** The name of the database without its folder. */
  readonly fileName: string;
  /** The tenants that have ever stored something. */
  tenants(): Promise<string[]>;
  seq(tenant: string): Promise<number>;
  read(tenant: string, key: string): Promise<Entry | undefined>;
  /** @throws {StoreError} */
  run(tenant: string, batch: Batch): Promise<Outcome>;
  list(tenant: string, range: Range): Promise<KeyPage>;
  stats(tenant: string): Promise<Stats>;
  /** The changes after sequence number `after`: at most `limit`, fewer when their values are large. */
  changes(tenant: string, after: number, limit: number): Promise<Changes>;
  /** @throws {StoreError} */
  snapshot(tenant: string): Promise<Snapshot>;
  /**
   * Calls `listener` after the tenant's data has changed, also by other processes. It may also call it without a change.
   * Returns a function that ends this.
   */
  onCommit(tenant: string, listener: () => void): () => void;
  /** Deletes tombstones, and clients with their stored results, that are older than 30 days. @throws {StoreError} */
  expire(): Promise<void>;
  /** Resolves when all earlier calls have finished and the database is closed. */
  close(): Promise<void>;
}

/**
 * `full`: the disk is full. `busy`: others use the database too much. `unreachable`: there is no connection to the database.
 * `unknown`: the database did not say whether it has committed. `failed`: see `cause`.
 */
export type StoreErrorCode = 'full' | 'busy' | 'unreachable' | 'unknown' | 'failed';

/** The database failed. Nothing of the call was applied, unless the code is `unknown`. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, cause: unknown) {
    super(`The database failed (${code})`, { cause });
    this.code = code;
  }
}
