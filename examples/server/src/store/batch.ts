/**
 * A batch over SQLite, inside a transaction: operations in their order, each write of a client once.
 *
 * Spec: docs/contract.md, 5.
 */
import type { DatabaseSync } from 'node:sqlite';
import {
  ANSWER_TOO_LARGE,
  MISSING,
  NOT_APPLIED,
  parseStored,
  preconditionFailed,
  storedText,
} from './results.ts';
import { type Batch, type Condition, isWrite, type Operation, type Outcome, type Result } from './store.ts';

/** A client's last numbered writes. */
interface Used {
  readonly first: number;
  readonly last: number;
  readonly results: readonly Result[];
}

/** Batches inside a transaction. */
export interface BatchRunner {
  /** Begin a group: what is known of the tenants is read anew. */
  begin(): void;
  run(tenant: string, batch: Batch): Outcome;
  /** Write what the group has counted. */
  end(): void;
}

/** The result of a write that was applied before, if it was. */
const resultOf = ({ n }: Operation, used: Used | undefined): Result | undefined =>
  n === undefined || used === undefined ? undefined : used.results[n - used.first];

/** Whether an operation of an atomic batch takes the others with it: a read never does. */
const isFailure = (operation: Operation, { status }: Result): boolean =>
  isWrite(operation) && status !== 200 && status !== 404;

/** For the values in one answer. */
interface Room {
  /** Whether a value was left out. What comes after it is left out too. */
  readonly full: boolean;
  /** Whether there is room for this one: always for the first. */
  take(value: string): boolean;
}

function createRoom(bytes: number): Room {
  let left = bytes;
  let empty = true;
  let full = false;
  return {
    get full() {
      return full;
    },
    take(value) {
      left -= Buffer.byteLength(value);
      full ||= !empty && left < 0;
      empty = false;
      return !full;
    },
  };
}

