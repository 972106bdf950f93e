/**
 * A session over a server alone, where there is no IndexedDB: while the server does not answer, calls reject.
 *
 * If the token comes to be that of another account, one call rejects with `forbidden`, so that nothing that was computed from the data
 * of one account is written to another. The next call goes on with the other account.
 */
import { StorageError } from '../core/errors.ts';
import { type ServerSessionOptions, type Session, statusOf } from '../core/session.ts';
import { type Deadline, deadlineWithOwnPart } from '../core/time.ts';
import { createFlaskBackend } from './backend.ts';
import { isUnanswered, OtherAccountError } from './errors.ts';
import { createRemoteWatched } from './watched.ts';

/** A session with the server at `serverUrl`. */
export function createRemoteSession({
  serverUrl,
  timeout,
  token,
  log,
  changed,
}: ServerSessionOptions): Session {
  const watched = createRemoteWatched({ backend: () => backend, timeout, heard, log });
  const backend = createFlaskBackend(serverUrl, timeout, token, watched.observer);
  /** Why the server cannot be used; `undefined` if it has answered last. */
  let away: string | undefined = `${serverUrl} was not asked yet`;
  function heard(error?: StorageError): void {
    if (!error) away = undefined;
    else if (isUnanswered(error)) away = `the server cannot be used: ${error.message}`;
    changed();
  }
  const status = () => {
    const detected = backend.detected();
    return statusOf({
      state: away === undefined ? 'online' : 'offline',
      level: detected?.level,
      reason: away ?? detected?.reason ?? '',
    });
  };

  /** Whether a call was told that the token is for another account, and the account of the next call is to be asked for. */
  let isAccountChanged = false;
  /** Goes on with the account of the token, if a call was told that it is another one. */
  async function changeAccount(): Promise<void> {
    if (!isAccountChanged) return;
    const before = backend.level1();
    const sent = await backend.handshake();
    if (sent?.error) throw sent.error;
    isAccountChanged = false;
    if (backend.level1() !== before) watched.restart();
  }
  function note(reason: StorageError): void {
    isAccountChanged ||= reason instanceof OtherAccountError;
    heard(reason);
  }
  /** Learns from what the server answers. */
  async function noting<T>(
    work: Promise<T>,
    failureIn: (result: T) => StorageError | undefined = () => undefined,
  ): Promise<T> {
    try {
      const result = await work;
      const failure = failureIn(result);
      if (failure) note(failure);
      else heard();
      return result;
    } catch (error) {
      note(error as StorageError);
      throw error;
    }
  }
  const call = <T>(work: () => Promise<T>): Promise<T> => changeAccount().then(() => noting(work()));

  /** By when the server has to have answered a call. */
  const by = (deadline: Deadline | undefined): Deadline | undefined =>
    deadline === undefined ? undefined : deadlineWithOwnPart(deadline, timeout);

  return {
    ...backend,
    watch: watched.watch,
    snapshot: watched.snapshot,
    hearsOthers: () => true,
    get type() {
      return status().backend;
    },
    status,
    account: () => (isAccountChanged ? undefined : backend.level1()?.account()),
    async run(operations, { deadline, ...options } = {}) {
      const running = changeAccount().then(() =>
        backend.run(operations, { ...options, deadline: by(deadline) }),
      );
      watched.began(running);
      const outcomes = await noting(
        running,
        (all) => all.find((outcome) => outcome.status === 'rejected')?.reason,
      );
      watched.tell(operations, outcomes);
      return outcomes;
    },
    async atomic(parts, deadline) {
      const running = call(() => backend.atomic(parts, by(deadline)));
      watched.began(running);
      await running;
    },
    keys: (range, deadline) => call(() => backend.keys(range, by(deadline))),
    async *entries(range) {
      await changeAccount();
      try {
        yield* backend.entries(range);
      } catch (error) {
        note(error as StorageError);
        throw error;
      }
    },
    stats: (deadline) => call(() => backend.stats(by(deadline))),
    count: (range, deadline) => call(() => backend.count(range, by(deadline))),
    async open(deadline) {
      const isFirst = backend.detected() === undefined;
      await noting(backend.open(by(deadline)));
      if (isFirst) log('info', `uses the Flask backend at ${serverUrl}`);
    },
    async ready(isFirst, deadline) {
      if (!isFirst) await noting(backend.open(by(deadline)));
    },
    flush: async () => {},
    conflicts: async () => [],
    forget: async () => {},
    async resolve(key) {
      throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
    },
  };
}
