/**
 * The parts of a storage that migration, backup and adoption use.
 */
import type { Backend, Operation } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { checkKey, runWritable } from '../core/keys.ts';
import type { ResolvedOptions } from '../core/options.ts';
import { type KeyRange, rangeWithin } from '../core/order.ts';
import type { ServerSessionOptions, Session, StorageStatus } from '../core/session.ts';

/** A resource that is closed together with the storage. */
export type Closable = Pick<Backend, 'close'>;

/** A storage as its transfers see it. */
export interface TransferContext
  extends Pick<ResolvedOptions, 'database' | 'timeout' | 'token'>,
    Pick<ServerSessionOptions, 'log'> {
  readonly indexedDb: Backend;
  /** The prefix of the namespace whose method was called; empty for the storage itself. */
  readonly prefix: string;
  /** Resolves with the session in use, after all earlier calls have ended. */
  session(): Promise<Session>;
  /** Runs `task` while no other call of this storage runs. Later calls wait. */
  alone<T>(task: () => Promise<T>): Promise<T>;
  status(): StorageStatus;
  /** The URL of the configured server. */
  serverUrl(): string | undefined;
  /** Switches to the server at a URL, or to IndexedDB if the URL is `undefined`. */
  use(serverUrl: string | undefined): Promise<void>;
  /** Loads the server part. */
  serverPart(): Promise<typeof import('../sync/index.ts')>;
  /** Registers a resource that is closed together with the storage. */
  keep<T extends Closable>(one: T): T;
  /** Closes a registered resource now. */
  letGo(one: Closable): Promise<void>;
}

/**
 * The backend in use, for as long as the data is that of one account. For a namespace: the part of it whose keys begin with its
 * prefix, and without the prefix.
 */
export async function backendOf({ session, prefix }: TransferContext): Promise<Backend> {
  const backend = ofOneAccount(await session());
  if (prefix === '') return backend;
  const outside = (operation: Operation): Operation =>
    'key' in operation ? { ...operation, key: prefix + operation.key } : operation;
  const rangeOf = (range: KeyRange): KeyRange => rangeWithin(prefix, range);
  return {
    ...backend,
    run: (operations, options) =>
      runWritable((allowed) => backend.run(allowed, options), operations.map(outside)),
    keys: async (range) => (await backend.keys(rangeOf(range))).map((key) => key.slice(prefix.length)),
    async *entries(range) {
      for await (const page of backend.entries(rangeOf(range)))
        yield page.map(([key, value]) => [key.slice(prefix.length), value] as const);
    },
    count: (range) => backend.count(rangeOf(range)),
    async check(key, value) {
      await backend.check?.(checkKey(prefix + key), value);
    },
  };
}

/** The same backend, which rejects with `forbidden` as soon as its data is that of another account. */
function ofOneAccount(session: Session): Backend {
  let account: string | undefined;
  const check = (): void => {
    const now = session.account();
    account ??= now;
    if (now === account) return;
    throw new StorageError(
      'forbidden',
      'The token is for another account now. The call has stopped: what it copied before belongs to the account before.',
    );
  };
  /** A call that began before the account has changed may have ended after that. */
  const checked = async <T>(call: () => Promise<T>): Promise<T> => {
    check();
    const result = await call();
    check();
    return result;
  };
  return {
    ...session,
    run: (operations, options) => checked(() => session.run(operations, options)),
    keys: (range) => checked(() => session.keys(range)),
    async *entries(range) {
      for await (const page of session.entries(range)) {
        check();
        yield page;
      }
    },
    count: (range) => checked(() => session.count(range)),
  };
}

/** The app's progress listener. Its errors are logged, not thrown. */
export const listenerOf = <Progress>(
  { log }: Pick<TransferContext, 'log'>,
  onProgress: ((progress: Progress) => void) | undefined,
): ((progress: Progress) => void) | undefined =>
  onProgress &&
  (async (progress) => {
    try {
      await onProgress(progress);
    } catch (error) {
      log('warn', `called onProgress, which failed: ${error}`);
    }
  });
