/**
 * The rules of batches over a `Transaction`: conditions, atomicity, numbered mutations, and the room for values in an
 * answer.
 *
 * The rules themselves are synchronous: a group of batches reads first, decides, and then writes.
 *
 * Spec: docs/contract.md, 5.
 */
import type { ClientState } from './client-state.ts';
import { NO_QUOTAS, type QuotaOf } from './quota.ts';
import {
  type Batch,
  type Condition,
  isWrite,
  type MutationRefusal,
  type Operation,
  type Outcome,
  type Result,
} from './store.ts';
import { type Needs, TenantState } from './tenant-state.ts';
import type { StoredMutation, Transaction } from './transaction.ts';

/** A batch and its tenant. */
export interface TenantBatch {
  readonly tenant: string;
  readonly batch: Batch;
}

/**
 * Runs batches in their order in one transaction, and resolves with one outcome for each.
 *
 * Awaits nothing but `transaction`. Rejects when that does; the transaction must then be rolled back.
 *
 * @param answerBytes Bytes of values in the results of one batch.
 * @param quotaOf What tenants may store.
 */
export async function runBatches(
  transaction: Transaction,
  batches: readonly TenantBatch[],
  answerBytes: number,
  quotaOf: QuotaOf = NO_QUOTAS,
): Promise<Outcome[]> {
  const states = new Map<string, TenantState>();
  // In a fixed order, so that two transactions cannot each hold a lock that the other needs.
  for (const [tenant, needs] of [...needsOf(batches, quotaOf)].sort(([a], [b]) => (a < b ? -1 : 1)))
    states.set(tenant, await TenantState.load(transaction, tenant, needs));
  const outcomes = batches.map(({ tenant, batch }) =>
    runBatch(states.get(tenant) as TenantState, batch, answerBytes),
  );
  // Before `write`, which replaces what results refer to.
  for (const state of states.values()) await state.readValues(transaction);
  for (const state of states.values()) await state.write(transaction);
  return outcomes;
}

/** What the batches need to know about each tenant. */
function needsOf(batches: readonly TenantBatch[], quotaOf: QuotaOf): ReadonlyMap<string, Needs> {
  const needs = new Map<string, Needs>();
  for (const { tenant, batch } of batches) {
    let need = needs.get(tenant);
    if (need === undefined) {
      need = { values: new Set(), heads: new Set(), clients: new Map() };
      needs.set(tenant, need);
    }
    addClient(need, batch);
    const quota = batch.operations.some(changesUsage) ? quotaOf(tenant) : undefined;
    need.quota ??= quota;
    for (const operation of batch.operations) {
      if (operation.type === 'get') need.values.add(operation.key);
      else if (operation.type === 'put' && (operation.condition || quota)) need.heads.add(operation.key);
      else if (operation.type === 'head' || operation.type === 'delete' || operation.type === 'check')
        need.heads.add(operation.key);
    }
  }
  for (const { values, heads } of needs.values()) for (const key of values) heads.delete(key);
  return needs;
}

const changesUsage = ({ type }: Operation): boolean =>
  type === 'put' || type === 'delete' || type === 'clear';

function addClient(need: Needs, { client, m, voided }: Batch): void {
  if (client === undefined) return;
  const numbers = need.clients.get(client) ?? new Set();
  need.clients.set(client, numbers);
  const number = m ?? voided;
  if (number !== undefined) numbers.add(number);
}

function runBatch(state: TenantState, batch: Batch, answerBytes: number): Outcome {
  if (batch.client === undefined) {
    const results = applyBatch(state, batch, answerBytes);
    return { seq: state.seq, results };
  }
  const client = state.client(batch.client);
  const { top } = client;
  const number = batch.m ?? batch.voided;
  const stored = number === undefined ? undefined : client.mutation(number);
  const refused = number === undefined ? undefined : mutationRefusal(client, batch, number, stored);
  if (refused !== undefined) return { refused, top };
  if (number !== undefined || batch.settled !== undefined) client.use(batch.settled ?? 0);
  if (batch.voided !== undefined) return giveUp(state, client, batch.voided, stored, top);
  if (stored !== undefined && stored !== 'void') {
    const results = repeat(state, batch.operations, stored, answerBytes);
    return { seq: state.seq, results, top };
  }
  const results = applyBatch(state, batch, answerBytes);
  if (batch.m !== undefined) {
    const written = results.filter((_, i) => isWrite(batch.operations[i] as Operation));
    client.save(batch.m, written.map(withoutValue));
  }
  return { seq: state.seq, results, top };
}

/** Why mutation `number` cannot be applied, repeated or given up; `undefined` if it can. */
function mutationRefusal(
  client: ClientState,
  { operations, voided }: Batch,
  number: number,
  stored: StoredMutation | undefined,
): MutationRefusal | undefined {
  if (number <= client.settled) return 'settled';
  if (voided !== undefined || stored === undefined) return undefined;
  if (stored === 'void') return 'void';
  return stored.length === operations.filter(isWrite).length ? undefined : 'mutation-changed';
}

