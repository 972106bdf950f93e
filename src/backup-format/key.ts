/** Keys of a backup have to be portable: others could not be stored again, and are refused or left out. */
import { checkKey } from '../core/keys.ts';
import { refuse } from './format.ts';

/** Told of a key that cannot be stored, whose record is then left out. */
export type LeaveOut = (key: string) => void;

/**
 * The key of a record; `undefined` where the record is left out.
 *
 * @param where Where it stands, asked for only when it is refused.
 * @throws {StorageError} `invalid-backup`
 */
export function keyOf(key: unknown, where: () => string, leaveOut?: LeaveOut): string | undefined {
  try {
    return checkKey(key);
  } catch (cause) {
    if (leaveOut && typeof key === 'string') {
      leaveOut(key);
      return undefined;
    }
    const { message } = cause as Error;
    const what = `has a key that cannot be stored: ${message.replace(/\.$/, '')}`;
    return refuse(where(), what, cause, '"codeforge-storage import --leave-out" takes it without such keys');
  }
}
