/**
 * Whose data the calls of this tab are for, and what happens when the token comes to be that of another account.
 *
 * No call reads or writes the data of one account with the token of another. A call that meets the change rejects with `forbidden`; the
 * handshake then decides: if the device holds no writes and no conflicts of the account before, its mirror is deleted and the next
 * call is for the new account. Otherwise every call rejects until the token is for the account before again.
 */
import type { Outcome, SyncState } from '../../core/backend.ts';
import type { Deadline } from '../../core/time.ts';
import { OtherAccountError, otherAccountError } from '../../remote/errors.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';

/** What the accounts of a session depend on. */
export interface AccountOptions {
  state(): SyncState;
  /** @param deadline By when the call that needs it has to be served. */
  connect(deadline?: Deadline): Promise<void>;
  /** Connects, unless that was just tried. */
  hint(): void;
  /** Returns the token; `undefined` if it does not change or there is none. */
  readToken(): Promise<string | undefined>;
}

/** The account of a session. */
export interface Account {
  /** The account of the data, as far as it is known. */
  known(): KnownAccount | undefined;
  /** Calls are for the data of this account from now on. */
  use(known: KnownAccount): void;
  /** Why every call for data is rejected. */
  blocked(): OtherAccountError | undefined;
  /** Rejects every call until the next handshake that succeeds. */
  block(error: OtherAccountError): void;
  /** Blocks, and connects again at once: the handshake decides how to go on. Never rejects. */
  changed(error: OtherAccountError, deadline?: Deadline): Promise<void>;
  /** Calls for data. @throws {OtherAccountError} */
  call<T>(work: () => Promise<T>, deadline?: Deadline): Promise<T>;
  /** The same for a batch, whose operations fail one by one. */
  run(work: () => Promise<Outcome[]>, deadline?: Deadline): Promise<Outcome[]>;
  /** The same for a list, which is that of one account. */
  list<T>(work: () => Promise<T>, deadline?: Deadline): Promise<T>;
  /** The same for pages of a list. */
  pages<T>(work: () => AsyncIterable<T>): AsyncGenerator<T>;
}

/** The account of a session that has not connected yet. */
export function createAccount({ state, connect, hint, readToken }: AccountOptions): Account {
  let known: KnownAccount | undefined;
  let blocked: OtherAccountError | undefined;
  /** The token of the last attempt to connect because of a new one. */
  let tried: string | undefined;

  /** A server that refuses the token of before is asked with a new one before a call is answered from this device. */
  async function tryNewToken(deadline?: Deadline): Promise<void> {
    if (state() !== 'auth-required') return;
    const token = await readToken().catch(() => undefined);
    if (token === undefined || token === tried) return hint();
    tried = token;
    await connect(deadline);
  }

  async function changed(error: OtherAccountError, deadline?: Deadline): Promise<void> {
    blocked ??= error;
    await connect(deadline);
  }

  async function call<T>(work: () => Promise<T>, deadline?: Deadline): Promise<T> {
    await tryNewToken(deadline);
    if (blocked) throw blocked;
    try {
      return await work();
    } catch (error) {
      if (error instanceof OtherAccountError) await changed(error, deadline);
      throw error;
    }
  }

  /** Throws if the account is no longer that of a list which is under way. */
  const checkOf = (): (() => void) => {
    const before = known?.account;
    return () => {
      if (blocked) throw blocked;
      if (known?.account !== before) throw otherAccountError();
    };
  };

  return {
    known: () => known,
    use(next) {
      known = next;
      blocked = undefined;
    },
    blocked: () => blocked,
    block(error) {
      blocked = error;
    },
    changed,
    call,
    async run(work, deadline) {
      const outcomes = await call(work, deadline);
      const other = outcomes.find(
        (outcome) => outcome.status === 'rejected' && outcome.reason instanceof OtherAccountError,
      );
      if (other?.status === 'rejected') await changed(other.reason, deadline);
      return outcomes;
    },
    list: (work, deadline) =>
      call(async () => {
        const check = checkOf();
        const result = await work();
        check();
        return result;
      }, deadline),
    async *pages(work) {
      const check = await call(async () => checkOf());
      try {
        for await (const page of work()) {
          check();
          yield page;
        }
      } catch (error) {
        if (error instanceof OtherAccountError) await changed(error);
        throw error;
      }
    },
  };
}
