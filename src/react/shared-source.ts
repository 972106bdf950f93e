/**
 * What components share: one source for each key and each list of a storage, so that all components of a page show the same, and the
 * storage is read and watched once for all of them.
 */
import type { Kept, Source } from '../observe/source.ts';

/** Milliseconds for which a source is kept that no component uses: while React waits for other components, or until the user returns. */
const KEPT_MS = 30_000;

/** The sources of each storage, by name. */
const shared = new WeakMap<object, Map<string, unknown>>();

/** The source of `storage` with this name. It is made once, and dropped when no component has used it for a while. */
export function sharedSource<Shared>(storage: object, name: string, create: (kept: Kept) => Shared): Shared {
  const sources = (shared.get(storage) ?? new Map()) as Map<string, Shared>;
  shared.set(storage, sources);
  const source = sources.get(name) ?? create({ keptMs: KEPT_MS, dropped: () => sources.delete(name) });
  sources.set(name, source);
  return source;
}

/** Resolves when something else is shown. */
export const nextChange = (source: Source<unknown>): Promise<void> =>
  new Promise((resolve) => {
    const stop = source.subscribe(() => {
      stop();
      resolve();
    });
  });
