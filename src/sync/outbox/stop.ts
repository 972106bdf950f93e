/**
 * Failures that concern more than one write: the server cannot be reached, refuses, or was restored.
 */

import { StorageError } from '../../core/errors.ts';
import { isUnanswered } from '../../remote/errors.ts';
import type { Unanswered } from '../../remote/level1/protocol.ts';
import { nameOf } from '../../remote/level1/protocol.ts';
import { isLocal } from '../database.ts';

/** Why a replay ended before the outbox was empty. */
export interface Stop {
  /** The server cannot be reached; it refuses; it was restored; or another tab is sending. */
  readonly why: 'unreachable' | 'refused' | 'restored' | 'busy';
  readonly error: StorageError;
}

/** Whether a failure is that of the connection, not of the call. */
export const isUnreachable = (error: StorageError): boolean => isUnanswered(error) && !isLocal(error);

/** Why a replay stops after a request without an answer. */
export function stopOf({ error, refused, type }: Unanswered): Stop {
  if (nameOf(type) === 'epoch-changed') return { why: 'restored', error };
  return { why: refused === undefined ? 'unreachable' : 'refused', error };
}

/** The server has answered with another epoch. */
export const restoredMeanwhile = (): Stop => ({
  why: 'restored',
  error: new StorageError('unavailable', 'The server was restored from a backup.'),
});
