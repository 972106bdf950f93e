/**
 * Tokens: who calls, and what that caller may do. Only their SHA-256 hashes are known here: a token has 256 bits of
 * chance (`token.ts`), so a hash that leaks tells nothing.
 *
 * Spec: RFC 6750; docs/contract.md, Who may call.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { ANONYMOUS_TENANT } from '../../store/tenant.ts';

/** Each scope contains the ones before it. */
const SCOPES = ['read', 'write', 'admin'] as const;

/** What a caller may do. */
export type Scope = (typeof SCOPES)[number];

/** Whose data a request is about, and what it may do with it. */
export interface Caller {
  readonly tenant: string;
  readonly scope: Scope;
}

/** A caller who is known by a token. */
export interface TokenEntry extends Caller {
  /** SHA-256. */
  readonly hash: Buffer;
}

/** Where there are no tokens, everybody may do everything. */
export const ANONYMOUS: Caller = { tenant: ANONYMOUS_TENANT, scope: 'admin' };

/** Whether `caller` may do what needs `scope`. */
export function mayDo({ scope }: Caller, needed: Scope): boolean {
  return SCOPES.indexOf(scope) >= SCOPES.indexOf(needed);
}

/** The hash by which a token is known. */
export function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** `<tenant>:<scope>:<hash>`, or `undefined` for anything else. */
export function parseTokenEntry(text: string): TokenEntry | undefined {
  const [, tenant, scope, hash] = /^([\w-]{1,64}):(read|write|admin):([\da-f]{64})$/i.exec(text) ?? [];
  if (tenant === undefined || scope === undefined || hash === undefined) return undefined;
  return { tenant, scope: scope.toLowerCase() as Scope, hash: Buffer.from(hash, 'hex') };
}

/** The caller of a token. Every entry is compared, each in constant time, so the time tells nothing. */
export function callerOf(token: string, entries: readonly TokenEntry[]): Caller | undefined {
  const hash = hashOf(token);
  let caller: Caller | undefined;
  for (const entry of entries) if (timingSafeEqual(entry.hash, hash)) caller ??= entry;
  return caller;
}
