/** What a call rejected with. One that resolved rejects here. */
import type { MigrationError, StorageError } from '../../src/index.ts';

const rejectionAs = <Failure>(promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => Promise.reject(new Error('It resolved.')),
    (error) => error,
  );

export const rejection: (promise: Promise<unknown>) => Promise<StorageError> = rejectionAs;
export const failure: (promise: Promise<unknown>) => Promise<MigrationError> = rejectionAs;
