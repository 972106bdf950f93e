/**
 * The rules of accounts: the mirror, the outbox and the conflicts of a device belong to one account of the server.
 *
 * No I/O, as in state.ts.
 */
import { OtherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { inNextGeneration, type Meta } from './state.ts';

/** Whether what is stored here belongs to another account. Before the server has named one, it does not. */
export const isOfOtherAccount = (meta: Meta | undefined, known: KnownAccount | undefined): boolean =>
  known !== undefined && meta?.account !== undefined && meta.account !== known.account;

/** @throws {OtherAccountError} if what is stored here belongs to another account. */
export function checkAccount(meta: Meta | undefined, known: KnownAccount | undefined): void {
  if (!isOfOtherAccount(meta, known)) return;
  throw new OtherAccountError(
    'Another tab has signed in with another account, so nothing was read or written here. Call again when the server can be reached.',
  );
}

/** What is known of a server that is used for another account from now on. The mirror is deleted with that. */
export const inAccount = (meta: Meta, epoch: string, account: string | undefined): Meta => ({
  ...inNextGeneration(meta, epoch),
  needsComparison: false,
  account,
});

/** Why a device cannot be used with the token of another account. */
export const heldError = (writes: number, conflicts: number): OtherAccountError =>
  new OtherAccountError(
    `This device still holds ${[counted(writes, 'write'), counted(conflicts, 'conflict')].filter(Boolean).join(' and ')} of another account. Sign in with that account again to keep them, or call forget({ discardPending: true }) to delete them. If several users share this device, give each of them a database of their own (option database).`,
  );

const counted = (count: number, noun: string): string =>
  count === 0 ? '' : `${count} ${noun}${count === 1 ? '' : 's'}`;
