/**
 * What is asked of a server, where none is configured.
 */
import { StorageError } from './core/errors.ts';

/** Nothing waits. */
export const flush = async (): Promise<void> => {};

/** Nobody disagrees. */
export const conflicts = async (): Promise<[]> => [];

/** @throws {StorageError} `invalid-option` */
export async function resolve(key: string): Promise<void> {
  throw new StorageError('invalid-option', `Key ${key} has no conflict: there are none without a server.`);
}
