/** What is migrated: keys in byte order, and under each a value that says which key it belongs to. */
import { keyOf, recordOf, textOf } from '../browser/data.ts';

export const VALUES = {
  '200 B': (index: number): unknown => textOf(index, 0, 200),
  '1 KB': (index: number): unknown => recordOf(index, 0),
} as const;

export type Size = keyof typeof VALUES;

/**
 * Looks at entries in their order, and counts them.
 *
 * @throws {Error} Where one is missing, not asked for, or another one than it was.
 */
export function createCheck(size: Size, where: string): (key: unknown, value: unknown) => number {
  let count = 0;
  return (key, value) => {
    const wanted = VALUES[size](count);
    if (key !== keyOf(count) || (value !== wanted && JSON.stringify(value) !== JSON.stringify(wanted)))
      throw new Error(`${where} holds ${key} where ${keyOf(count)} was to be, or not its value`);
    count += 1;
    return count;
  };
}
