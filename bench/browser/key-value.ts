/**
 * What every contestant in the page can do: a key-value store over one IndexedDB database of its own.
 *
 * A contestant's methods call its library the way the library's documentation recommends, and settle when the library's
 * promise does. Where a library has no call for many keys, its single call is made for each of them in one turn.
 */

/** The object store in each database, the one that ours uses: those that keep plain values can share a database. */
export const STORE = 'storage';

export type Entries = ReadonlyArray<readonly [key: string, value: unknown]>;

/** A set where it has a value, else a get. */
export interface Call {
  readonly key: string;
  readonly value?: unknown;
}

export interface KeyValue {
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<unknown>;
  getMany(keys: readonly string[]): Promise<readonly unknown[]>;
  setMany(entries: Entries): Promise<unknown>;
  clear(): Promise<unknown>;
  keys(): Promise<readonly string[]>;
  /** Show every entry to `visit`. */
  readAll(visit: (key: string, value: unknown) => void): Promise<void>;
  /** Calls that an app makes in one turn, where they are written by hand as one transaction. */
  turn?(calls: readonly Call[]): Promise<readonly unknown[]>;
}

/** What a contestant is made of: this project, another library, or none. */
export interface Library {
  readonly name: string;
  /** What its records are, where they are not the values under their keys. */
  record?(key: string, value: unknown): unknown;
  /** Whether its calls for many keys, if there are any, take a transaction a key. */
  readonly singly?: boolean;
  /** Whether reading everything does so, too. */
  readonly readsAllSingly?: boolean;
  connect(database: string): Promise<KeyValue>;
}
