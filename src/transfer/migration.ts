/**
 * Migration: copies the entries of the backend in use to the other backend.
 */

import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { checkServerUrl } from '../core/server-url.ts';
import type { FlaskBackend } from '../sync/index.ts';
import { listenerOf, type TransferContext } from './context.ts';
import { type ChangingSource, type Migration, migrate } from './copy/copy.ts';
import {
  type CheckedOptions,
  checkCopyOptions,
  type MigrateOptions,
  type MigrationPlan,
} from './copy/options.ts';
import { sourceOf } from './copy/source.ts';
import { openJournal } from './copy/stored-journal.ts';

/** Copies every entry of IndexedDB to a server, and reads each back. */
export async function migrateToFlask(
  context: TransferContext,
  url: unknown,
  given?: MigrateOptions,
): Promise<number | MigrationPlan> {
  const address = checkServerUrl(url, 'migrateToFlask(): url');
  const options = checkCopyOptions('migrateToFlask()', given);
  await context.session();
  if (context.serverUrl() !== undefined)
    throw new StorageError('wrong-backend', 'Already using Flask backend');
  const { timeout, token, indexedDb } = context;
  const server = await context.serverPart();
  const flask = context.keep(server.createFlaskBackend(address, timeout, token));
  try {
    return await journaled(context, options, `to ${address}`, () => epochOf(server, flask), {
      name: 'migrateToFlask',
      source: sourceOf(indexedDb),
      target: flask,
      async activate() {
        const failed = await context.use(address).then(
          () => undefined,
          (error: StorageError) => error,
        );
        const { backend, reason } = context.status();
        if (backend === 'flask') return;
        await context.use(undefined);
        throw new StorageError(
          'unavailable',
          `Every entry was copied, but the server cannot be used: ${failed?.message ?? reason}`,
        );
      },
    });
  } finally {
    await context.letGo(flask);
  }
}

/** Copies every entry of the server in use to IndexedDB, and reads each back. The outbox is sent first. */
export async function migrateToIndexedDB(
  context: TransferContext,
  given?: MigrateOptions,
): Promise<number | MigrationPlan> {
  const options = checkCopyOptions('migrateToIndexedDB()', given);
  const session = await context.session();
  const address = context.serverUrl();
  if (address === undefined) throw new StorageError('wrong-backend', 'Already using IndexedDB');
  await session.flush();
  const { timeout, token, indexedDb } = context;
  // A client of its own: the session in use would write everything that it reads into the mirror.
  const part = await context.serverPart();
  const server = context.keep(part.createFlaskBackend(address, timeout, token));
  try {
    const state = async (): Promise<string | undefined> => (await epochOf(part, server)) ?? fillingOf(server);
    return await journaled(context, options, `from ${address}`, state, {
      name: 'migrateToIndexedDB',
      source: changing(part, server, () => session.flush()),
      target: indexedDb,
      activate: () => context.use(undefined),
    });
  } finally {
    await context.letGo(server);
  }
}

type ServerPart = Awaited<ReturnType<TransferContext['serverPart']>>;

/** What differs between the two directions. */
interface Direction extends Pick<Migration, 'name' | 'source' | 'target'> {
  activate(): Promise<void>;
}

/**
 * Runs a migration with a journal in a database of its own.
 *
 * @param pair Identifies source and target.
 * @param state Returns the epoch of the server's data, as far as it is known.
 */
async function journaled(
  context: TransferContext,
  options: CheckedOptions,
  pair: string,
  state: () => Promise<string | undefined>,
  { activate, ...direction }: Direction,
): Promise<number | MigrationPlan> {
  const { database, timeout, alone } = context;
  let journal: Awaited<ReturnType<typeof openJournal>> | undefined;
  let before: string | undefined;
  try {
    return await migrate({
      ...direction,
      ...options,
      onProgress: listenerOf(context, options.onProgress),
      async openJournal() {
        // Source and target have answered once by now, so the level of the server is known.
        before = await state();
        const of = [before, options.onConflict, await callerOf(context)].join('\n');
        journal = await openJournal(`${pair}\n${database}`, of, timeout);
        return journal;
      },
      async confirm() {
        if (before === EMPTY || (await state()) === before) return;
        throw new StorageError(
          'unavailable',
          'The server was restored to an earlier state during the migration, or has lost its data.',
        );
      },
      settle: async (work) => {
        if (options.activate) await alone(async () => (await work()) && activate());
      },
    });
  } finally {
    journal?.close();
  }
}

/** The epoch of a server's data; `undefined` on level 0, which has none. */
async function epochOf({ position }: ServerPart, flask: FlaskBackend): Promise<string | undefined> {
  const level1 = flask.level1();
  return level1 && (await position(level1)).replace(/\.\d+$/, '');
}

/**
 * The substitute for an epoch on level 0: whether the server is empty. A source that has lost all data, such as a container without
 * its volume, must not count as one whose entries were all deleted: the copies may be the only ones left.
 */
const fillingOf = async (server: FlaskBackend): Promise<string | undefined> =>
  (await server.stats()).keys > 0 ? undefined : EMPTY;
const EMPTY = 'level 0, empty';

/** Identifies the caller by its token: another caller may be another tenant, whose copies this caller does not see. */
async function callerOf({ token, timeout, serverPart }: TransferContext): Promise<number | undefined> {
  if (token === undefined) return undefined;
  if (typeof token === 'string') return hash(token, 1);
  const { askToken } = await serverPart();
  const given = await askToken(token, timeout, new AbortController().signal);
  return hash(given, 1);
}

/** A server as a source with a change feed. `flush` sends the outbox. */
function changing(
  { position, changedSince }: ServerPart,
  server: FlaskBackend,
  flush: () => Promise<void>,
): ChangingSource {
  return {
    ...sourceOf(server),
    async position() {
      const level1 = server.level1();
      return level1 && position(level1);
    },
    async changesSince(from) {
      await flush();
      const level1 = server.level1();
      return level1?.tellsChanges ? changedSince(level1, from) : undefined;
    },
  };
}
