/** What a server holds, compared with what it should. */

import { ofExport, readToEnd, recordsOf, type Server } from '../server/server.ts';
import { CommandError, EXIT } from '../ui/exit-codes.ts';
import type { Terminal } from '../ui/terminal.ts';
import { fingerprint } from './canonical.ts';

/** Keys that a message or a line of JSON names. */
export const SHOWN = 20;

/** Characters of a key that a message shows; JSON has all of them. */
const LONG = 100;

/** The first of many keys. */
export const someOf = (keys: readonly string[]): string =>
  keys
    .slice(0, SHOWN)
    .map((key) => JSON.stringify(key.length > LONG ? `${key.slice(0, LONG)}…` : key))
    .join(', ') + (keys.length > SHOWN ? ' …' : '');

/**
 * Compare what a server holds under each of some keys.
 *
 * @param values The fingerprints that the values should have. Used up: those that are equal are taken out.
 * @returns How many are equal: all of them.
 * @throws {CommandError} naming those that are not, or are not there.
 */
export async function verifyAt(
  server: Server,
  values: Map<string, string>,
  terminal: Terminal,
): Promise<number> {
  const { url } = server.connection;
  const progress = terminal.progress(`verify ${url}`, values.size);
  const wanted = values.size;
  let equal = 0;
  const different: string[] = [];
  try {
    // Keys that no server takes were not sent: they were there before.
    await readToEnd(
      recordsOf(await server.exported(), () => {}),
      (page) => {
        for (const { key, text } of page) {
          const fingerprinted = values.get(key);
          if (fingerprinted === undefined) continue;
          values.delete(key);
          if (fingerprinted === fingerprint(text)) equal += 1;
          else different.push(key);
        }
        progress.at(equal);
      },
    );
  } catch (error) {
    throw ofExport(error, url);
  } finally {
    progress.end();
  }
  const missing = [...values.keys()];
  if (different.length + missing.length === 0) return equal;
  const parts = [
    different.length > 0 && `${different.length} have another value (${someOf(different)})`,
    missing.length > 0 && `${missing.length} are missing (${someOf(missing)})`,
  ].filter(Boolean);
  throw new CommandError(
    EXIT.failed,
    `${equal} of ${wanted} keys were verified at ${url}; ${parts.join(', ')}. The server changed them, or somebody else has written meanwhile.`,
    {
      verified: equal,
      different: different.length,
      missing: missing.length,
      keys: [...different, ...missing].slice(0, SHOWN),
    },
  );
}
