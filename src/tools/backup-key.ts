/** Keys of a backup have to be portable: others could not be stored again. */
import { checkKey } from '../core/keys.ts';
import { refuse } from './backup-format.ts';

/**
 * The key of a record.
 *
 * @param where Where it stands, asked for only when it is refused.
 * @throws {StorageError} `invalid-backup`
 */
export function keyOf(key: unknown, where: () => string): string {
  try {
    return checkKey(key);
  } catch (cause) {
    const { message } = cause as Error;
    return refuse(where(), `has a key that cannot be stored: ${message.replace(/\.$/, '')}`, cause);
  }
}
