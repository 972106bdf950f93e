/**
 * The file that `TOKENS_FILE` names: the hashes of tokens, with what each allows and how long. The `token` command changes it, and
 * servers read it again when it changes. It does not reveal the tokens.
 */
import { randomBytes } from 'node:crypto';
import { hashOf, isTenant, SCOPES, type Scope } from './http/access/tokens.ts';

/** What the file knows about one token. */
export interface StoredToken {
  /** Names the token in commands and logs. */
  readonly id: string;
  readonly tenant: string;
  readonly scope: Scope;
  /** SHA-256 of the token, 64 hexadecimal digits. */
  readonly sha256: string;
  /** ISO 8601. */
  readonly created: string;
  /** ISO 8601. From then on the token is refused. */
  readonly expires?: string;
  /** What its owner wants to remember about it. */
  readonly note?: string;
}

const FORMAT = 'codeforge-storage-tokens';
const VERSION = 1;

/**
 * The tokens of a file.
 *
 * @throws {Error} that says what is wrong with the text. It does not repeat the text: that may contain a token.
 */
export function parseTokenFile(text: string): StoredToken[] {
  const file = parseJson(text) as { format?: unknown; version?: unknown; tokens?: unknown } | null;
  if (file?.format !== FORMAT)
    throw new Error(`it is not a file of the token command ("format": "${FORMAT}")`);
  if (file.version !== VERSION) throw new Error('a newer version of the token command has written it');
  if (!Array.isArray(file.tokens)) throw new Error('"tokens" is not a list');
  for (const [i, token] of file.tokens.entries()) {
    const wrong = wrongMember(token);
    if (wrong !== undefined) throw new Error(`"${wrong}" of token ${i + 1} is missing or invalid`);
  }
  return file.tokens;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
}

function wrongMember(token: Partial<StoredToken> | null): string | undefined {
  const isTime = (value: unknown): boolean => typeof value === 'string' && !Number.isNaN(Date.parse(value));
  const { id, tenant, scope, sha256, created, expires, note } = token ?? {};
  const members: Record<keyof StoredToken, boolean> = {
    id: typeof id === 'string' && /^\w{1,32}$/.test(id),
    tenant: typeof tenant === 'string' && isTenant(tenant),
    scope: scope !== undefined && SCOPES.includes(scope),
    sha256: typeof sha256 === 'string' && /^[\da-f]{64}$/i.test(sha256),
    created: isTime(created),
    expires: expires === undefined || isTime(expires),
    note: note === undefined || typeof note === 'string',
  };
  return Object.entries(members).find(([, isRight]) => !isRight)?.[0];
}

/** The text of a file with these tokens. */
export function formatTokenFile(tokens: readonly StoredToken[]): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, tokens }, null, 2)}\n`;
}

/** What a new token is for. */
export type TokenGrant = Pick<StoredToken, 'tenant' | 'scope' | 'expires' | 'note'>;

/** A token of 256 random bits, and what the file stores about it. */
export function createToken(grant: TokenGrant, now: Date): { token: string; stored: StoredToken } {
  // The prefix lets secret scanners find a token, and a token never starts with a hyphen.
  const token = `cf_${randomBytes(32).toString('base64url')}`;
  const stored = {
    id: randomBytes(4).toString('hex'),
    ...grant,
    sha256: hashOf(token).toString('hex'),
    created: now.toISOString(),
  };
  return { token, stored };
}
