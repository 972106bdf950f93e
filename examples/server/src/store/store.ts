/**
 * The store as the rest of the server sees it: of each tenant the keys, the texts of their values and a revision for each
 * state of an entry, and what has changed in which order.
 *
 * Everything moves in batches; a single change is a batch of one. A batch resolves after it is durable, and batches
 * that wait together may become durable together. A failure is a rejection, and then nothing of the batch has happened.
 *
 * A revision is the tenant's sequence number at the entry's last change: the row that counts it is written in the
 * transaction of the change, so numbers are committed in their order.
 */

/** What is stored under a key. */
export interface Entry {
  /** JSON text, as it was received. */
  readonly value: string;
  readonly rev: number;
}

/** Decides, at an operation's turn, whether it may happen; asked with the revision that there is then, if any. */
export type Condition = (rev: number | undefined) => boolean;

type Numbered = {
  /** The client's number of this write: see `Batch.client`. */
  readonly n?: number | undefined;
};

/** One step of a batch. The condition of a `clear` is asked with the tenant's sequence number. */
export type Operation = Numbered &
  (
    | { readonly type: 'get' | 'head'; readonly key: string }
    | {
        readonly type: 'put';
        readonly key: string;
        readonly value: string;
        readonly condition?: Condition | undefined;
      }
    | { readonly type: 'delete'; readonly key: string; readonly condition?: Condition | undefined }
    | { readonly type: 'clear'; readonly condition?: Condition | undefined }
    /** Refused before it came here. It keeps its place in the batch, and its number. */
    | { readonly type: 'refused'; readonly write: boolean; readonly refused: Result }
  );

/** Operations, applied in their order. */
export interface Batch {
  readonly operations: readonly Operation[];
  /** All or none. */
  readonly atomic?: boolean;
  /** Whose numbers the operations carry. A number that was used is not applied again: its result is answered. */
  readonly client?: string | undefined;
}

/** Whether an operation changes something, or uses up the number of a change. */
export function isWrite(operation: Operation): boolean {
  if (operation.type === 'refused') return operation.write;
  return operation.type !== 'get' && operation.type !== 'head';
}

/** What became of one operation: a status of HTTP and what belongs to it. */
export interface Result {
  readonly status: number;
  readonly rev?: number | undefined;
  /** JSON text. */
  readonly value?: string;
  /** Bytes of the value's text. */
  readonly size?: number;
  readonly error?: string;
  readonly type?: string;
}

/** What became of a batch: a result an operation, or why nothing of it applied. */
export type Outcome =
  | { readonly seq: number; readonly results: readonly Result[] }
  | { readonly refused: 'op-gap' | 'client-unknown' };

/** Counts over all entries. */
export interface Stats {
  readonly seq: number;
  readonly keys: number;
  /** Of the values' UTF-8 texts. */
  readonly sizeBytes: number;
}

/** Which keys to list: those that begin with `prefix` and come after `after` in byte order. */
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

/** The latest change of a key, or of all at once. */
export type Change =
  | { readonly type: 'put'; readonly key: string; readonly rev: number; readonly value: string }
  | { readonly type: 'delete'; readonly key: string; readonly rev: number }
  | { readonly type: 'clear'; readonly rev: number };

/** What has changed after a cursor, in the order of revisions; or that the store no longer knows, or never did. */
export type Changes =
  | { readonly seq: number; readonly changes: readonly Change[]; readonly more: boolean }
  | { readonly seq: number; readonly lost: 'cursor-gone' | 'epoch-changed' };

/** One state of a tenant's data. */
export interface Snapshot {
  readonly seq: number;
  /** All entries in byte order of their keys, in pages of bounded size. */
  pages(): AsyncGenerator<ReadonlyArray<Entry & { readonly key: string }>, void>;
  close(): void;
}

/** A durable key-value store of many tenants, none of which sees another. */
export interface Store {
  /** Names this incarnation of the data. */
  readonly epoch: string;
  /** The database's name, without its folder. */
  readonly fileName: string;
  seq(tenant: string): Promise<number>;
  read(tenant: string, key: string): Promise<Entry | undefined>;
  /** @throws {StoreError} */
  run(tenant: string, batch: Batch): Promise<Outcome>;
  list(tenant: string, range: Range): Promise<KeyPage>;
  stats(tenant: string): Promise<Stats>;
  /** What has changed after sequence number `after`: `limit` changes at most, fewer where their values are large. */
  changes(tenant: string, after: number, limit: number): Promise<Changes>;
  snapshot(tenant: string): Snapshot;
  /** Call `listener` after commits, of other processes too, until the function that is returned is called. */
  onCommit(listener: () => void): () => void;
  /** Drop tombstones and results of clients that are older than 30 days. @throws {StoreError} */
  expire(): Promise<void>;
  /** Resolves when what was called before is done. */
  close(): Promise<void>;
}

/** `full`: no room on the disk. `busy`: another process holds the database. `failed`: see `cause`. */
export type StoreErrorCode = 'full' | 'busy' | 'failed';

/** A batch that could not be made durable, and has not happened. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, cause: unknown) {
    super(`The database did not commit (${code})`, { cause });
    this.code = code;
  }
}

/** The tenant of callers without a token. */
export const ANONYMOUS_TENANT = 'default';
