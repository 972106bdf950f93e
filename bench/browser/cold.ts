/**
 * A page that does nothing but connect and read one value: what it takes from the navigation's start.
 *
 * Imports as little as it can: what it loads is part of what is measured.
 */
import type { Library } from './key-value.ts';

declare global {
  var coldStart: Promise<{ readonly ms: number; readonly value: unknown }>;
}

/** Milliseconds since the navigation began. The database is named by the address. */
export async function start({ connect }: Library): Promise<{ ms: number; value: unknown }> {
  const keyValue = await connect(location.hash.slice(1));
  const value = await keyValue.get('key-000000');
  return { ms: performance.now(), value };
}
