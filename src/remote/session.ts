/**
 * A session over a server alone, where there is no IndexedDB: while the server does not answer, calls reject.
 *
 * If the token comes to be that of another account, one call rejects with `forbidden`, so that nothing that was computed from the data
 * of one account is written to another. The next call goes on with the other account.
 */
import { fulfilled, type Operation, type Outcome } from '../core/backend.ts';
import { type Commit, changesOf, type KeySnapshot, type SessionChange } from '../core/changes.ts';
import { StorageError } from '../core/errors.ts';
import { type ServerSessionOptions, type Session, statusOf } from '../core/session.ts';
import { type Deadline, deadlineWithOwnPart } from '../core/time.ts';
import { snapshot } from '../core/values.ts';
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

  /** There are no other tabs to tell. */
  const listeners = new Set<(commit: Commit) => void>();
  function tell(operations: readonly Operation[], outcomes: readonly Outcome[]): void {
    if (listeners.size === 0) return;
    // The app may change what a call has returned.
    const changes = changesOf(operations, outcomes, ({ value }) => snapshot(value).value).map(
      (change): SessionChange =>
        change.type === 'set'
          ? { type: 'set', key: change.key, value: change.stored, revision: undefined, source: 'local' }
          : { ...change, source: 'local' },
    );
    for (const listener of listeners) listener({ number: undefined, changes });
  }

  return {
    ...backend,
    watch(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async snapshot(keys) {
      const entries: Array<KeySnapshot['entries'][number]> = [];
      if ('key' in keys) {
        const { key } = keys;
        const [has, get] = await backend.run([
          { type: 'has', key },
          { type: 'get', key },
        ]);
        for (const outcome of [has, get]) if (outcome?.status === 'rejected') throw outcome.reason;
        if ((has as PromiseFulfilledResult<unknown>).value)
          entries.push({ key, value: (get as PromiseFulfilledResult<unknown>).value, revision: undefined });
      } else
        for await (const page of backend.entries(keys))
          for (const [key, value] of page) entries.push({ key, value, revision: undefined });
      return { number: undefined, entries };
    },
    hearsOthers: () => true,
    get type() {
      return status().backend;
    },
    status,
    account: () => (isAccountChanged ? undefined : backend.level1()?.account()),
    async run(operations, { deadline, ...options } = {}) {
      const outcomes = await call(() => backend.run(operations, { ...options, deadline: by(deadline) }));
      tell(operations, outcomes);
      return noting(outcomes);
    },
    async atomic(parts, deadline) {
      await call(() => backend.atomic(parts, by(deadline)));
      const writes = parts.filter((part) => part.type !== 'check');
      tell(
        writes,
        writes.map(() => fulfilled()),
      );
    },
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
