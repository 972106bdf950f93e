/** How a call ended, as its error's code. */
import { expect } from 'vitest';
import { StorageError, type StorageErrorCode } from '../../src/index.ts';

export async function codeOf(promise: Promise<unknown>): Promise<StorageErrorCode | 'no error'> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    expect(error).toBeInstanceOf(StorageError);
    return (error as StorageError).code;
  }
}
