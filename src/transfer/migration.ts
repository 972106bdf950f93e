/**
 * Migration as an app asks for it: from the backend in use to another one.
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

/** Every entry of IndexedDB to a server, each verified. */
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
          `Everything arrived, but the server cannot be used: ${failed?.message ?? reason}`,
        );
      },
    });
  } finally {
    await context.letGo(flask);
  }
}

/** Every entry of the server in use to IndexedDB, each verified. What waits for the server is sent before. */
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
  // Not the one in use: what that reads goes into the mirror as well, and this is all that the server has.
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

/** What is different in the two directions. */
interface Direction extends Pick<Migration, 'name' | 'source' | 'target'> {
  activate(): Promise<void>;
}

/**
 * A migration with a journal beside the database of this origin.
 *
 * @param pair Names source and target.
 * @param state Names the incarnation of the server's data, as far as that is known.
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
        // Both sides have answered by now.
        before = await state();
        const of = [before, options.onConflict, await callerOf(context)].join('\n');
        journal = await openJournal(`${pair}\n${database}`, of, timeout);
        return journal;
      },
      async confirm() {
        if (before === EMPTY || (await state()) === before) return;
        throw new StorageError(
          'unavailable',
          'The server was restored to an earlier state meanwhile, or has lost what it had.',
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

/** Which incarnation of its data a server holds; nothing on level 0, which does not tell. */
async function epochOf({ position }: ServerPart, flask: FlaskBackend): Promise<string | undefined> {
  const level1 = flask.level1();
  return level1 && (await position(level1)).replace(/\.\d+$/, '');
}

/**
 * What there is to know of a level-0 server instead. A source that has lost everything, as a container does without its volume, must
 * not be taken for one where everything was deleted: what was brought over may be all that is left.
 */
const fillingOf = async (server: FlaskBackend): Promise<string | undefined> =>
  (await server.stats()).keys > 0 ? undefined : EMPTY;
const EMPTY = 'level 0, empty';

/** Names whom the server takes the caller for: what another one has brought over is not there for this one. */
async function callerOf({ token, timeout, serverPart }: TransferContext): Promise<number | undefined> {
  if (token === undefined) return undefined;
  if (typeof token === 'string') return hash(token, 1);
  const { askToken } = await serverPart();
  const given = await askToken(token, timeout, new AbortController().signal);
  return hash(given, 1);
}

/** A server as a source that tells its changes. `flush` sends what waits here for it. */
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
