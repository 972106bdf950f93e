/**
 * What readers on this device see of watched keys at one moment, and which commits that contains.
 */
import type { KeySnapshot, WatchedKeys } from '../../core/changes.ts';
import { StorageError } from '../../core/errors.ts';
import { decodeAt } from '../../core/json.ts';
import type { KnownAccount } from '../../remote/level1/protocol.ts';
import { clearsOf, type ReadTransaction, type SyncDatabase } from '../database.ts';
import {
  ALL_KEYS,
  arrivedAs,
  INITIAL_META,
  type KeyState,
  localView,
  revisionOf,
  type StoredJson,
} from '../rules/state.ts';
import { checkAccount } from './account.ts';

/**
 * @param known Returns the account whose data may be shown.
 * @param heard The revision of what was heard last. An entry that is still in that state has it, also if it has another one at the server.
 * @param read Reads a key from the server, so that the mirror knows it.
 * @throws {OtherAccountError} if this device holds data of another account by now.
 * @throws {StorageError} `unavailable` if this device does not know the key, and the server does not answer.
 */
export async function snapshotOf(
  database: SyncDatabase,
  keys: WatchedKeys,
  known: () => KnownAccount | undefined,
  heard: string | undefined,
  read: (key: string) => Promise<unknown>,
): Promise<KeySnapshot> {
  const look = () => database.read((transaction) => viewsIn(transaction, keys, known(), heard));
  let found = await look();
  if ('key' in keys && !found.isKnown) {
    await read(keys.key);
    found = await look();
    if (!found.isKnown)
      throw new StorageError('unavailable', `Key ${keys.key}: this device does not know its value yet.`);
  }
  return {
    number: found.number,
    entries: await Promise.all(
      found.views.map(async ({ key, value, revision }) => ({
        key,
        value: await decodeAt(key, value.json),
        revision,
      })),
    ),
  };
}

interface Views {
  readonly number: number;
  readonly isKnown: boolean;
  readonly views: ReadonlyArray<{
    readonly key: string;
    readonly value: StoredJson;
    readonly revision: string | undefined;
  }>;
}

async function viewsIn(
  transaction: ReadTransaction,
  keys: WatchedKeys,
  known: KnownAccount | undefined,
  heard = '',
): Promise<Views> {
  const number = await transaction.lastCommit();
  const meta = (await transaction.meta()) ?? INITIAL_META;
  checkAccount(meta, known);
  const names = 'key' in keys ? [keys.key] : await knownKeys(transaction, keys.prefix);
  const keyStates = await transaction.keyStates([...names, ALL_KEYS]);
  const clears = clearsOf(keyStates);
  const views: Array<Views['views'][number]> = [];
  let isKnown = true;
  for (const key of names) {
    const keyState = keyStates.get(key) as KeyState;
    const view = localView(keyState, clears, meta);
    isKnown &&= view !== undefined;
    const revision = arrivedAs(keyState, heard) ? heard : revisionOf(keyState);
    if (view?.value) views.push({ key, value: view.value, revision });
  }
  return { number, isKnown, views };
}

async function knownKeys(transaction: ReadTransaction, prefix: string): Promise<string[]> {
  const known = new Set<string>();
  for (const type of ['mirror', 'pending'] as const)
    for (const key of await transaction.keys<string>(type))
      if (key !== ALL_KEYS && key.startsWith(prefix)) known.add(key);
  return [...known];
}
