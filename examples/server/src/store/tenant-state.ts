/**
 * A tenant inside a transaction: what was read of it, and on top of that what the batches so far have changed. Nothing is
 * written before all batches have run, and an atomic batch that fails is undone here.
 */
import { ClientState } from './client-state.ts';
import { exceeds, type Quota, type Usage } from './quota.ts';
import type { ClientChanges, Head, StoredClient, TenantChanges, Transaction } from './transaction.ts';

/** A changed entry. Without a value it was deleted. */
interface ChangedEntry {
  readonly rev: number;
  readonly value: string | undefined;
}

/** The part of a result that gets its value later. */
interface ValueSlot {
  value?: string;
}

/** What must be read before the batches run. */
export interface Needs {
  /** Keys whose values may be needed. */
  readonly values: Set<string>;
  /** Keys of which only the revision and the size are needed. */
  readonly heads: Set<string>;
  /** Clients, each with the numbers of the mutations that its batches name. */
  readonly clients: Map<string, Set<number>>;
  /** What the tenant may use, if it is limited and a batch changes what it uses. */
  quota?: Quota | undefined;
}

/** Values up to this size are read together with their revision, which saves a statement. */
const SMALL_VALUE_BYTES = 4096;

export class TenantState {
  readonly #tenant: string;
  readonly #stored: ReadonlyMap<string, Head>;
  readonly #storedClients: ReadonlyMap<string, StoredClient>;
  #seq: number;
  readonly #seqBefore: number;
  #cleared: number | undefined;
  #entries = new Map<string, ChangedEntry>();
  readonly #clients = new Map<string, ClientState>();
  /** Results that wait for a stored value. */
  #unread: Array<readonly [key: string, result: ValueSlot]> = [];
  /** How to undo the changes of the current atomic batch; `undefined` outside of one. */
  #undo: Array<() => void> | undefined;
  readonly #quota: Quota;
  /** Counted only for a tenant with a quota. */
  #usage: Usage | undefined;

  constructor(
    tenant: string,
    seq: number,
    stored: ReadonlyMap<string, Head>,
    clients: ReadonlyMap<string, StoredClient>,
    quota: Quota,
    usage: Usage | undefined,
  ) {
    this.#tenant = tenant;
    this.#seq = seq;
    this.#seqBefore = seq;
    this.#stored = stored;
    this.#storedClients = clients;
    this.#quota = quota;
    this.#usage = usage;
  }

  static async load(
    transaction: Transaction,
    tenant: string,
    { values, heads, clients, quota }: Needs,
  ): Promise<TenantState> {
    const seq = await transaction.lock(tenant);
    const found = values.size === 0 ? NONE : await transaction.heads(tenant, values, SMALL_VALUE_BYTES);
    const others = heads.size === 0 ? NONE : await transaction.heads(tenant, heads, 0);
    const stored = others.size === 0 ? found : new Map([...others, ...found]);
    const known = clients.size === 0 ? NONE : await transaction.clients(tenant, clients);
    const usage = quota && (await transaction.usage(tenant, seq));
    return new TenantState(tenant, seq, stored, known, quota ?? {}, usage);
  }

  get seq(): number {
    return this.#seq;
  }

  /** What the tenant uses, if that is counted. */
  get usage(): Usage | undefined {
    return this.#usage;
  }

  /** The current revision and size of a key; `undefined` when it is missing. */
  head(key: string): { readonly rev: number; readonly size: number } | undefined {
    const changed = this.#entries.get(key);
    if (changed !== undefined) {
      const { rev, value } = changed;
      return value === undefined ? undefined : { rev, size: Buffer.byteLength(value) };
    }
    return this.#cleared === undefined ? this.#stored.get(key) : undefined;
  }

  /** The current revision of a key; `undefined` when it is missing. */
  rev(key: string): number | undefined {
    const changed = this.#entries.get(key);
    if (changed !== undefined) return changed.value === undefined ? undefined : changed.rev;
    return this.#cleared === undefined ? this.#stored.get(key)?.rev : undefined;
  }

