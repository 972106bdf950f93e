/**
 * What the page does with a contestant: each workload is made ready, then runs timed, then what it has read is checked.
 *
 * Keys hold the version before the one that is written, where they hold anything.
 */
import type { KeyValue } from './contestants.ts';
import { checkValue, recordOf } from './data.ts';

type Check = () => void;
type Work = (
  keyValue: KeyValue,
  keys: readonly string[],
  version: number,
) => () => Promise<Check | undefined>;

/** How many loops run side by side. */
export const LOOPS = 32;
/** In a mixed turn each fifth call is a `set`. */
export const isSet = (i: number): boolean => i % 5 === 4;
/** The key of a call of a mixed turn: half as many keys as calls, in no order. */
export const mixedKey = (i: number, keys: readonly string[]): string =>
  keys[(Math.imul(i + 1, 2_654_435_761) >>> 8) % Math.ceil(keys.length / 2)] ?? '';
/** The key of a loop, and how often it goes round. */
export const loopKeys = (keys: readonly string[]): readonly string[] => keys.slice(0, LOOPS);
export const loopTurns = (keys: readonly string[]): number => Math.ceil(keys.length / LOOPS);

const checkAll = (found: readonly unknown[], keys: readonly string[], version: number): void => {
  for (const [i, key] of keys.entries()) checkValue(found[i], key, version);
};

const setTurn: Work = (keyValue, keys, version) => {
  const values = keys.map((key) => recordOf(key, version));
  return async () => {
    await Promise.all(values.map((value) => keyValue.set(value.key, value)));
    return undefined;
  };
};

const getTurn: Work = (keyValue, keys, version) => async () => {
  const found = await Promise.all(keys.map((key) => keyValue.get(key)));
  return () => checkAll(found, keys, version);
};

/** A `get` may be answered before or after another call's `set` of the key. */
const mixedTurn: Work = (keyValue, keys, version) => {
  const values = keys.map((_, i) => recordOf(mixedKey(i, keys), version));
  return async () => {
    const found = await Promise.all(
      values.map((value, i) => (isSet(i) ? keyValue.set(value.key, value) : keyValue.get(value.key))),
    );
    return () => {
      for (const [i, value] of values.entries()) {
        if (isSet(i)) continue;
        const { version: read } = (found[i] ?? {}) as { version?: unknown };
        checkValue(found[i], value.key, Number(read));
      }
    };
  };
};

const setsAwaited: Work = (keyValue, keys, version) => {
  const values = keys.map((key) => recordOf(key, version));
  return async () => {
    for (const value of values) await keyValue.set(value.key, value);
    return undefined;
  };
};

const getsAwaited: Work = (keyValue, keys, version) => async () => {
  const found: unknown[] = [];
  for (const key of keys) found.push(await keyValue.get(key));
  return () => checkAll(found, keys, version);
};

/** Each loop counts its own key's version up from 0. */
const loops: Work = (keyValue, keys) => async () => {
  const loop = async (key: string): Promise<void> => {
    for (let turn = 0; turn < loopTurns(keys); turn += 1) {
      const { version } = (await keyValue.get(key)) as { version: number };
      await keyValue.set(key, recordOf(key, version + 1));
    }
  };
  await Promise.all(loopKeys(keys).map(loop));
  return undefined;
};

const hotKey: Work = (keyValue, keys, version) => {
  const values = keys.map(() => recordOf(keys[0] ?? '', version));
  return async () => {
    await Promise.all(values.map((value) => keyValue.set(value.key, value)));
    return undefined;
  };
};

const setMany: Work = (keyValue, keys, version) => {
  const entries = keys.map((key) => [key, recordOf(key, version)] as const);
  return async () => {
    await keyValue.setMany(entries);
    return undefined;
  };
};

const getMany: Work = (keyValue, keys, version) => async () => {
  const found = await keyValue.getMany(keys);
  return () => checkAll(found, keys, version);
};

export const WORK = {
  setTurn,
  getTurn,
  mixedTurn,
  setsAwaited,
  getsAwaited,
  loops,
  hotKey,
  setMany,
  getMany,
} satisfies Record<string, Work>;

export type WorkName = keyof typeof WORK;
