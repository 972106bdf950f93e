/**
 * What an app sees of the outboxes of this device.
 */

/** A write in an outbox of this device: it was acknowledged, and is not on its server yet. */
export interface OutboxEntry {
  /** Names the entry for `discard()`. Opaque. */
  readonly id: string;
  /** What it does. `update` is a write that `update()` has computed, `atomic` a whole unit of `atomic()`. */
  readonly type: 'set' | 'delete' | 'clear' | 'update' | 'atomic';
  /** The keys that it writes: none for a `clear`, several for an `atomic`. */
  readonly keys: readonly string[];
  /** When it was made, in milliseconds since 1970. */
  readonly atMs: number;
  /** How often the server did not answer this write although it answered others. */
  readonly attempts: number;
  /** Why it was not accepted the last time; `undefined` if it has not been sent alone. A text for people. */
  readonly lastError: string | undefined;
  /** Bytes of its values as JSON text in UTF-8. */
  readonly sizeBytes: number;
  /** The server that it is for, as the app gave its URL in `flaskUrl`; a relative URL is resolved against the page. */
  readonly serverUrl: string;
  /** The option `database` of the storage that made it. */
  readonly database: string;
}