  /** Sets `result.value` to the current value of a key that exists, immediately or in `readValues`. */
  fillValue(key: string, result: ValueSlot): void {
    const { value } = this.#entries.get(key) ?? this.#stored.get(key) ?? {};
    if (value === undefined) this.#unread.push([key, result]);
    else result.value = value;
  }

  /** What the tenant uses and may use, if a put is over its quota; `undefined` if it can be carried out. */
  overQuota(key: string, value: string): { readonly used: Usage; readonly quota: Quota } | undefined {
    const used = this.#usage;
    if (used === undefined || !exceeds(this.#quota, used, this.#usageAfter(used, key, value)))
      return undefined;
    return { used, quota: this.#quota };
  }

  put(key: string, value: string): number {
    const rev = this.#nextSeq();
    this.#change(key, { rev, value });
    return rev;
  }

  /** The key exists. */
  delete(key: string): number {
    const rev = this.#nextSeq();
    this.#change(key, { rev, value: undefined });
    return rev;
  }

  clear(): number {
    const rev = this.#nextSeq();
    const entries = this.#entries;
    const cleared = this.#cleared;
    const usage = this.#usage;
    this.#undo?.push(() => {
      this.#entries = entries;
      this.#cleared = cleared;
      this.#usage = usage;
    });
    this.#entries = new Map();
    this.#cleared = rev;
    this.#usage = usage && { keys: 0, bytes: 0 };
    return rev;
  }

  /** The client as the batches so far have left it. */
  client(id: string): ClientState {
    let client = this.#clients.get(id);
    if (client === undefined) {
      client = new ClientState(this.#storedClients.get(id));
      this.#clients.set(id, client);
    }
    return client;
  }

  /** Runs `work`, and undoes its changes unless it returns `true`. */
  atomically(work: () => boolean): void {
    const seq = this.#seq;
    const unread = this.#unread.length;
    this.#undo = [];
    const isKept = work();
    if (!isKept) {
      for (const undo of this.#undo.reverse()) undo();
      this.#seq = seq;
      this.#unread.length = unread;
    }
    this.#undo = undefined;
  }

  /** Reads the values that results wait for. They were stored before this transaction. */
  async readValues(transaction: Transaction): Promise<void> {
    if (this.#unread.length === 0) return;
    const values = await transaction.values(this.#tenant, new Set(this.#unread.map(([key]) => key)));
    for (const [key, result] of this.#unread) {
      const value = values.get(key);
      if (value !== undefined) result.value = value;
    }
  }

  async write(transaction: Transaction): Promise<void> {
    const clients = new Map<string, ClientChanges>();
    for (const [id, client] of this.#clients) if (client.isChanged) clients.set(id, client.changes());
    if (this.#seq === this.#seqBefore && clients.size === 0) return;
    const changes: TenantChanges = {
      seq: this.#seq,
      cleared: this.#cleared,
      entries: this.#entries,
      clients,
      usage: this.#seq === this.#seqBefore ? undefined : this.#usage,
    };
    await transaction.write(this.#tenant, changes);
  }

  #nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  #change(key: string, entry: ChangedEntry): void {
    const entries = this.#entries;
    const usage = this.#usage;
    if (this.#undo) {
      const before = entries.get(key);
      this.#undo.push(() => {
        this.#usage = usage;
        if (before === undefined) entries.delete(key);
        else entries.set(key, before);
      });
    }
    this.#usage = usage && this.#usageAfter(usage, key, entry.value);
    entries.set(key, entry);
  }

  /** What the tenant uses after a change of one key. */
  #usageAfter(usage: Usage, key: string, value: string | undefined): Usage {
    const before = this.head(key);
    return {
      keys: usage.keys + Number(value !== undefined) - Number(before !== undefined),
      bytes: usage.bytes + (value === undefined ? 0 : Buffer.byteLength(value)) - (before?.size ?? 0),
    };
  }
}

const NONE: ReadonlyMap<string, never> = new Map<string, never>();
