/**
 * The Backend contract: the one waist that every call passes.
 *
 * A backend moves batches. It gets keys and values that were checked already and answers one result an operation,
 * because calls that travel together fail separately. It never swallows a failure, never answers "empty" for
 * "failed", and never retries for ever.
 */

/** Who serves operations. */
export type BackendType = 'indexeddb' | 'flask';

/** A value, copied and checked by `snapshot`: nobody else holds it. */
export interface Snapshot {
  /** Whether JSON carries the value as it is. */
  readonly plain: boolean;
  /** The copy. */
  readonly value: unknown;
}

/** One call. Operations of a batch take effect in their order. */
export type Operation =
  | { readonly type: 'get' | 'has' | 'delete'; readonly key: string }
  | ({ readonly type: 'put'; readonly key: string } & Snapshot)
  | { readonly type: 'update'; readonly key: string; readonly change: (current: unknown) => Snapshot }
  | { readonly type: 'clear' };

/** What became of one operation: the value of a `get` or `update`, the boolean of a `has`, or why it failed. */
export type Outcome = PromiseSettledResult<unknown>;

/** How much a backend holds. */
export interface StorageStats {
  /** Number of entries. */
  readonly keys: number;
  /**
   * Bytes of all values as JSON text in UTF-8, keys not counted. A value that IndexedDB holds but that cannot travel
   * (put there by other code) counts as 0.
   */
  readonly sizeBytes: number;
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
   * @throws {StorageError} when none of the batch was carried out.
   */
  run(operations: readonly Operation[]): Promise<Outcome[]>;
  /** All keys that begin with `prefix`, in byte order. */
  keys(prefix: string): Promise<string[]>;
  /** All entries whose key begins with `prefix`, in byte order, in pages of bounded size. */
  entries(prefix: string): AsyncIterable<ReadonlyArray<readonly [key: string, value: unknown]>>;
  /** How much it holds. */
  stats(): Promise<StorageStats>;
  /** Let go of the medium. What is under way is cut off and rejects with `closed`. */
  close(): Promise<void>;
}

/** The outcome of an operation that succeeded. */
export const fulfilled = (value?: unknown): Outcome => ({ status: 'fulfilled', value });

/** The outcome of an operation that failed. */
export const rejected = (reason: unknown): Outcome => ({ status: 'rejected', reason });
