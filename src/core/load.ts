/**
 * Parts of this package that are loaded when they are needed.
 */
import { StorageError } from './errors.ts';

/** Milliseconds. */
const LIMIT = 10_000;

/**
 * What `import()` promised.
 *
 * @throws {StorageError} `unavailable` where it could not be loaded, or not soon: nothing was done.
 */
export function load<T>(part: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(`it took more than ${LIMIT} ms`), LIMIT);
  });
  return Promise.race([part, late])
    .catch((cause) => {
      const text = `A part of @codeforge/storage could not be loaded: ${cause}`;
      throw new StorageError('unavailable', text, { cause });
    })
    .finally(() => clearTimeout(timer));
}
