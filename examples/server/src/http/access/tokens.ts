/**
 * Tokens: who the caller is, and what the caller may do. The server knows only their SHA-256 hashes. A token has 256
 * random bits (token-file.ts), so a leaked hash does not reveal it.
 *
 * Spec: docs/contract.md, 9.10 to 9.12; RFC 6750.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { ANONYMOUS_TENANT } from '../../store/store.ts';
import { HttpError } from '../errors.ts';

/** Each scope includes those before it. */
export const SCOPES = ['read', 'write', 'admin'] as const;

/** What a caller may do. */
export type Scope = (typeof SCOPES)[number];

/** The tenant of a request, and what it may do there. */
export interface Caller {
  readonly tenant: string;
  /** Names the tenant to clients. Absent on a server without tokens. */
  readonly account?: string;
  readonly scope: Scope;
}

/** What the server knows about one token. */
export interface TokenEntry extends Caller {
  /** SHA-256 of the token. */
  readonly hash: Buffer;
  /** Milliseconds since 1970. From then on the token is refused. */
  readonly expires?: number | undefined;
}

/** The caller of a server without tokens. */
export const ANONYMOUS: Caller = { tenant: ANONYMOUS_TENANT, scope: 'admin' };

/** @throws {HttpError} 403 unless the caller has `scope`. */
export function requireScope(caller: Caller | undefined, scope: Scope): void {
  if (caller && SCOPES.indexOf(caller.scope) >= SCOPES.indexOf(scope)) return;
  throw new HttpError(403, `This needs a token with the scope ${scope}`, {
    headers: { 'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** SHA-256 of a token. */
export function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** Whether a text may name a tenant. */
export function isTenant(text: string): boolean {
  return /^[\w-]{1,64}$/.test(text);
}

/** Parses `<tenant>:<scope>:<hash>`; `undefined` for any other text. */
export function parseTokenEntry(text: string): TokenEntry | undefined {
  const [, tenant, scope, hash] = /^([^:]+):(read|write|admin):([\da-f]{64})$/i.exec(text) ?? [];
  if (tenant === undefined || scope === undefined || hash === undefined || !isTenant(tenant))
    return undefined;
  return tokenEntry(tenant, scope.toLowerCase() as Scope, hash);
}

/** @param hash SHA-256 of the token in hexadecimal digits. */
export function tokenEntry(tenant: string, scope: Scope, hash: string, expires?: number): TokenEntry {
  return { tenant, account: accountOf(tenant), scope, hash: Buffer.from(hash, 'hex'), expires };
}

/** The same for every token of a tenant, and for the Flask server. */
function accountOf(tenant: string): string {
  return createHash('sha256').update(`account:${tenant}`).digest('base64url').slice(0, 22);
}

/** Finds a token's entry. Compares every entry, each in constant time, so that timing reveals nothing. */
export function entryOf(token: string, entries: Iterable<TokenEntry>): TokenEntry | undefined {
  const hash = hashOf(token);
  let found: TokenEntry | undefined;
  for (const entry of entries) if (timingSafeEqual(entry.hash, hash)) found ??= entry;
  return found;
}

/** Whether a token's time is over. */
export function isExpired({ expires }: TokenEntry, now = Date.now()): boolean {
  return expires !== undefined && expires <= now;
}
