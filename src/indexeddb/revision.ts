/**
 * Revisions over a store that keeps none: a fingerprint of the value (docs/guide.md, Revisions).
 *
 * Loaded only when a call needs it. Everything here is synchronous: a comparison and the write that depends on it share a
 * transaction, and a transaction ends when it has to wait for anything else.
 */
import { fulfilled, type Outcome, type Revised, rejected, type StoredEntry } from '../core/backend.ts';
import { ConflictError } from '../core/conflict.ts';
import { describe } from '../core/envelope.ts';
import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { snapshot } from '../core/values.ts';

/** What is under a key: an object even where the value is `undefined`, nothing where there is no such key. */
export type Found = { readonly value: unknown } | undefined | null;

/**
 * What becomes of an operation that depends on what is there; nothing where the write is to go on.
 *
 * @throws {StorageError} `unsupported-value` for a value that another program stored and that has no text.
 */
export function outcomeOf(operation: Revised, found: Found): Outcome | undefined {
  const current = found ? entryOf(operation.key, found.value) : undefined;
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

/** Two hashes of 53 bits over the value's text. */
function revisionOf(value: unknown): string {
  const { plain, value: copy } = snapshot(value);
  // A plain value may look like the text of one that is not.
  const text = plain ? `p${JSON.stringify(copy)}` : `r${describe(copy)}`;
  return `idb.${[1, 2].map((seed) => hash(text, seed).toString(36)).join('-')}`;
}
