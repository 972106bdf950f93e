/**
 * What is to be stored where the server has something that a writer had not seen: the app's choice (option `conflict`).
 */

import type { ConflictPolicy } from '../../core/conflict.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import { withTimeLimit } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import type { StoredJson } from '../rules/state.ts';
import type { Merge } from './replay.ts';

/**
 * A policy as a rule over what travels.
 *
 * @param timeout Milliseconds that an app's function may take: others wait for it.
 * @param failed Told where it fails. Then nothing is decided, and both sides are kept.
 */
export function mergeBy(
  policy: ConflictPolicy,
  timeout: number,
  signal: AbortSignal,
  failed: (key: string, error: unknown) => void,
): Merge {
  if (policy === 'keep-server') return async () => undefined;
  if (policy === 'keep-local') return async ({ value }) => ({ value });
  return async (write, serverState) => {
    const { key, value } = write;
    try {
      const [was, local, server] = await Promise.all(
        [write.base?.value, value, serverState.value].map(
          (one: StoredJson | undefined) => one && decodeAt(key, structuredClone(one.json)),
        ),
      );
      const late = (): never => {
        signal.throwIfAborted();
        throw new Error(`it took more than ${timeout} ms`);
      };
      const choosing = (async () => policy(was, local, server, key))();
      const merged = await withTimeLimit(choosing, timeout, late, signal);
      return { value: merged === undefined ? undefined : await storedJsonOf(key, snapshot(merged, key)) };
    } catch (error) {
      // It is asked again when the storage is opened again.
      signal.throwIfAborted();
      failed(key, error);
      return undefined;
    }
  };
}
