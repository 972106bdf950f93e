/**
 * The arguments that every adapter takes: a storage, and which of its keys the adapter uses. Checked at once, before any I/O.
 */
import type { NamespacedStorage } from '../api.ts';
import { checkOptions, invalidOption, type OptionRule } from '../core/options.ts';

/** A storage or a namespace of one, whatever its schema. */
export interface AnyStorage {
  /** As of a storage: the adapter uses all of its methods. */
  namespace(prefix: string): object;
}

const TEXT: OptionRule = [
  (value) => typeof value === 'string' && value !== '',
  'a string that is not empty, such as "app:"',
];

/**
 * The storage itself, and the one option of an adapter.
 *
 * @throws {StorageError} `invalid-option`
 */
export function checkArguments<Name extends string>(
  call: string,
  storage: unknown,
  options: unknown,
  name: Name,
): readonly [storage: NamespacedStorage, option: string | undefined] {
  if (typeof (storage as AnyStorage | undefined)?.namespace !== 'function')
    throw invalidOption(`${call} takes a storage. Pass what createStorage() or namespace() returns.`);
  const { [name]: option } = checkOptions<Record<string, string>>(call, options, { [name]: TEXT });
  return [storage as NamespacedStorage, option];
}
