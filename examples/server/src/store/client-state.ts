/**
 * A client's numbered mutations inside a transaction: what is stored of them, and what the batches so far have added.
 *
 * A mutation with a settled number counts as deleted, whether or not its row is still there. Rows are deleted in bulk, because a
 * statement for each mutation costs throughput. So do many rows: then each client's rows are on disk pages of their own, and a
 * group of mutations of many clients writes many pages.
 *
 * Spec: docs/contract.md, 5.11 to 5.14.
 */
import type { ClientChanges, StoredClient, StoredMutation } from './transaction.ts';

/** A client has fewer rows of settled mutations than this. */
const SETTLED_ROWS = 8;

export class ClientState {
  readonly #stored: StoredClient | undefined;
  readonly #added = new Map<number, StoredMutation>();
  #settled: number;
  #top: number;
  #isChanged = false;

  /** @param stored `undefined`: the client is unknown. */
  constructor(stored: StoredClient | undefined) {
    this.#stored = stored;
    this.#settled = stored?.settled ?? 0;
    this.#top = stored?.top ?? 0;
  }

  get settled(): number {
    return this.#settled;
  }

  /** The highest number of a mutation, applied or void. */
  get top(): number {
    return this.#top;
  }

  get isChanged(): boolean {
    return this.#isChanged;
  }

  /** A mutation that is not settled; `undefined` if it was neither applied nor given up. */
  mutation(m: number): StoredMutation | undefined {
    return m <= this.#settled ? undefined : (this.#added.get(m) ?? this.#stored?.mutations.get(m));
  }

  save(m: number, mutation: StoredMutation): void {
    this.#added.set(m, mutation);
    this.#top = Math.max(this.#top, m);
    this.#isChanged = true;
  }

  /** The client has sent a mutation, or given one up, and names the number up to which all are settled. */
  use(settled: number): void {
    this.#settled = Math.max(this.#settled, settled);
    this.#isChanged = true;
  }

  changes(): ClientChanges {
    const block = Math.floor(this.#settled / SETTLED_ROWS);
    const storedBlock = Math.floor((this.#stored?.settled ?? 0) / SETTLED_ROWS);
    return {
      settled: this.#settled,
      top: this.#top,
      added: new Map([...this.#added].filter(([m]) => m > this.#settled)),
      deleteUpTo: block > storedBlock ? this.#settled : undefined,
    };
  }
}
