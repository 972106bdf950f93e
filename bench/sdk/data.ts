/**
 * Values of 1 KB that say which key they belong to and which version they are: the page stores them, Node.js checks them.
 */

/** A value as an app stores it. */
export interface Value {
  readonly key: string;
  readonly version: number;
  readonly text: string;
}

const BYTES = 1000;

export function recordOf(key: string, version: number): Value {
  const empty = JSON.stringify({ key, version, text: '' }).length;
  return { key, version, text: 'x'.repeat(Math.max(0, BYTES - empty)) };
}

/** Names of `count` keys, the same in each run. */
export const keysOf = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(5, '0')}`);

/** @throws {Error} Where a value is not the one of that key and version. */
export function checkValue(found: unknown, key: string, version: number): void {
  if (JSON.stringify(found) === JSON.stringify(recordOf(key, version))) return;
  throw new Error(
    `${key} was to be at version ${version}, but is ${JSON.stringify(found)?.slice(0, 60) ?? 'missing'}`,
  );
}
