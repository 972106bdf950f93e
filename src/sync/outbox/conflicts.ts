/**
 * Values that did not come to be the server's: listed, and settled by the app.
 */

import type { ConflictOf, ConflictValue, Resolution } from '../../core/conflict.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt, heldOf } from '../../core/json.ts';
import { checkReadKey } from '../../core/keys.ts';
import { snapshot } from '../../core/values.ts';
import { clearsOf, type Tables } from '../database.ts';
import { enqueue } from '../rules/outbox.ts';
import { ALL, type Held, type Parked, type Place } from '../rules/state.ts';

/** All of them, the oldest first. */
export async function listConflicts(tables: Tables): Promise<ConflictOf[]> {
  const parked = await tables.read((reading) => reading.values<Parked>('conflict'));
  return Promise.all(
    parked.map(async ({ key, reason, base, local, server, detail, atMs, unit }) => ({
      key,
      reason,
      base: await sideOf(key, base),
      local: await sideOf(key, local),
      server: await sideOf(key, server),
      detail,
      atMs,
      ...(unit !== undefined && {
        unit: parked.filter((one) => one.unit === unit).map((one) => one.key),
      }),
    })),
  );
}

const sideOf = async (key: string, held: Held | undefined): Promise<ConflictValue> =>
  held && { value: await decodeAt(key, held.json) };

/**
 * Settle the conflicts of a key.
 *
 * @throws {StorageError} `invalid-key`; `invalid-option` where there are none, or for a choice that is none.
 */
export async function resolveConflicts(tables: Tables, given: string, choice: Resolution): Promise<void> {
  const key = given === ALL ? given : checkReadKey(given);
  const other =
    typeof choice === 'object' && choice !== null && Object.keys(choice).join() === 'value'
      ? await heldOf(key, snapshot(choice.value, key))
      : undefined;
  if (!other && choice !== 'local' && choice !== 'server')
    throw new StorageError('invalid-option', "resolve() takes 'local', 'server' or { value }.");
  await tables.write(async (writing) => {
    const meta = await writing.meta();
    const all = await writing.values<Parked>('conflict');
    const last = all.filter((one) => one.key === key).at(-1);
    if (!meta || !last)
      throw new StorageError('invalid-option', `Key ${key} has no conflict: see conflicts().`);
    if (choice !== 'server') {
      if (key === ALL)
        throw new StorageError(
          'invalid-option',
          'A clear() is settled by calling it again, or by resolve("", "server").',
        );
      const parts = last.unit === undefined ? [last] : all.filter(({ unit }) => unit === last.unit);
      const places = await writing.places([...parts.map((part) => part.key), ALL]);
      const unit = last.unit === undefined ? undefined : { n: meta.rows + 1, size: parts.length, checks: [] };
      let counted = meta;
      for (const part of parts) {
        const place = places.get(part.key) as Place;
        const held = other && part.key === key ? other : part.local;
        const write = { key: part.key, held, unit, atMs: Date.now() };
        const queued = enqueue(place, clearsOf(places), counted, write);
        writing.setRows(part.key, place.rows, queued.rows);
        counted = queued.meta;
      }
      writing.setMeta(counted);
    }
    await writing.unpark((one) => one.unit === last.unit && (last.unit !== undefined || one.key === key));
  }, true);
}
