/**
 * Errors if this device holds data of another account than that of the call, or of the token.
 */
import { OtherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { isOfOtherAccount } from '../rules/account.ts';
import type { Meta } from '../rules/state.ts';

/** @throws {OtherAccountError} if this device holds data of another account. */
export function checkAccount(meta: Meta | undefined, known: KnownAccount | undefined): void {
  if (!isOfOtherAccount(meta, known)) return;
  throw new OtherAccountError(
    'Another tab has signed in with another account, so nothing was read or written here. Call again when the server can be reached.',
  );
}

/** Why a device cannot be used with the token of another account. */
export const heldError = (writes: number, conflicts: number): OtherAccountError =>
  new OtherAccountError(
    `This device still holds ${[counted(writes, 'write'), counted(conflicts, 'conflict')].filter(Boolean).join(' and ')} of another account. Sign in with that account again to keep them, or call forget({ discardPending: true }) to delete them. If several users share this device, give each of them a database of their own (option database).`,
  );

const counted = (count: number, noun: string): string =>
  count === 0 ? '' : `${count} ${noun}${count === 1 ? '' : 's'}`;
