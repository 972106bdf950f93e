/**
 * Adoption as an app asks for it: what older apps have left at this origin, into the backend in use.
 *
 * Invariant: an old database is only read.
 */

import { StorageError } from '../core/errors.ts';
import { createOldReader, LAYOUTS, type OldName, type OldReader } from '../indexeddb/old-databases.ts';
import { listenerOf, type TransferContext } from './context.ts';
import { migrate } from './copy/copy.ts';
import { type AdoptOptions, checkCopyOptions, type MigrationPlan, type OldDatabase } from './copy/options.ts';
import { prepared, type Source } from './copy/source.ts';

const NAMES = Object.keys(LAYOUTS) as OldName[];

/** The old databases that are there and can be adopted. */
export async function oldDatabases({ session, database, timeout }: TransferContext): Promise<OldDatabase[]> {
  await session();
  const found = await Promise.all(
    NAMES.filter((name) => name !== database).map(async (name): Promise<OldDatabase[]> => {
      const reader = createOldReader(name, timeout);
      try {
        const seen = await reader.look();
        return typeof seen === 'string' ? [] : [{ name, store: LAYOUTS[name].store, ...seen }];
      } finally {
        reader.close();
      }
    }),
  );
  return found.flat();
}

/** Every entry of an old database into the backend in use, each verified. */
export async function adopt(
  context: TransferContext,
  given: unknown,
  givenOptions?: AdoptOptions,
): Promise<number | MigrationPlan> {
  const name = checkName(given, context.database);
  const options = checkCopyOptions('adopt()', givenOptions);
  const target = await context.session();
  const reader = createOldReader(name, context.timeout);
  try {
    // Before anything else, so that what is not there is told as such.
    const seen = await reader.look();
    if (typeof seen === 'string') throw new StorageError('unavailable', `adopt: ${seen}`);
    return await migrate({
      ...options,
      onProgress: listenerOf(context, options.onProgress),
      name: 'adopt',
      source: sourceOf(reader, seen.entries),
      target,
    });
  } finally {
    reader.close();
  }
}

function checkName(name: unknown, database: string): OldName {
  const known = NAMES.find((one) => one === name);
  if (known === undefined)
    throw new StorageError(
      'invalid-option',
      `adopt: takes the name of an old database: ${NAMES.join(' or ')}.`,
    );
  if (known === database)
    throw new StorageError(
      'invalid-option',
      `adopt: ${database} is the database that this storage itself uses (option database): adopt it with a storage over another one.`,
    );
  return known;
}

const sourceOf = (reader: OldReader, entries: number): Source => ({
  async *entries(after) {
    for await (const record of reader.records(after))
      yield 'refused' in record ? record : await prepared(record.key, record.value);
  },
  count: async () => entries,
});
