/**
 * IndexedDB's errors as `StorageError`s: their codes, and what to do.
 */
import { holdsBlob, type Operation } from '../core/backend.ts';
import { StorageError, type StorageErrorCode } from '../core/errors.ts';

/** Codes and advice by the names of the platform's errors. */
const FAILURES: Readonly<Record<string, readonly [StorageErrorCode, string]>> = {
  NotFoundError: [
    'unavailable',
    'another program created this database; choose another name with the option database',
  ],
  SecurityError: [
    'unavailable',
    'the browser does not allow this site to store data: allow its cookies and site data',
  ],
  UnknownError: [
    'unavailable',
    'the browser could not read or write its database. The usual reasons are damaged files, a lost connection to them, and a full disk: ' +
      'reload the page and free disk space. If it goes on failing, delete the data of this site. A single value of more than about 100 MB fails as well',
  ],
  DataCloneError: ['unsupported-value', 'the value cannot be cloned'],
  QuotaExceededError: [
    'quota',
    "the disk or this origin's quota is full, and this write was not stored; delete entries or free space",
  ],
};

/** The platform's error as a `StorageError`. */
export function asStorageError(error: unknown, subject: string): StorageError {
  if (error instanceof StorageError) return error;
  const [code, advice] = FAILURES[(error as Error)?.name] ?? ['unavailable', 'IndexedDB failed'];
  return new StorageError(code, `${subject}: ${advice} (${error}).`, { cause: error });
}

/** The subject of an error message about an operation. */
export const subjectOf = (operation: Operation): string =>
  'key' in operation ? `Key ${operation.key}` : 'clear()';

/** The result of a request that is done. Throws its error as a `StorageError`. */
export function resultOf<T>({ result, error }: Pick<IDBRequest<T>, 'result' | 'error'>, subject: string): T {
  if (error) throw asStorageError(error, subject);
  return result;
}

/**
 * The error of a read that failed alone. If the file of a large value or of a Blob is missing, Chromium reports
 * `NotReadableError`, and Firefox `UnknownError`, which a lost connection causes too.
 *
 * @param works Whether other requests of the same transaction succeeded.
 */
export function readError(cause: DOMException, key: string, works: boolean): StorageError {
  if (cause.name === 'AbortError' || (cause.name === 'UnknownError' && !works))
    return asStorageError(cause, `Key ${key}`);
  return new StorageError(
    'unsupported-value',
    `Key ${key}: the browser cannot read the stored value (${cause}). Its data is missing or damaged: delete the key, or store the value again.`,
    { cause },
  );
}

/** The error of a write that failed alone. */
export function writeError(cause: DOMException, operation: Operation): StorageError {
  if (cause.name !== 'UnknownError' || !holdsBlob(operation))
    return asStorageError(cause, subjectOf(operation));
  return new StorageError(
    'unsupported',
    `${subjectOf(operation)}: Blobs cannot be stored in this window. Some browsers refuse them in private windows: use an ordinary window, or store the bytes as an ArrayBuffer (${cause}).`,
    { cause },
  );
}