/** Gives up mutation `m`: returns its results if it was applied, and otherwise makes sure that it never is. */
function giveUp(
  { seq }: TenantState,
  client: ClientState,
  m: number,
  stored: StoredMutation | undefined,
  top: number,
): Outcome {
  if (stored !== undefined && stored !== 'void') return { seq, results: stored, top };
  client.save(m, 'void');
  return { seq, results: [], top, isVoid: true };
}

/** The stored results of the writes in their order, and new results of the reads. */
function repeat(
  state: TenantState,
  operations: readonly Operation[],
  stored: readonly Result[],
  answerBytes: number,
): Result[] {
  const room = new Room(answerBytes);
  const left = stored.values();
  return operations.map((operation) =>
    isWrite(operation) ? (left.next().value as Result) : apply(state, operation, room),
  );
}

function applyBatch(state: TenantState, { operations, atomic }: Batch, answerBytes: number): Result[] {
  const room = new Room(answerBytes);
  if (!atomic) return operations.map((operation) => apply(state, operation, room));

  const results: Result[] = [];
  let failed: Operation | undefined;
  state.atomically(() => {
    failed = operations.find((operation) => {
      const result = apply(state, operation, room);
      results.push(result);
      return isFailure(operation, result);
    });
    return failed === undefined;
  });
  if (failed === undefined) return results;
  const failure = results.at(-1) as Result;
  return operations.map((operation) =>
    operation === failed ? resultAfterUndo(state, operation, failure) : { outcome: 'not-applied' },
  );
}

/** Whether an operation makes its atomic batch fail. A read never does. */
function isFailure(operation: Operation, { outcome }: Result): boolean {
  return isWrite(operation) && outcome !== 'ok' && outcome !== 'missing';
}

/** A failure reports the stored state, not one that the undone part of its batch had made. */
function resultAfterUndo(state: TenantState, operation: Operation, result: Result): Result {
  if (result.outcome === 'quota-exceeded') return { ...result, used: state.usage ?? result.used };
  if (result.outcome !== 'condition-failed') return result;
  return 'key' in operation
    ? conditionFailed(state, operation.key, new Room(0))
    : { outcome: 'condition-failed', rev: state.seq };
}

function apply(state: TenantState, operation: Operation, room: Room): Result {
  switch (operation.type) {
    case 'refused':
      return operation.result;
    case 'get': {
      const head = state.head(operation.key);
      if (head === undefined) return { outcome: 'missing' };
      if (!room.take(head.size)) return { outcome: 'answer-too-large' };
      const result: { outcome: 'ok'; rev: number; value?: string } = { outcome: 'ok', rev: head.rev };
      state.fillValue(operation.key, result);
      return result;
    }
    case 'head': {
      const head = state.head(operation.key);
      return head ? { outcome: 'ok', rev: head.rev, size: head.size } : { outcome: 'missing' };
    }
    case 'put': {
      const { key, value, condition } = operation;
      if (!isMet(condition, () => state.rev(key))) return conditionFailed(state, key, room);
      const over = state.overQuota(key, value);
      if (over !== undefined) return { outcome: 'quota-exceeded', ...over };
      return { outcome: 'ok', rev: state.put(key, value) };
    }
    case 'delete': {
      const { key, condition } = operation;
      const rev = state.rev(key);
      if (rev === undefined) return { outcome: 'missing' };
      if (!isMet(condition, () => rev)) return conditionFailed(state, key, room);
      return { outcome: 'ok', rev: state.delete(key) };
    }
    case 'check': {
      const { key, condition } = operation;
      const rev = state.rev(key);
      if (!condition(rev)) return conditionFailed(state, key, room);
      return rev === undefined ? { outcome: 'ok' } : { outcome: 'ok', rev };
    }
    case 'clear':
      if (!isMet(operation.condition, () => state.seq))
        return { outcome: 'condition-failed', rev: state.seq };
      return { outcome: 'ok', rev: state.clear() };
  }
}

function isMet(condition: Condition | undefined, rev: () => number | undefined): boolean {
  return condition === undefined || condition(rev());
}

/** With the current state, as far as there is room. */
function conditionFailed(state: TenantState, key: string, room: Room): Result {
  const head = state.head(key);
  if (head === undefined) return { outcome: 'condition-failed' };
  const result: { outcome: 'condition-failed'; rev: number; value?: string } = {
    outcome: 'condition-failed',
    rev: head.rev,
  };
  if (!room.isFull && room.take(head.size)) state.fillValue(key, result);
  return result;
}

/** The result of a write as it is stored. Not the same object: that may get a value later. */
function withoutValue(result: Result): Result {
  return result.outcome === 'condition-failed' ? { outcome: result.outcome, rev: result.rev } : result;
}

/** The room for values in one answer. The first value always fits. After one that does not, none does. */
class Room {
  #left: number;
  #isEmpty = true;
  #isFull = false;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** Whether a value of `bytes` fits; then its room is taken. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    this.#isFull ||= !this.#isEmpty && this.#left < 0;
    this.#isEmpty = false;
    return !this.#isFull;
  }
}
