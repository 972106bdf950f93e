/**
 * One transaction of a database, as the rules in batch.ts need it: statements, no rules.
 *
 * The rules read everything that they need about a tenant first, in sets, then decide without I/O, and write last. So a
 * driver needs a constant number of statements for a group of batches, whatever number of keys it has. No statement
 * depends on another's result within `write`, so a driver may send them together.
 *
 * All reads of a transaction see one committed state. In a transaction that writes, `lock` serializes the tenant: until the
 * end, no other transaction changes it. SQLite has one writer and locks at `BEGIN IMMEDIATE`; a database server locks the
 * tenant's row (`SELECT … FOR UPDATE`) and reads afterwards. The rules lock tenants in a fixed order: no deadlock arises.
 */
import type { Usage } from './quota.ts';
import type { Result } from './store.ts';

export interface Transaction {
  /** Locks the tenant, if this transaction writes, and resolves with its sequence number: 0 for a new tenant. */
  lock(tenant: string): Promise<number>;
  /** Finds clients, each with those of the wanted mutations that are stored. Unknown clients are absent from the result. */
  clients(
    tenant: string,
    wanted: ReadonlyMap<string, ReadonlySet<number>>,
  ): Promise<ReadonlyMap<string, StoredClient>>;
  /** Finds entries. Missing keys are absent from the result. Reads values of up to `maxValueBytes` bytes with them. */
  heads(tenant: string, keys: ReadonlySet<string>, maxValueBytes: number): Promise<ReadonlyMap<string, Head>>;
  /** Reads the values of keys that exist. */
  values(tenant: string, keys: ReadonlySet<string>): Promise<ReadonlyMap<string, string>>;
  /** What the tenant uses at sequence number `seq`: as it was stored at that number, or counted. */
  usage(tenant: string, seq: number): Promise<Usage>;
  /** Applies the changes of a tenant. */
  write(tenant: string, changes: TenantChanges): Promise<void>;
}

/** An entry without its value, unless that is small. */
export interface Head {
  readonly rev: number;
  /** UTF-8 bytes of the value. */
  readonly size: number;
  readonly value?: string | undefined;
}

/** The results of a mutation's writes, without values; `'void'` if its client gave it up before it was applied. */
export type StoredMutation = readonly Result[] | 'void';

/** A client that has numbered its mutations. */
export interface StoredClient {
  /** The client will not ask again for its mutations up to this number. They may have been deleted. */
  readonly settled: number;
  /** The highest number of a mutation, applied or void. */
  readonly top: number;
  readonly mutations: ReadonlyMap<number, StoredMutation>;
}

/** The new state of a client. */
export interface ClientChanges {
  readonly settled: number;
  readonly top: number;
  /** The mutations to store. */
  readonly added: ReadonlyMap<number, StoredMutation>;
  /** The stored mutations up to this number are deleted. */
  readonly deleteUpTo?: number | undefined;
}

/** What a transaction changes of one tenant. */
export interface TenantChanges {
  /** The new sequence number. */
  readonly seq: number;
  /** The sequence number of a clear. It deletes all earlier entries and tombstones; `entries` came after it. */
  readonly cleared?: number | undefined;
  /** The last state of each changed key. Without a value it is a tombstone. */
  readonly entries: ReadonlyMap<string, { readonly rev: number; readonly value: string | undefined }>;
  readonly clients: ReadonlyMap<string, ClientChanges>;
  /** What the tenant uses afterwards, if that is counted. */
  readonly usage?: Usage | undefined;
}
