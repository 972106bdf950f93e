/**
 * A whole backup into a server, and the server's export compared with it afterwards.
 *
 * Nothing is sent before the backup was read from end to end, and no key counts as verified that was not compared.
 */
import { StorageError } from '../../core/errors.ts';
import { type Archive, recordsIn } from '../files/archive.ts';
import { SHOWN, someOf, verifyAt } from '../files/verifying.ts';
import { CommandError, EXIT, withAdvice } from '../ui/exit-codes.ts';
import type { Terminal } from '../ui/terminal.ts';
import { send } from './sending.ts';
import type { Server } from './server.ts';

/** What becomes of a key that the target holds: it is replaced, it stays, or nothing at all is sent. */
export type Mode = 'overwrite' | 'skip' | 'fail';

/** The modes, the default first. */
export const MODES: readonly Mode[] = ['overwrite', 'skip', 'fail'];

/** How an import goes. */
export interface Manner {
  readonly mode: Mode;
  readonly dryRun: boolean;
}

/** What came of an import. With `dryRun` what would have come of it, as far as the target tells. */
export interface Imported {
  readonly keys: number;
  readonly imported: number;
  readonly skipped: number;
  /** Keys that were compared at the target and are equal. */
  readonly verified: number;
  readonly dryRun: boolean;
}

/**
 * Bring a backup into a server.
 *
 * @param archive Its `values` are used up.
 * @throws {CommandError} saying what was stored and what was not.
 */
export async function importInto(
  server: Server,
  archive: Archive,
  { mode, dryRun }: Manner,
  terminal: Terminal,
): Promise<Imported> {
  const { values, name } = archive;
  const { url } = server.connection;
  // Others may store such a key between this look and the write: then it is found when the target is compared.
  const held = mode === 'overwrite' ? [] : (await server.keys()).filter((key) => values.has(key));
  if (mode === 'fail') {
    if (held.length > 0)
      throw new CommandError(
        EXIT.failed,
        `${url} holds ${held.length} of the keys of ${name} already: ${someOf(held)}. Nothing was sent. --mode overwrite replaces them, --mode skip lets them be.`,
        { existing: held.length, existingKeys: held.slice(0, SHOWN) },
      );
    if (recordsIn(archive) !== values.size)
      throw new CommandError(
        EXIT.failed,
        `${name} names keys twice, which --mode fail does not take. Nothing was sent.`,
      );
  }
  const there = new Set(held);
  const sent = await send(server, archive, { mode, dryRun, there }, terminal);
  const keys = values.size;
  if (dryRun) return { keys, ...sent, verified: 0, dryRun };
  for (const key of there) values.delete(key);
  try {
    const verified = await verifyAt(server, values, terminal);
    return { keys, ...sent, verified, dryRun };
  } catch (error) {
    if (error instanceof StorageError)
      throw withAdvice(
        error,
        `The server has answered that it stored ${sent.imported} keys; they were not compared.`,
      );
    throw error;
  }
}
