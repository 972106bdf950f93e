/**
 * Values as one line of text.
 */

/** A value as JSON, or, where that does not give it back as it is, what can be said of it in one line. */
export const textOf = (value: unknown): string => (isPlain(value) ? JSON.stringify(value) : describe(value));

/** Whether JSON gives the value back as it is: only then it can be edited here. */
export function isPlain(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object' || value === null)
    return value === null || (typeof value !== 'bigint' && value !== undefined);
  const prototype = Object.getPrototypeOf(value);
  return (Array.isArray(value) || prototype === Object.prototype) && Object.values(value).every(isPlain);
}

function describe(value: unknown): string {
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (value instanceof Date) return `Date ${Number.isNaN(value.getTime()) ? 'invalid' : value.toISOString()}`;
  if (value instanceof Map || value instanceof Set) return `${kind} of ${value.size}`;
  if (value instanceof Blob) return `${kind}, ${value.size} bytes, ${value.type || 'no type'}`;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `${kind}, ${value.byteLength} bytes`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value instanceof RegExp || value instanceof Error) return String(value);
  return `${kind} with ${Object.keys(value ?? {}).join(', ')}`;
}
