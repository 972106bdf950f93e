/**
 * The store as the rest of the server sees it: keys, the text of their values, and a tag for each state of an entry.
 *
 * A write resolves after it is durable, and writes that wait together may become durable together. A failure is a
 * rejection, and then nothing of that write has happened.
 */

/** What is stored under a key. */
export interface Entry {
  /** JSON text, as it was received. */
  readonly value: string;
  /** `<epoch>.<rev>`: another one after every change, and never one twice. */
  readonly tag: string;
}

/** Decides, at a write's turn, whether it may happen; asked with the tag of the entry as it then is. */
export type Condition = (tag: string | undefined) => boolean;

/** A change. Conditions are judged, and changes made, in the order of the calls. */
export type Write =
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      readonly condition?: Condition | undefined;
    }
  | { readonly type: 'delete'; readonly key: string; readonly condition?: Condition | undefined }
  | { readonly type: 'clear' }
  | { readonly type: 'import'; readonly entries: ReadonlyArray<readonly [key: string, value: string]> };

/** What became of a write that did not fail. */
export type Outcome =
  | { readonly status: 'done'; readonly tag?: string }
  | { readonly status: 'missing' }
  | { readonly status: 'condition-failed'; readonly tag: string | undefined };

/** Counts over all entries. */
export interface Stats {
  readonly keys: number;
  /** Of the values' UTF-8 texts. */
  readonly sizeBytes: number;
  /** Without its folder. */
  readonly fileName: string;
}

/** A durable key-value store. */
export interface Store {
  read(key: string): Promise<Entry | undefined>;
  /** All keys, in byte order. */
  keys(): Promise<string[]>;
  stats(): Promise<Stats>;
  /** @throws {StoreError} */
  write(write: Write): Promise<Outcome>;
  /** All entries as of the first step, in byte order of their keys, in pages of bounded size. */
  snapshot(): AsyncGenerator<ReadonlyArray<readonly [key: string, value: string]>, void>;
  /** Resolves when what was called before is done. */
  close(): Promise<void>;
}

/** `full`: no room on the disk. `busy`: another process holds the database. `failed`: see `cause`. */
export type StoreErrorCode = 'full' | 'busy' | 'failed';

/** A write that could not be made durable, and has not happened. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, cause: unknown) {
    super(`The database did not commit (${code})`, { cause });
    this.code = code;
  }
}
