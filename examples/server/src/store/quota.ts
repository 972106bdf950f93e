/**
 * How much a tenant may store. Usage is counted in the transaction of a write, and stored with the tenant's sequence number.
 *
 * A writer that does not count, such as a server without quotas over the same database, leaves another sequence number behind. The
 * next write that counts then counts all entries of the tenant anew.
 */

/** Entries of a tenant, and UTF-8 bytes of their values, as the counts of the contract have them (6.3). */
export interface Usage {
  readonly keys: number;
  readonly bytes: number;
}

/** What a tenant may use. An absent member is not limited. */
export interface Quota {
  readonly keys?: number | undefined;
  readonly bytes?: number | undefined;
}

/** The quota of a tenant; `undefined` if it may store any amount. */
export type QuotaOf = (tenant: string) => Quota | undefined;

export const NO_QUOTAS: QuotaOf = () => undefined;

/** What a write that is over a quota fails with, in words. */
export function quotaText(used: Usage, quota: Quota): string {
  const of = (name: 'keys' | 'bytes'): string[] =>
    quota[name] === undefined ? [] : [`${used[name]} of ${quota[name]} ${name}`];
  return `The quota has no room for this: ${[...of('keys'), ...of('bytes')].join(' and ')} are used`;
}

/** Whether a change to `after` is over a quota. What does not add to the usage never is, so that a tenant can always make room. */
export function exceeds(quota: Quota, before: Usage, after: Usage): boolean {
  const isOver = (name: 'keys' | 'bytes'): boolean =>
    after[name] > before[name] && after[name] > (quota[name] ?? Number.POSITIVE_INFINITY);
  return isOver('keys') || isOver('bytes');
}
