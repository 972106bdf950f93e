/**
 * The rules of accounts: the mirror, the outbox and the conflicts of a device belong to one account of the server.
 *
 * No I/O, as in state.ts.
 */
import { inNextGeneration, type Meta } from './state.ts';

/** An account; without a name if the server names none. */
type Account = Pick<Meta, 'account'>;

/** Whether this device holds data of another account. Before the server has named an account, it does not. */
export const isOfOtherAccount = (meta: Meta | undefined, known: Account | undefined): boolean =>
  known !== undefined && meta?.account !== undefined && meta.account !== known.account;

/** The meta of a server that is used for another account from now on. The same transaction deletes everything else. */
export const inAccount = (meta: Meta, epoch: string, account: string | undefined): Meta => ({
  ...inNextGeneration(meta, epoch),
  needsComparison: false,
  account,
});
