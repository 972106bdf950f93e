/**
 * Adoption: copies the entries of databases that older apps have left at this origin to the backend in use.
 *
 * Invariant: an old database is only read.
 */
import { StorageError } from '../core/errors.ts';
import { createOldReader, LAYOUTS, type OldName, type OldReader } from '../indexeddb/old-databases.ts';
import { backendOf, listenerOf, type TransferContext } from './context.ts';
import { migrate } from './copy/copy.ts';
import { type AdoptOptions, checkCopyOptions, type MigrationPlan, type OldDatabase } from './copy/options.ts';
import { prepared, type Source } from './copy/source.ts';

const NAMES = Object.keys(LAYOUTS) as OldName[];

/** The databases of older apps at this origin. */
export async function oldDatabases({ session, database, timeout }: TransferContext): Promise<OldDatabase[]> {
  await session();
  const found = await Promise.all(
    NAMES.filter((name) => name !== database).map(async (name): Promise<OldDatabase[]> => {
      const reader = createOldReader(name, timeout);
      try {
        const seen = await reader.look();
        if (typeof seen === 'string') return [];
        const entries = seen.stores.reduce((sum, store) => sum + store.entries, 0);
        return [{ name, version: seen.version, entries, stores: seen.stores }];
      } finally {
        reader.close();
      }
    }),
  );
  return found.flat();
}

/** Copies every entry of an old database to the backend in use, and verifies each. */
export async function adopt(
  context: TransferContext,
  given: unknown,
  givenOptions?: AdoptOptions,
): Promise<number | MigrationPlan> {
  const name = checkName(given, context.database);
  const options = checkCopyOptions('adopt()', givenOptions);
  const target = await backendOf(context);
  const reader = createOldReader(name, context.timeout);
  try {
    // Before anything else: a missing database is reported as missing.
    const seen = await reader.look();
    if (typeof seen === 'string') throw new StorageError('unavailable', `adopt(): ${seen}`);
    const { version, stores } = seen;
    if (stores.every(({ prefix }) => prefix === undefined)) {
      const names = stores.map((store) => store.name).join(', ');
      throw new StorageError(
        'unavailable',
        `adopt(): IndexedDB database ${name} (version ${version}) has the stores [${names}], and none of a known layout (${Object.keys(LAYOUTS[name]).join(', ')}): nothing was copied.`,
      );
    }
    return await migrate({
      ...options,
      onProgress: listenerOf(context, options.onProgress),
      name: 'adopt',
      source: sourceOf(reader, stores),
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
      `adopt() takes the name of an old database: ${NAMES.map((one) => `'${one}'`).join(' or ')}.`,
    );
  if (known === database)
    throw new StorageError(
      'invalid-option',
      `adopt(): this storage itself uses the database ${database}. Create a storage with another \`database\`, and adopt it there.`,
    );
  return known;
}

const sourceOf = (reader: OldReader, stores: OldDatabase['stores']): Source => ({
  async *entries() {
    for await (const record of reader.records())
      yield 'refused' in record ? record : await prepared(record.key, record.value);
  },
  // A store of an unknown layout is one refused entry.
  count: async () =>
    stores.reduce(
      (sum, { entries, prefix }) => sum + (prefix === undefined ? Math.min(entries, 1) : entries),
      0,
    ),
});
