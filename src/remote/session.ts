/**
 * A session over a server alone, where there is no IndexedDB: while the server does not answer, calls reject.
 *
 * If the token comes to be that of another account, one call rejects with `forbidden`, so that nothing that was computed from the data
 * of one account is written to another. The next call goes on with the other account.
 */
import type { Outcome } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { type ServerSessionOptions, type Session, statusOf } from '../core/session.ts';
import { type Deadline, deadlineWithOwnPart } from '../core/time.ts';
import { createFlaskBackend } from './backend.ts';
import { OtherAccountError } from './errors.ts';

/** A session with the server at `serverUrl`. */
export function createRemoteSession({ serverUrl, timeout, token, log }: ServerSessionOptions): Session {
  const backend = createFlaskBackend(serverUrl, timeout, token);
  let away = `${serverUrl} was not asked yet`;
  const status = () => {
    const detected = backend.detected();
    return statusOf({
      state: detected ? 'online' : 'offline',
      level: detected?.level,
      reason: detected?.reason ?? away,
    });
  };

  /** Whether a call was told that the token is for another account, and the account of the next call is to be asked for. */
  let isAccountChanged = false;
  const note = (reason: unknown): void => {
    isAccountChanged ||= reason instanceof OtherAccountError;
  };
  async function call<T>(work: () => Promise<T>): Promise<T> {
    if (isAccountChanged) {
      const sent = await backend.handshake();
      if (sent?.error) throw sent.error;
      isAccountChanged = false;
    }
    return work().catch((error) => {
      note(error);
      throw error;
    });
  }
  const noting = (outcomes: Outcome[]): Outcome[] => {
    for (const outcome of outcomes) if (outcome.status === 'rejected') note(outcome.reason);
    return outcomes;
  };

  /** By when the server has to have answered a call. */
  const by = (deadline: Deadline | undefined): Deadline | undefined =>
    deadline === undefined ? undefined : deadlineWithOwnPart(deadline, timeout);

  return {
    ...backend,
    get type() {
      return status().backend;
    },
    status,
    account: () => (isAccountChanged ? undefined : backend.level1()?.account()),
    run: async (operations, { deadline, ...options } = {}) =>
      noting(await call(() => backend.run(operations, { ...options, deadline: by(deadline) }))),
    atomic: (parts, deadline) => call(() => backend.atomic(parts, by(deadline))),
    keys: (range, deadline) => call(() => backend.keys(range, by(deadline))),
    async *entries(range) {
      await call(async () => {});
      try {
        yield* backend.entries(range);
      } catch (error) {
        note(error);
        throw error;
      }
    },
    stats: (deadline) => call(() => backend.stats(by(deadline))),
    count: (range, deadline) => call(() => backend.count(range, by(deadline))),
    async open(deadline) {
      const isFirst = backend.detected() === undefined;
      await backend.open(by(deadline)).catch((error: StorageError) => {
        away = `the server cannot be used: ${error.message}`;
        throw error;
      });
      if (isFirst) log('info', `uses the Flask backend at ${serverUrl}`);
    },
    async ready(isFirst, deadline) {
      if (!isFirst) await backend.open(by(deadline));
    },
    flush: async () => {},
    conflicts: async () => [],
    forget: async () => {},
    async resolve(key) {
      throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
    },
  };
}
