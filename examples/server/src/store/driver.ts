/**
 * What a database server must offer to be a store: statements, transactions and the meaning of its errors. The rest, the
 * same for all of them, is in pooled-store.ts.
 */
import type { Change, Entry, KeyPage, Range, Snapshot, Stats, StoreErrorCode } from './store.ts';
import type { Transaction } from './transaction.ts';

export interface Driver {
  /** Identifies this incarnation of the data. */
  readonly epoch: string;
  readonly databaseName: string;
  /**
   * Runs `work` in a transaction and commits it durably. Any failure before the commit has rolled it back.
   *
   * @throws {UnknownOutcome} if the database did not say whether it has committed.
   */
  write<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>;
  /** Runs `work` over one committed state of each tenant that it locks. */
  read<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>;
  /** The tenants with a sequence number above 0. */
  tenants(): Promise<string[]>;
  /** The sequence numbers of tenants. Unknown tenants are absent from the result. */
  seqs(tenants: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** One entry for each address, `undefined` for a missing key. */
  entries(addresses: readonly Address[]): Promise<ReadonlyArray<Entry | undefined>>;
  list(tenant: string, range: Range): Promise<KeyPage>;
  stats(tenant: string): Promise<Stats>;
  changes(tenant: string, after: number, room: PageRoom): Promise<TenantLog>;
  snapshot(tenant: string): Promise<Snapshot>;
  /** Deletes tombstones and silent clients that are older than `time` (milliseconds since 1970). */
  expire(time: number): Promise<void>;
  /** A way to tell other processes of changes sooner than they poll. May lose any hint. */
  readonly hints?: Hints;
  failureOf(error: unknown): Failure;
  close(): Promise<void>;
}

/** Where an entry is. */
export interface Address {
  readonly tenant: string;
  readonly key: string;
}

/** The room of a page: rows, and bytes of values. */
export interface PageRoom {
  readonly limit: number;
  readonly bytes: number;
}

/** A tenant, and its rows after a cursor in the order of revisions. */
export interface TenantLog {
  readonly seq: number;
  /** The number of the last clear. */
  readonly cleared: number;
  /** The highest revision of all expired tombstones. */
  readonly forgotten: number;
  readonly changes: readonly Change[];
  /** Whether there are rows after these. */
  readonly more: boolean;
}

export interface Hints {
  /** Tells other processes that these tenants have changed. Not awaited by anyone. */
  send(tenants: readonly string[]): void;
  /** Sets who is called for the hints of other processes. */
  receive(listener: (tenant: string) => void): void;
}

/**
 * What an error means. `conflict`: the transaction was rolled back because of another one. `disconnected`: the connection
 * was lost, or its server takes no writes any more. After both, nothing was applied and the call can be repeated.
 */
export type Failure = 'conflict' | 'disconnected' | StoreErrorCode;

/** A commit was sent, and the database did not say whether it was carried out, or whether it is durable. */
export class UnknownOutcome extends Error {
  override readonly name = 'UnknownOutcome';

  constructor(cause: unknown) {
    super('The outcome of a commit is unknown', { cause });
  }
}

/** Milliseconds. */
export const TIME_LIMITS = {
  /** To connect to one host, or to get a connection of the pool. */
  connect: 5000,
  /** For the lock of a tenant. */
  lock: 5000,
  /** For one statement. A clear of a large tenant is the longest. */
  statement: 30_000,
  /** An unused connection is closed after this. */
  idle: 60_000,
} as const;
