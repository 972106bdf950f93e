/**
 * Parts of this package that are loaded when they are needed.
 */
import { StorageError } from './errors.ts';

/**
 * What `import()` promised.
 *
 * @throws {StorageError} `unavailable` where it could not be loaded: nothing was done.
 */
export const load = <T>(part: Promise<T>): Promise<T> =>
  part.catch((cause) => {
    throw new StorageError('unavailable', `A part of @codeforge/storage could not be loaded: ${cause}`, {
      cause,
    });
  });
