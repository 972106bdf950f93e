/**
 * Histories of several keys: clients that move amounts between accounts by `atomic()`, and read all accounts at once.
 *
 * Invariant: the balances and the holds, which are worth {@link HOLD} each, have one sum in every read. Each unit also writes an entry of
 * a log, so that at the end it is known of each whether it has applied.
 */
import { vi } from 'vitest';
import {
  type AtomicOperation,
  ConflictError,
  type KeyValueStorage,
  StorageError,
  type StoredEntry,
} from '../../src/index.ts';
import type { Call, Invocation } from './linearizability.ts';
import type { Random } from './random.ts';

const ACCOUNTS = 3;
const HOLDS = 3;
const OPENING = 100;
const HOLD = 10;

/** Writes of a unit: two accounts, or an account and a hold; and an entry of the log. */
export const UNIT_WRITES = 3;

/** What is read of an account: a balance, and the unit that made it, so that no value occurs twice. */
interface Account {
  readonly balance: number;
  readonly by: string;
}

/** What came of a unit, as its client was told. */
type Told = 'applied' | 'refused' | 'unknown';

/** What was found in a history. */
export interface Transfers {
  /** Of each account. */
  readonly histories: ReadonlyArray<{
    readonly opening: string;
    readonly invocations: readonly Invocation[];
  }>;
  readonly told: Readonly<Record<Told, number>>;
  readonly reads: number;
  /** Writes that have set it up. */
  readonly opening: number;
  /** Units that have applied. */
  readonly applied: number;
  /** What must not be. */
  readonly violations: readonly string[];
}

interface Setting {
  readonly clients: readonly KeyValueStorage[];
  /** Sets up, and looks at the end. Nothing fails for it. */
  readonly witness: KeyValueStorage;
  /** Ends the faults, so that the writes in doubt can be settled. */
  heal(): void;
  /** What the keys begin with. */
  readonly prefix: string;
  /** Of each client. */
  readonly steps: number;
  readonly random: Random;
}

