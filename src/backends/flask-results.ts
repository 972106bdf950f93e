/**
 * What the results of a batch mean: entries, conflicts, and why the server refused an operation.
 */
import type { StoredEntry } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import type { Delivered, Delivery } from './flask-delivery.ts';
import { refusal } from './flask-http.ts';
import type { Result } from './flask-level1.ts';
import { decodeAt } from './flask-texts.ts';

/** Why the server refused one operation of a batch. */
export function errorOf(type: string, key: string, { status, error }: Result): StorageError {
  const subject = `${type} of ${key}`;
  return (
    refusal(status, subject, `: ${error}`) ??
    new StorageError('refused', `${subject} was refused with status ${status}: ${error}`)
  );
}

/** What a result shows to be there. */
export async function entryOf(key: string, { value, revision }: Result): Promise<StoredEntry | undefined> {
  if (value === undefined || revision === undefined) return undefined;
  return { value: await decodeAt(key, value.json), revision };
}

/**
 * What is there now, for each failed precondition whose result names a revision but had no room for the value.
 *
 * @returns From such a result to one with a value, or to a 412 without a revision where nothing is there any more.
 */
export async function currentOf(
  delivery: Delivery,
  results: ReadonlyArray<readonly [key: string, result: Delivered]>,
): Promise<ReadonlyMap<Delivered, Delivered>> {
  const bare = results.filter(
    ([, result]) =>
      !(result instanceof StorageError) &&
      result.status === 412 &&
      result.revision !== undefined &&
      result.value === undefined,
  );
  if (bare.length === 0) return new Map();
  const read = await delivery.deliver(bare.map(([key]) => ({ op: 'get', key })));
  return new Map(
    bare.map(([, result], i) => {
      const found = read[i] as Delivered;
      return [
        result,
        found instanceof StorageError || (found.status !== 200 && found.status !== 404)
          ? found
          : { ...found, status: 412 },
      ];
    }),
  );
}
