/**
 * Failures that are not of one call or one write: the way to the server is cut, or it refuses, or it is another.
 */

import { StorageError } from '../../core/errors.ts';
import type { Unanswered } from '../../remote/level1/protocol.ts';
import { nameOf } from '../../remote/level1/protocol.ts';
import { isLocal } from '../database.ts';

/** Why a replay ended before the outbox was empty. */
export interface Stop {
  /** The server is away; it refuses; it is not in the state that its answers were of; another tab is sending. */
  readonly why: 'unreachable' | 'refused' | 'restored' | 'busy';
  readonly error: StorageError;
}

/** Whether a failure is one of the way to the server, not of the call. */
export const isUnreachable = (error: StorageError): boolean =>
  (error.code === 'unavailable' || error.code === 'timeout') && !isLocal(error);

/** Why to stop where a request has no answer. */
export function stopOf({ error, refused, type }: Unanswered): Stop {
  if (nameOf(type) === 'epoch-changed') return { why: 'restored', error };
  return { why: refused === undefined ? 'unreachable' : 'refused', error };
}

/** The server answers for another state of its data. */
export const restoredMeanwhile = (): Stop => ({
  why: 'restored',
  error: new StorageError('unavailable', 'The server was restored meanwhile.'),
});
