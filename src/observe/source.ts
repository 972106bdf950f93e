/**
 * What views show of a storage: something that they subscribe to, which is watched while one of them does.
 */
import type { NamespacedStorage } from '../api.ts';
import type { StorageError } from '../core/errors.ts';
import { unref } from '../core/platform.ts';

/** Something that is shown. */
export interface Source<Shown> {
  /** Returns the same object until something changes. */
  get(): Shown;
  /** Calls `listener` after each change of what is shown. Returns what ends that. */
  subscribe(listener: () => void): () => void;
}

/** A source, for those who make it. */
interface OwnSource<Shown> extends Source<Shown> {
  show(next: Shown): void;
  isWatching(): boolean;
  /** Watches anew, before what was watched until now ends. */
  restart(): void;
}

/** How long a source is watched. */
export interface Kept {
  /** Milliseconds for which it goes on after its last listener has left, or waits for the first one. */
  readonly keptMs: number;
  /** Is called after that. */
  dropped(): void;
}

/**
 * Creates a source.
 *
 * @param shown What is shown at first.
 * @param watch Begins to watch, until `signal` aborts. It is called for the first listener; after an error also for a further one, and
 * when the server is reachable again (`isFirst`); and by `restart()`.
 */
export function createSource<Shown extends { readonly error: StorageError | undefined }>(
  storage: NamespacedStorage,
  { keptMs, dropped }: Kept,
  shown: Shown,
  watch: (signal: AbortSignal, isFirst: boolean) => void,
): OwnSource<Shown> {
  const listeners = new Set<() => void>();
  let watching: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout>;

  function start(isFirst: boolean): void {
    const before = watching;
    watching = new AbortController();
    let { state } = storage.status();
    const unwatchStatus = storage.watchStatus((status) => {
      const isBack = status.state === 'online' && state !== 'online';
      state = status.state;
      if (isBack && shown.error) start(true);
    });
    watching.signal.addEventListener('abort', unwatchStatus);
    watch(watching.signal, isFirst);
    before?.abort();
  }
  function endLater(): void {
    timer = unref(
      setTimeout(() => {
        watching?.abort();
        watching = undefined;
        dropped();
      }, keptMs),
    );
  }
  endLater();

  return {
    get: () => shown,
    subscribe(listener) {
      const own = (): void => listener();
      clearTimeout(timer);
      listeners.add(own);
      if (!watching || shown.error) start(true);
      return () => {
        if (listeners.delete(own) && listeners.size === 0) endLater();
      };
    },
    show(next) {
      if ((Object.keys(next) as Array<keyof Shown>).every((name) => Object.is(next[name], shown[name])))
        return;
      shown = next;
      for (const listener of [...listeners]) listener();
    },
    isWatching: () => watching !== undefined,
    restart: () => start(false),
  };
}
