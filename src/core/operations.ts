/**
 * The operations that not every app uses, and what their arguments may be: writes for one state, and updates.
 */
import type { Operation } from './backend.ts';
import { StorageError } from './errors.ts';
import { snapshotFor } from './values.ts';

const invalid = (text: string): StorageError => new StorageError('invalid-option', text);

/**
 * A put or a delete that is carried out only for the state that `options` name.
 *
 * @throws {StorageError} `invalid-option`
 */
export function withCondition(write: Operation, options: unknown): Operation {
  if (typeof options !== 'object' || !options || Object.keys(options).some((name) => name !== 'ifRevision'))
    throw invalid('The options of a write are an object with ifRevision alone.');
  if (!('ifRevision' in options)) return write;
  const { ifRevision } = options;
  if ((ifRevision === null && write.type === 'put') || (typeof ifRevision === 'string' && ifRevision !== ''))
    return { ...(write as Extract<Operation, { type: 'put' }>), ifRevision };
  throw invalid('ifRevision is a revision from getEntry(), or in set() null for a key that must not exist.');
}

/**
 * An update of `key`.
 *
 * @throws {StorageError} `invalid-option`
 */
export function updateOf(key: string, change: unknown): Operation {
  if (typeof change !== 'function') throw invalid('update() takes a function.');
  return {
    type: 'update',
    key,
    change(current) {
      const changed = change(current);
      if (changed instanceof Promise) throw invalid('The function of update() is synchronous, not async.');
      return snapshotFor(key, changed);
    },
  };
}
