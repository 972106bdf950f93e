/** Chance that can be repeated: everything drawn follows from the seed. */

/** A source of chance. */
export interface Random {
  /** From 0 up to 1. */
  next(): number;
  /** A whole number from 0 up to `limit`. */
  below(limit: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Buffer;
}

/** The same numbers for the same seed. Algorithm: mulberry32. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const random: Random = {
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let bits = Math.imul(state ^ (state >>> 15), 1 | state);
      bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
      return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
    },
    below: (limit) => Math.floor(random.next() * limit),
    chance: (probability) => random.next() < probability,
    pick: <T>(items: readonly T[]): T => items[random.below(items.length)] as T,
    bytes: (length) => Buffer.from(Array.from({ length }, () => random.below(256))),
  };
  return random;
}

/** The seed of one part of what a seed decides: parts that run side by side take no chance from each other. */
export function seedOf(seed: number, part: string): number {
  // FNV-1a, with the seed in place of its offset.
  let hash = (seed ^ 0x811c9dc5) >>> 0;
  for (const byte of new TextEncoder().encode(part)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** The seed that the environment variable `name` gives, or else a new one. */
export function seedFrom(name: string): number {
  const given = process.env[name];
  return given ? Number(given) >>> 0 : Math.floor(Math.random() * 2 ** 32);
}
