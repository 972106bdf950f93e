/**
 * What is to be stored where the server has something that a writer had not seen: the app's choice (option `conflict`).
 */
import { decodeAt } from '../backends/flask-http.ts';
import type { ConflictPolicy } from '../core/conflict.ts';
import { snapshot } from '../core/values.ts';
import { heldOf } from './local.ts';
import type { Merge } from './replay.ts';
import type { Held } from './rules.ts';

/** A policy as a rule over what travels. */
export function mergeBy(policy: ConflictPolicy, failed: (key: string, error: unknown) => void): Merge {
  if (policy === 'keep-server') return async () => undefined;
  if (policy === 'keep-local') return async ({ held }) => ({ held });
  return async ({ key, base, held }, seen) => {
    try {
      const [was, local, server] = await Promise.all(
        [base?.held, held, seen.held].map(
          (one: Held | undefined) => one && decodeAt(key, structuredClone(one.json)),
        ),
      );
      const merged = await policy(was, local, server, key);
      return { held: merged === undefined ? undefined : await heldOf(key, snapshot(merged, key)) };
    } catch (error) {
      // Then nothing is decided, and both sides are kept.
      failed(key, error);
      return undefined;
    }
  };
}
