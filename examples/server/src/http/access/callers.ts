/**
 * Who may call: the tokens of `TOKENS`, and those of the file that `TOKENS_FILE` names, which is read again when it changes.
 *
 * A token that is revoked or expires is refused within a second, and what it still receives is cut off.
 */
import { readFileSync, statSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { Logger } from '../../log.ts';
import { parseTokenFile } from '../../token-file.ts';
import { type Caller, entryOf, isExpired, type TokenEntry, tokenEntry } from './tokens.ts';

/** Milliseconds between two looks at the file and the clock. */
const LOOK_EVERY = 1000;

/** What a request's token says. */
export type Recognized = { readonly caller: Caller } | { readonly refused: 'unknown' | 'expired' };

/** The tokens of a server that runs. */
export interface Callers {
  /** Whether a caller needs a token. Without tokens every caller may do everything. */
  readonly needTokens: boolean;
  /** Whose token this is. */
  recognize(token: string): Recognized;
  /** Cuts an answer off if the caller's token stops being good before it is sent. */
  cutWithToken(caller: Caller | undefined, outgoing: ServerResponse): void;
  /** Looks at the file no more. */
  stop(): void;
}

/** What the operator configures. */
export interface TokenSettings {
  readonly tokens: readonly TokenEntry[];
  readonly tokensFile: string | undefined;
}

/** @throws {Error} If the file cannot be read. */
export function createCallers(
  { tokens, tokensFile }: TokenSettings,
  log: Pick<Logger, 'info' | 'error'>,
): Callers {
  const file = tokensFile === undefined ? undefined : createTokenFileReader(tokensFile);
  /** The answers that are not sent, and those that were since the last look. */
  const answers = new Map<ServerResponse, TokenEntry>();
  let entries: readonly TokenEntry[] = [...tokens, ...(file?.read() ?? [])];

  function look(): void {
    try {
      const stored = file?.read();
      if (stored !== undefined) {
        entries = [...tokens, ...stored];
        log.info({ tokens: stored.length }, 'read TOKENS_FILE again');
      }
    } catch (error) {
      log.error({ err: error }, 'TOKENS_FILE cannot be read: the tokens that were read before stay in force');
    }
    const now = Date.now();
    for (const [outgoing, entry] of answers) {
      const isGood = !isExpired(entry, now) && entries.includes(entry);
      if (!isGood) outgoing.destroy();
      if (!isGood || outgoing.closed) answers.delete(outgoing);
    }
  }
  // The tokens of TOKENS stay good while the process runs.
  const timer = file && setInterval(look, LOOK_EVERY).unref();

  return {
    needTokens: tokens.length > 0 || file !== undefined,
    recognize(token) {
      const entry = entryOf(token, entries);
      if (entry === undefined) return { refused: 'unknown' };
      return isExpired(entry) ? { refused: 'expired' } : { caller: entry };
    },
    cutWithToken(caller, outgoing) {
      if (file && caller && isTokenEntry(caller)) answers.set(outgoing, caller);
    },
    stop: () => clearInterval(timer),
  };
}

const isTokenEntry = (caller: Caller): caller is TokenEntry => 'hash' in caller;

/** Reads the tokens of a file. */
interface TokenFileReader {
  /** The tokens, or `undefined` if the file is as it was at the last call. @throws {Error} that says what is wrong. */
  read(): TokenEntry[] | undefined;
}

function createTokenFileReader(path: string): TokenFileReader {
  let state: string | undefined;
  let known = new Map<string, TokenEntry>();
  return {
    read() {
      const found = statSync(path, { throwIfNoEntry: false });
      // Until the first token is added, nobody is let in.
      if (found === undefined && known.size === 0) return undefined;
      const now = found && [found.ino, found.size, found.mtimeMs].join();
      if (now === state) return undefined;
      state = now;
      const tokens = parseTokenFile(readFileSync(path, 'utf8'));
      // The entry of a token that has not changed stays the same object.
      known = new Map(
        tokens.map(({ tenant, scope, sha256, expires }) => {
          const name = [tenant, scope, sha256, expires].join(':');
          const entry = known.get(name);
          return [
            name,
            entry ??
              tokenEntry(tenant, scope, sha256, expires === undefined ? undefined : Date.parse(expires)),
          ];
        }),
      );
      return [...known.values()];
    },
  };
}
