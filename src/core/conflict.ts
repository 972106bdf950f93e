/**
 * Conflicts: the error of a conditional write, conflicts of queued writes, and the policies that resolve them.
 */
import type { StoredEntry } from './backend.ts';
import { StorageError } from './errors.ts';

/**
 * A conditional write was rejected because the key has another state than `ifRevision` requires. Nothing was stored.
 *
 * The error contains both values. The app can merge them or show them, and can write again with
 * `ifRevision: error.current?.revision ?? null`.
 */
export class ConflictError extends StorageError {
  /** The key of the write. */
  readonly key: string;
  /** The value that was not stored; `undefined` for a delete. */
  readonly attempted: unknown;
  /** The stored value and its revision; `undefined` if the key does not exist. */
  readonly current: StoredEntry | undefined;

  /**
   * Creates the error of a conflict.
   *
   * @param key The key of the write.
   * @param attempted The value that was not stored.
   * @param current The stored value and its revision.
   */
  constructor(key: string, attempted: unknown, current: StoredEntry | undefined) {
    super(
      'conflict',
      `Key ${key} has another revision than this write requires; nothing was stored. Merge \`attempted\` and \`current\`, and write again.`,
    );
    this.name = 'ConflictError';
    this.key = key;
    this.attempted = attempted;
    this.current = current;
  }
}

/** One of the values of a conflict; `undefined` if the key did not exist, or if its value was not known. */
export type ConflictValue<Value = unknown> =
  | {
      /** The value. */
      readonly value: Value;
    }
  | undefined;

/**
 * A local value that the server does not have: a write that was acknowledged while the server was unreachable and then lost to
 * another value, or a value that a restored server has lost. It is stored on this device until `resolve()` is called for its key.
 */
export interface ConflictOf<Key extends string = string, Value = unknown> {
  /** The key; the empty string for a `clear()`. */
  readonly key: Key;
  /**
   * The keys of the `atomic()` unit that the write was part of. Its writes are kept together, and `resolve()` of one of the keys
   * settles all of them: with `'local'` they are sent as a unit again. Missing for every other write.
   */
  readonly unit?: readonly Key[];
  /**
   * - `changed`: another client had changed the key, and this device had not seen that change;
   * - `rejected`: the server rejected the write permanently, for example because the value is too large;
   * - `restored`: the server was restored to an earlier state and has lost the value;
   * - `discarded`: `discard()` has taken the write out of the outbox.
   */
  readonly reason: 'changed' | 'rejected' | 'restored' | 'discarded';
  /** The value that this device knew before the write. */
  readonly base: ConflictValue<Value>;
  /** The value that was written on this device; `undefined` for a delete. */
  readonly local: ConflictValue<Value>;
  /** The value on the server when the conflict was detected. */
  readonly server: ConflictValue<Value>;
  /** A description of the conflict for people. */
  readonly detail: string;
  /** When the conflict was detected, in milliseconds since 1970. */
  readonly atMs: number;
}

/** How `resolve()` resolves a conflict: with the local value, the server's value, or another value. */
export type Resolution<Value = unknown> =
  | 'local'
  | 'server'
  | {
      /** The value to store. */
      readonly value: Value;
    };

/**
 * Which value wins if another client has changed a key that this device has written while the server was unreachable.
 *
 * - `'keep-server'`: the server's value stays.
 * - `'keep-local'`: the local value replaces the server's.
 * - A function: it returns the value to store, or a promise of it. `undefined` deletes the key. Each argument is `undefined` if the
 *   key did not exist; `base` also if its value was not known. If the function throws, the server's value stays.
 *
 * A local value that loses is kept and listed by `conflicts()`.
 */
export type ConflictPolicy =
  | 'keep-server'
  | 'keep-local'
  | ((base: unknown, local: unknown, server: unknown, key: string) => unknown);
