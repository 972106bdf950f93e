/**
 * The account whose data this device holds, compared with that of a call or of the token.
 */
import { OtherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { isOfOtherAccount, type Meta } from '../rules/state.ts';

/** @throws {OtherAccountError} if this device holds data of another account. */
export function checkAccount(meta: Meta | undefined, known: KnownAccount | undefined): void {
  if (!isOfOtherAccount(meta, known)) return;
  throw new OtherAccountError(
    'Another tab has signed in with another account, so nothing was read or written here. Call again when the server can be reached.',
  );
}
