/**
 * Conflicts: listed, and resolved by the app.
 */

import type { ConflictOf, ConflictValue, Resolution } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, storedJsonOf } from '../../core/json.ts';
import { checkReadKey } from '../../core/keys.ts';
import { snapshot } from '../../core/values.ts';
import { clearsOf, type SyncDatabase } from '../database.ts';
import { enqueue } from '../rules/outbox.ts';
import { ALL_KEYS, type ConflictRecord, type KeyState, type StoredJson } from '../rules/state.ts';

/** All conflicts, the oldest first. */
export async function listConflicts(database: SyncDatabase): Promise<ConflictOf[]> {
  const conflicts = await database.read((transaction) => transaction.records<ConflictRecord>('conflict'));
  return Promise.all(
    conflicts.map(async ({ key, reason, base, local, server, detail, atMs, unit }) => ({
      key,
      reason,
      base: await sideOf(key, base),
      local: await sideOf(key, local),
      server: await sideOf(key, server),
      detail,
      atMs,
      ...(unit !== undefined && {
        unit: conflicts.filter((one) => one.unit === unit).map((one) => one.key),
      }),
    })),
  );
}

const sideOf = async (key: string, value: StoredJson | undefined): Promise<ConflictValue> =>
  value && { value: await decodeAt(key, value.json) };

/**
 * Resolves the conflicts of a key.
 *
 * @throws {StorageError} `invalid-key`; `invalid-option` if the key has no conflict, or for an unknown choice.
 */
export async function resolveConflicts(
  database: SyncDatabase,
  given: string,
  choice: Resolution,
): Promise<void> {
  const key = given === ALL_KEYS ? given : checkReadKey(given);
  const other =
    typeof choice === 'object' && choice !== null && Object.keys(choice).join() === 'value'
      ? await storedJsonOf(key, snapshot(choice.value, key))
      : undefined;
  if (!other && choice !== 'local' && choice !== 'server')
    throw new StorageError('invalid-option', "resolve() takes 'local', 'server' or { value }.");
  const own = new Set<string>();
  await database.write(
    async (writing) => {
      const meta = await writing.meta();
      const all = await writing.records<ConflictRecord>('conflict');
      const last = all.filter((one) => one.key === key).at(-1);
      if (!meta || !last)
        throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
      if (choice !== 'server') {
        if (key === ALL_KEYS)
          throw new StorageError(
            'invalid-option',
            'Resolve the conflict of a clear() by calling clear() again, or with resolve("", "server").',
          );
        const parts = last.unit === undefined ? [last] : all.filter(({ unit }) => unit === last.unit);
        const keyStates = await writing.keyStates([...parts.map((part) => part.key), ALL_KEYS]);
        const unit =
          last.unit === undefined ? undefined : { order: meta.lastOrder + 1, size: parts.length, checks: [] };
        let counted = meta;
        for (const part of parts) {
          const keyState = keyStates.get(part.key) as KeyState;
          const value = other && part.key === key ? other : part.local;
          const write = { key: part.key, value, unit, atMs: Date.now() };
          const queued = enqueue(keyState, clearsOf(keyStates), counted, write);
          own.add(part.key);
          writing.setWrites(part.key, keyState.writes, queued.writes);
          counted = queued.meta;
        }
        writing.setMeta(counted);
      }
      await writing.removeConflicts(
        (one) => one.unit === last.unit && (last.unit !== undefined || one.key === key),
      );
    },
    true,
    { own },
  );
}