/** @param answerBytes Bytes of values in one answer. */
export function createBatchRunner(database: DatabaseSync, answerBytes: number): BatchRunner {
  const readTenant = database.prepare('SELECT seq FROM tenants WHERE tenant = ?');
  const writeTenant = database.prepare(
    'INSERT INTO tenants (tenant, seq) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq',
  );
  const clearTenant = database.prepare(
    'INSERT INTO tenants (tenant, seq, cleared) VALUES (?1, ?2, ?2) ' +
      'ON CONFLICT (tenant) DO UPDATE SET seq = ?2, cleared = ?2, forgotten = 0',
  );
  const readEntry = database.prepare(
    'SELECT value, rev FROM records WHERE tenant = ? AND key = ? AND value IS NOT NULL',
  );
  const readHead = database.prepare(
    'SELECT rev, octet_length(value) AS size FROM records WHERE tenant = ? AND key = ? AND value IS NOT NULL',
  );
  const put = database.prepare(
    'INSERT INTO records (tenant, key, value, rev) VALUES (?, ?, ?, ?) ' +
      'ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value, rev = excluded.rev, deleted_at_ms = NULL',
  );
  const bury = database.prepare(
    'UPDATE records SET value = NULL, rev = ?, deleted_at_ms = ? WHERE tenant = ? AND key = ?',
  );
  const removeAll = database.prepare('DELETE FROM records WHERE tenant = ?');
  const readClient = database.prepare(
    'SELECT first_n, last_n, results FROM clients WHERE tenant = ? AND client = ?',
  );
  const writeClient = database.prepare(
    'INSERT OR REPLACE INTO clients (tenant, client, first_n, last_n, results, used_at_ms) VALUES (?, ?, ?, ?, ?, ?)',
  );

  /** Sequence numbers of the tenants that the group has touched. */
  const counts = new Map<string, { seq: number; counted: boolean }>();
  const countOf = (tenant: string): { seq: number; counted: boolean } => {
    let count = counts.get(tenant);
    if (count === undefined) {
      count = { seq: Number(readTenant.get(tenant)?.seq ?? 0), counted: false };
      counts.set(tenant, count);
    }
    return count;
  };
  const next = (tenant: string): number => {
    const count = countOf(tenant);
    count.counted = true;
    count.seq += 1;
    return count.seq;
  };

  function apply(tenant: string, operation: Operation, room: Room): Result {
    /** What stands against an operation, given the revision that there is. */
    const objection = (condition: Condition | undefined, rev: number | undefined, key?: string) => {
      if (condition === undefined || condition(rev)) return undefined;
      if (key === undefined || rev === undefined || room.full) return preconditionFailed(rev);
      const value = String(readEntry.get(tenant, key)?.value);
      return preconditionFailed(rev, room.take(value) ? value : undefined);
    };
    const revOf = (key: string): number | undefined => {
      const row = readHead.get(tenant, key);
      return row && Number(row.rev);
    };

    switch (operation.type) {
      case 'refused':
        return operation.refused;
      case 'get': {
        const { key } = operation;
        // A value that is not answered is not read either: it may be large, and asked for many times.
        if (room.full) return revOf(key) === undefined ? MISSING : ANSWER_TOO_LARGE;
        const row = readEntry.get(tenant, key);
        if (row === undefined) return MISSING;
        const value = String(row.value);
        return room.take(value) ? { status: 200, rev: Number(row.rev), value } : ANSWER_TOO_LARGE;
      }
      case 'head': {
        const row = readHead.get(tenant, operation.key);
        return row ? { status: 200, rev: Number(row.rev), size: Number(row.size) } : MISSING;
      }
      case 'put': {
        const { key, value, condition } = operation;
        const against = condition && objection(condition, revOf(key), key);
        if (against) return against;
        const rev = next(tenant);
        put.run(tenant, key, value, rev);
        return { status: 200, rev };
      }
      case 'delete': {
        const rev = revOf(operation.key);
        if (rev === undefined) return MISSING;
        const against = objection(operation.condition, rev, operation.key);
        if (against) return against;
        const buried = next(tenant);
        bury.run(buried, Date.now(), tenant, operation.key);
        return { status: 200, rev: buried };
      }
      case 'clear': {
        const against = objection(operation.condition, countOf(tenant).seq);
        if (against) return against;
        const rev = next(tenant);
        removeAll.run(tenant);
        clearTenant.run(tenant, rev);
        return { status: 200, rev };
      }
    }
  }

  function applyAll(tenant: string, { operations }: Batch, used: Used | undefined): Result[] {
    const room = createRoom(answerBytes);
    return operations.map((operation) => resultOf(operation, used) ?? apply(tenant, operation, room));
  }

  /** All or none. The first failure ends it: what was done is undone, and the numbers stay used. */
  function applyAtomically(tenant: string, { operations }: Batch, used: Used | undefined): Result[] {
    const before = { ...countOf(tenant) };
    const room = createRoom(answerBytes);
    const results: Result[] = [];
    database.exec('SAVEPOINT atomic');
    const failed = operations.find((operation) => {
      const result = resultOf(operation, used) ?? apply(tenant, operation, room);
      results.push(result);
      return isFailure(operation, result);
    });
    if (failed) {
      database.exec('ROLLBACK TO atomic');
      counts.set(tenant, before);
    }
    database.exec('RELEASE atomic');
    if (failed === undefined) return results;
    const ended = results.at(-1) as Result;
    return operations.map(
      (operation) =>
        resultOf(operation, used) ?? (operation === failed ? asOfNow(tenant, operation, ended) : NOT_APPLIED),
    );
  }

  /** A failed condition tells what there is, and not what the undone part of its batch had made of it. */
  function asOfNow(tenant: string, operation: Operation, result: Result): Result {
    if (result.status !== 412) return result;
    if (!('key' in operation)) return preconditionFailed(countOf(tenant).seq);
    const row = readEntry.get(tenant, operation.key);
    return row ? preconditionFailed(Number(row.rev), String(row.value)) : preconditionFailed(undefined);
  }

  return {
    begin: () => counts.clear(),
    run(tenant, batch) {
      const numbers = batch.operations.flatMap(({ n }) => n ?? []);
      const first = numbers[0];
      const last = numbers.at(-1);
      let used: Used | undefined;
      if (batch.client !== undefined && first !== undefined) {
        const row = readClient.get(tenant, batch.client);
        if (row === undefined && first > 1) return { refused: 'client-unknown' };
        if (row && (first < Number(row.first_n) || first > Number(row.last_n) + 1))
          return { refused: 'op-gap' };
        used = row && {
          first: Number(row.first_n),
          last: Number(row.last_n),
          results: parseStored(String(row.results)),
        };
      }
      const results = (batch.atomic ? applyAtomically : applyAll)(tenant, batch, used);
      if (
        batch.client !== undefined &&
        first !== undefined &&
        last !== undefined &&
        last > (used?.last ?? 0)
      ) {
        const kept = results.filter((_, i) => batch.operations[i]?.n !== undefined);
        writeClient.run(tenant, batch.client, first, last, storedText(kept), Date.now());
      }
      return { seq: countOf(tenant).seq, results };
    },
    end() {
      for (const [tenant, { seq, counted }] of counts) if (counted) writeTenant.run(tenant, seq);
    },
  };
}
