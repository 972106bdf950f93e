/**
 * The option `conflict`: what is stored if the server's value has changed since the author of a write has seen it.
 */

import type { ConflictPolicy } from '../../core/conflict.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import { withTimeLimit } from '../../core/time.ts';
import { snapshot } from '../../core/values.ts';
import type { StoredJson } from '../rules/state.ts';
import type { Merge } from './replay.ts';

/**
 * Applies a policy to JSON values.
 *
 * @param timeout Milliseconds that an app's function may take: other tabs wait for it.
 * @param failed Called if the function fails. Then both values are kept as a conflict.
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
      // The function is called again when the storage is opened again.
      signal.throwIfAborted();
      failed(key, error);
      return undefined;
    }
  };
}
