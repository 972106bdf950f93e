/**
 * Batches in which an operation depends on the stored value: `update`, `getEntry`, and writes with `ifRevision`.
 *
 * Such an operation first reads the value. The operations after it wait for that read, so requests keep the order of the
 * operations, and a comparison and its write share one transaction.
 *
 * IndexedDB stores no revisions. A revision is a fingerprint of the value (docs/guide.md, Revisions). Computing it is
 * synchronous, because a transaction ends when it has to wait for anything but its own requests.
 */
import {
  type AtomicPart,
  type Dependent,
  fulfilled,
  isDependent,
  type Operation,
  type Outcome,
  type Revised,
  rejected,
  type StoredEntry,
} from '../core/backend.ts';
import { ConflictError } from '../core/conflict.ts';
import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { snapshot } from '../core/values.ts';
import { type Connection, type Requested, settled } from './connection.ts';
import { asStorageError, readError, subjectOf } from './errors.ts';
import { issue, outcomesOf } from './requests.ts';
import { fromStored } from './stored-value.ts';

/** The outcome of an operation, the last request that it made, and what that request does. */
interface Decision {
  readonly outcome: Outcome;
  readonly request: Requested;
  readonly requested: Operation;
}

/** Runs a batch in one transaction. */
export async function runConditional(
  { write }: Connection,
  operations: readonly Operation[],
): Promise<Outcome[]> {
  let decided = new Map<Operation, Decision>();
  let failedRead: StorageError | undefined;
  const requests = await write(async (store) => {
    // A lost connection runs this a second time.
    decided = new Map();
    const requests: Requested[] = [];
    let from = 0;
    for (const [i, operation] of operations.entries()) {
      if (!isDependent(operation)) continue;
      requests.push(...issue(store, operations.slice(from, i)));
      const decision = await decide(store, operation);
      const { outcome, request } = decision;
      if (outcome.status === 'rejected' && request.error) failedRead = outcome.reason;
      decided.set(operation, decision);
      requests.push(request);
      from = i + 1;
    }
    requests.push(...issue(store, operations.slice(from)));
    return requests;
  }).catch((error) => {
    // Chromium aborts a transaction in which a value cannot be read, and gives no reason.
    throw operations.length === 1 && failedRead ? failedRead : error;
  });
  const outcomes = outcomesOf(
    operations.map((operation) => decided.get(operation)?.requested ?? operation),
    requests,
  );
  return operations.map((operation, i) => {
    const [outcome, decision] = [outcomes[i] as Outcome, decided.get(operation)?.outcome];
    // The write of an operation whose condition was true may still have failed.
    return decision?.status === 'rejected' || outcome.status === 'fulfilled'
      ? (decision ?? outcome)
      : outcome;
  });
}

/**
 * Carries out all parts in one transaction, or none.
 *
 * @throws {ConflictError} of the first part whose condition is not met.
 */
export async function runAtomic(
  { write }: Pick<Connection, 'write'>,
  parts: readonly AtomicPart[],
): Promise<void> {
  await write(async (store) => {
    for (const part of parts) {
      if (part.ifRevision === undefined) continue;
      const [read] = await settled([store.openCursor(part.key)]);
      if (read.error) throw readError(read.error, part.key, false);
      const failed = outcomeOf(part, read.result);
      if (failed?.status === 'rejected') throw failed.reason;
    }
    const writes = parts.filter((part) => part.type !== 'check');
    const requests = await settled(issue(store, writes));
    for (const outcome of outcomesOf(writes, requests))
      if (outcome.status === 'rejected') throw outcome.reason;
    return requests;
  });
}