/** Lets the clients move amounts, and compares what they were told and what they read with what has happened. */
export async function recordTransfers({
  clients,
  witness,
  heal,
  prefix,
  steps,
  random,
}: Setting): Promise<Transfers> {
  const accounts = Array.from({ length: ACCOUNTS }, (_, i) => `${prefix}/account-${i}`);
  const holds = Array.from({ length: HOLDS }, (_, i) => `${prefix}/hold-${i}`);
  const opening: Account = { balance: OPENING, by: 'opening' };
  await witness.setMany([
    ...accounts.map((key) => [key, opening] as const),
    ...holds.map((key) => [key, HOLD] as const),
  ]);
  const invocations = new Map(accounts.map((key): [string, Invocation[]] => [key, []]));
  const units = new Map<string, Told>();
  const told: Record<Told, number> = { applied: 0, refused: 0, unknown: 0 };
  const violations: string[] = [];
  let reads = 0;
  let time = 0;
  const tick = (): number => ++time;

  const note = (client: number, start: number, end: number | undefined, key: string, call: Call): void =>
    void invocations.get(key)?.push({ client, start, end, call });

  /** All keys in one batch. */
  async function read(client: number, storage: KeyValueStorage): Promise<Map<string, StoredEntry>> {
    const start = tick();
    const keys = [...accounts, ...holds];
    const found = await Promise.all(keys.map((key) => storage.getEntry(key)));
    const end = tick();
    const entries = new Map(found.flatMap((entry, i) => (entry ? [[keys[i] as string, entry]] : [])));
    for (const key of accounts)
      note(client, start, end, key, { type: 'read', found: textOf(entries.get(key)?.value) });
    const sum = [...entries.values()].reduce((total, { value }) => total + amountOf(value), 0);
    if (sum !== ACCOUNTS * OPENING + HOLDS * HOLD)
      violations.push(`client ${client} has read a sum of ${sum}`);
    reads += 1;
    return entries;
  }

  /** Move an amount, on what was read. */
  async function move(
    client: number,
    storage: KeyValueStorage,
    entries: Map<string, StoredEntry>,
    name: string,
  ): Promise<void> {
    const to = random.pick(accounts);
    const from = random.pick([...accounts, ...holds].filter((key) => key !== to && entries.has(key)));
    const amount = holds.includes(from) ? HOLD : 1 + random.below(20);
    const changes = new Map([[to, amount], ...(holds.includes(from) ? [] : [[from, -amount] as const])]);
    const parts: AtomicOperation[] = [...changes].map(([key, by]) => {
      const { value, revision } = entries.get(key) as StoredEntry;
      return {
        set: key,
        value: { balance: (value as Account).balance + by, by: name },
        ifRevision: revision,
      };
    });
    if (holds.includes(from)) parts.push({ delete: from, ifRevision: entries.get(from)?.revision as string });
    const start = tick();
    const outcome = await storage
      .atomic([...parts, { set: `${prefix}/log/${name}`, value: { from, to, amount } }])
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    const end = tick();
    const isRefused = outcome instanceof ConflictError;
    if (outcome !== undefined && !isRefused && !leavesDoubt(outcome)) throw outcome;
    const result: Told = outcome === undefined ? 'applied' : isRefused ? 'refused' : 'unknown';
    units.set(name, result);
    told[result] += 1;
    for (const [key, by] of changes) {
      const account = entries.get(key)?.value as Account;
      const expected = textOf(account) as string;
      if (result !== 'refused')
        note(client, start, result === 'applied' ? end : undefined, key, {
          type: 'cas',
          expected,
          value: textOf({ balance: account.balance + by, by: name }),
        });
      else if (isRefused && outcome.key === key) note(client, start, end, key, { type: 'refused', expected });
    }
  }

  await Promise.all(
    clients.map(async (storage, client) => {
      for (let step = 0; step < steps; step += 1) {
        const entries = await read(client, storage).catch((error: unknown) => {
          if (!leavesDoubt(error)) throw error;
          return undefined;
        });
        if (entries) await move(client, storage, entries, `${client}.${step}`);
      }
    }),
  );

  heal();
  // A write that may still arrive is settled before the next one. Otherwise it could apply between the reads.
  await Promise.all(
    clients.map((storage) => vi.waitFor(() => storage.delete(`${prefix}/none`), { timeout: 30_000 })),
  );
  const last = await read(clients.length, witness);
  const log = await witness.getMany([...units.keys()].map((name) => `${prefix}/log/${name}`));
  const balances = new Map(accounts.map((key) => [key, OPENING]));
  let applied = 0;
  for (const [i, [name, result]] of [...units].entries()) {
    const entry = log[i] as { from: string; to: string; amount: number } | undefined;
    if (entry ? result === 'refused' : result === 'applied')
      violations.push(`unit ${name} was ${result}, and ${entry ? 'has' : 'has not'} applied`);
    if (!entry) continue;
    applied += 1;
    balances.set(entry.to, (balances.get(entry.to) ?? 0) + entry.amount);
    if (balances.has(entry.from)) balances.set(entry.from, (balances.get(entry.from) ?? 0) - entry.amount);
    else if (last.has(entry.from))
      violations.push(`unit ${name} has applied, and ${entry.from} is still there`);
  }
  for (const [key, balance] of balances)
    if (amountOf(last.get(key)?.value) !== balance)
      violations.push(`${key} is ${amountOf(last.get(key)?.value)}, and ${balance} by what has applied`);
  return {
    histories: [...invocations.values()].map((calls) => ({
      opening: textOf(opening) as string,
      invocations: calls.sort((a, b) => a.start - b.start),
    })),
    told,
    reads,
    opening: ACCOUNTS + HOLDS,
    applied,
    violations,
  };
}

const amountOf = (value: unknown): number =>
  typeof value === 'number' ? value : ((value as Account | undefined)?.balance ?? 0);

const textOf = (value: unknown): string | undefined => {
  const account = value as Account | undefined;
  return account && `${account.balance} by ${account.by}`;
};

/** Whether it is not known, after such a rejection, if a unit has applied or will. */
const leavesDoubt = (error: unknown): boolean =>
  error instanceof StorageError && (error.code === 'timeout' || error.code === 'unavailable');
