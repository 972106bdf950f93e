/**
 * Migration as an app asks for it: from the backend in use to another one.
 */

import { StorageError } from '../core/errors.ts';
import { hash } from '../core/hash.ts';
import { checkServerUrl } from '../core/server-url.ts';
import { createFlaskBackend, type FlaskBackend } from '../remote/backend.ts';
import { changedSince, position } from '../remote/level1/changes.ts';
import { askToken } from '../remote/token.ts';
import { listenerOf, type Workshop } from './context.ts';
import { type ChangingSource, type Migration, migrate } from './copy/copy.ts';
import { sourceOf } from './copy/moving.ts';
import {
  type CheckedOptions,
  checkOptions,
  type MigrateOptions,
  type MigrationPlan,
} from './copy/options.ts';
import { openJournal } from './copy/stored-journal.ts';

/** Every entry of IndexedDB to a server, each verified. */
export async function migrateToFlask(
  workshop: Workshop,
  url: unknown,
  given?: MigrateOptions,
): Promise<number | MigrationPlan> {
  const address = addressOf(url);
  const options = checkOptions('migrateToFlask', given);
  await workshop.inTurn();
  if (workshop.served()) throw new StorageError('wrong-backend', 'Already using Flask backend');
  const { timeout, token, indexedDb } = workshop;
  const flask = workshop.keep(createFlaskBackend(address, timeout, token));
  try {
    return await journaled(workshop, options, `to ${address}`, () => epochOf(flask), {
      name: 'migrateToFlask',
      source: sourceOf(indexedDb),
      target: flask,
      async activate() {
        const failed = await workshop.use(address).then(
          () => undefined,
          (error: StorageError) => error,
        );
        if (workshop.served()?.type === 'flask') return;
        const reason = failed?.message ?? workshop.served()?.status().reason;
        await workshop.use(undefined);
        throw new StorageError('unavailable', `Everything arrived, but the server cannot be used: ${reason}`);
      },
    });
  } finally {
    await workshop.letGo(flask);
  }
}

/** Every entry of the server in use to IndexedDB, each verified. What waits for the server is sent before. */
export async function migrateToIndexedDB(
  workshop: Workshop,
  given?: MigrateOptions,
): Promise<number | MigrationPlan> {
  const options = checkOptions('migrateToIndexedDB', given);
  await workshop.inTurn();
  const served = workshop.served();
  if (!served) throw new StorageError('wrong-backend', 'Already using IndexedDB');
  await served.flush();
  const address = workshop.serverUrl() as string;
  const { timeout, token, indexedDb } = workshop;
  // Not the one in use: what that reads goes into the mirror as well, and this is all that the server has.
  const server = workshop.keep(createFlaskBackend(address, timeout, token));
  try {
    const state = async (): Promise<string | undefined> => (await epochOf(server)) ?? fillingOf(server);
    return await journaled(workshop, options, `from ${address}`, state, {
      name: 'migrateToIndexedDB',
      source: changing(server, () => served.flush()),
      target: indexedDb,
      activate: () => workshop.use(undefined),
    });
  } finally {
    await workshop.letGo(server);
  }
}

function addressOf(url: unknown): string {
  try {
    return checkServerUrl(url);
  } catch (cause) {
    throw new StorageError(
      'invalid-option',
      "migrateToFlask: url must be the server's address, such as http://localhost:5001.",
      { cause },
    );
  }
}

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
  workshop: Workshop,
  options: CheckedOptions,
  pair: string,
  state: () => Promise<string | undefined>,
  { activate, ...direction }: Direction,
): Promise<number | MigrationPlan> {
  const { database, timeout, alone } = workshop;
  let journal: Awaited<ReturnType<typeof openJournal>> | undefined;
  let before: string | undefined;
  try {
    return await migrate({
      ...direction,
      ...options,
      onProgress: listenerOf(workshop, options.onProgress),
      async openJournal() {
        // Both sides have answered by now.
        before = await state();
        const of = [before, options.onConflict, await callerOf(workshop)].join('\n');
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
async function epochOf(flask: FlaskBackend): Promise<string | undefined> {
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
async function callerOf({ token, timeout }: Workshop): Promise<number | undefined> {
  if (token === undefined) return undefined;
  const given =
    typeof token === 'string' ? token : await askToken(token, timeout, new AbortController().signal);
  return hash(given, 1);
}

/** A server as a source that tells its changes. `flush` sends what waits here for it. */
function changing(server: FlaskBackend, flush: () => Promise<void>): ChangingSource {
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