/** Reads the current value, decides, and requests the write, if there is one. */
async function decide(store: IDBObjectStore, operation: Dependent): Promise<Decision> {
  const { type, key } = operation;
  // A cursor distinguishes a missing key from a stored `undefined`.
  const [read] = await settled([type === 'update' ? store.get(key) : store.openCursor(key)]);
  const unchanged = (outcome: Outcome): Decision => ({ outcome, request: read, requested: operation });
  const changed = (outcome: Outcome, requested: Operation): Decision => {
    const [request] = issue(store, [requested]) as [Requested];
    return { outcome, request, requested };
  };
  if (read.error) return unchanged(rejected(readError(read.error, key, false)));
  if (type === 'update') {
    try {
      const next = operation.change(fromStored(read.result));
      return changed(fulfilled(next.value), { type: 'put', key, ...next });
    } catch (error) {
      // The app's own error is passed on unchanged.
      return unchanged(rejected(error));
    }
  }
  try {
    const outcome = outcomeOf(operation, read.result as IDBCursorWithValue | null);
    return outcome ? unchanged(outcome) : changed(fulfilled(), operation);
  } catch (error) {
    return unchanged(rejected(asStorageError(error, subjectOf(operation))));
  }
}

/**
 * The outcome of an operation about revisions, or `undefined` if its write is to go ahead.
 *
 * @throws {StorageError} `unsupported-value` if another program stored a value that has no fingerprint.
 */
function outcomeOf(
  operation: Revised | AtomicPart,
  found: { readonly value: unknown } | null,
): Outcome | undefined {
  const current = found ? entryOf(operation.key, fromStored(found.value)) : undefined;
  if (operation.type === 'entry') return fulfilled(current);
  if (operation.ifRevision === (current?.revision ?? null)) return undefined;
  const attempted = operation.type === 'put' ? operation.value : undefined;
  return rejected(new ConflictError(operation.key, attempted, current));
}

function entryOf(key: string, value: unknown): StoredEntry {
  try {
    return { value, revision: revisionOf(value) };
  } catch (cause) {
    const { message } = cause as Error;
    throw new StorageError('unsupported-value', `Key ${key} has no revision: ${message}`, { cause });
  }
}

/** Two 53-bit hashes of the value's text. */
export function revisionOf(value: unknown): string {
  const { plain, value: copy } = snapshot(value);
  // The marks keep a plain value apart from the description of another one.
  const text = plain ? `p${JSON.stringify(copy)}` : `r${describe(copy)}`;
  return `idb.${[1, 2].map((seed) => hash(text, seed).toString(36)).join('-')}`;
}

/** Bytes that one call turns into text: the number of arguments of a call is limited. */
const CHUNK_BYTES = 8192;

/** A text that differs for different values that `snapshot` accepts. A Blob counts without its bytes. */
function describe(root: unknown): string {
  const seen = new Map<unknown, number>();
  const textOf = (value: unknown): string => {
    if (typeof value === 'string') return JSON.stringify(value);
    if (typeof value !== 'object' || value === null)
      return Object.is(value, -0) ? '-0' : `${String(value)}${typeof value === 'bigint' ? 'n' : ''}`;
    const known = seen.get(value);
    if (known !== undefined) return `#${known}`;
    seen.set(value, seen.size);
    const tag = Object.prototype.toString.call(value).slice(8, -1);
    return `${tag}(${partsOf(value, tag).map(textOf).join()})`;
  };
  return textOf(root);
}

/** What distinguishes an object from others of its type. */
function partsOf(value: object, tag: string): unknown[] {
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return [...value];
  if (value instanceof Date) return [value.getTime()];
  if (value instanceof RegExp) return [String(value)];
  if (value instanceof Blob) {
    const { name, lastModified } = value as Partial<File>;
    return [value.size, value.type, name, lastModified];
  }
  if (ArrayBuffer.isView(value)) return [value.byteOffset, value.byteLength, value.buffer];
  if (tag === 'ArrayBuffer') return [bytesOf(value as ArrayBuffer)];
  if (value instanceof Error) return [value.name, value.message, value.stack, 'cause' in value, value.cause];
  return [Array.isArray(value) && value.length, ...Object.entries(value).flat()];
}

function bytesOf(buffer: ArrayBuffer): string {
  let text = '';
  for (let at = 0; at < buffer.byteLength; at += CHUNK_BYTES)
    text += String.fromCharCode(...new Uint8Array(buffer, at, Math.min(CHUNK_BYTES, buffer.byteLength - at)));
  return text;
}
