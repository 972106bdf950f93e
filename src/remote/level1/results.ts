/**
 * What the results of a batch mean: entries, conflicts, and why the server refused an operation.
 */
import type { StoredEntry } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { decodeAt } from '../../core/json.ts';
import { codeOf, explained } from '../http.ts';
import type { Result } from './protocol.ts';

/** Why the server refused one operation of a batch. */
export function errorOf(type: string, key: string, { status, error }: Result): Promise<StorageError> {
  const subject = `${type} of ${key}`;
  return explained(codeOf(status, error), subject, ({ ofOperation }) => ofOperation(subject, status, error));
}

/** What a result shows to be there. */
export async function entryOf(key: string, { value, revision }: Result): Promise<StoredEntry | undefined> {
  if (value === undefined || revision === undefined) return undefined;
  return { value: await decodeAt(key, value.json), revision };
}
