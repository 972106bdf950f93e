/**
 * How far a client may lag behind a minimum rate, while it sends a body or takes an answer. A client that stalls or drips
 * is ended: what it uses on the server (memory, a snapshot of the database) would otherwise be used for as long as it likes.
 *
 * Only time counts in which the server waits for the client. Bytes that arrive faster than needed make up for a lag, but do
 * not give time for a later one.
 */

/** Bytes for each second. */
const MIN_RATE = 32 * 1024;

export class Pace {
  readonly #allowed: number;
  #lag = 0;

  /** @param allowed Milliseconds that the client may lag behind. */
  constructor(allowed: number) {
    this.#allowed = allowed;
  }

  /** Milliseconds without a byte after which the client is late. */
  get left(): number {
    return this.#allowed - this.#lag;
  }

  /** The server has waited `time` milliseconds, in which the client has sent or taken `bytes`. */
  waited(time: number, bytes: number): void {
    this.#lag = Math.max(0, this.#lag + time - (bytes * 1000) / MIN_RATE);
  }
}
