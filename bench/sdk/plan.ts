/**
 * Which work is measured with how many calls, and what must be stored when a round has ended.
 */
import { isSet, loopKeys, loopTurns, mixedKey, type WorkName } from './workloads.ts';

/** Milliseconds that are added to a round trip. */
export const LATENCIES = [0, 20, 100] as const;
export type Latency = (typeof LATENCIES)[number];

/** One row. */
export interface Row {
  readonly work: WorkName;
  title(count: number): string;
  /** Whether a round takes keys that the page has not used yet, or all rounds the same ones, stored beforehand. */
  readonly keys: 'new' | 'stored';
  /** Left out for those that need a request a key: Chromium took 1,000 waiting ones and refused 2,000. */
  readonly batchesOnly?: true;
  /** How many calls a round has; 0 where the row is left out. Fewer where a request a call would take minutes. */
  readonly counts: Readonly<Record<Latency, number>>;
  /** What must be stored then: keys, each with its version. `version` counts the rounds from 1. */
  stored(keys: readonly string[], version: number): ReadonlyMap<string, number>;
}

const all = (keys: readonly string[], version: number): ReadonlyMap<string, number> =>
  new Map(keys.map((key) => [key, version]));
const nothing = (): ReadonlyMap<string, number> => new Map();
const shown = (count: number): string => count.toLocaleString('en-US');

export const PLAN: readonly Row[] = [
  {
    work: 'setTurn',
    title: (count) => `${shown(count)} \`set\` in one turn`,
    keys: 'new',
    counts: { 0: 1000, 20: 1000, 100: 30 },
    stored: all,
  },
  {
    work: 'getTurn',
    title: (count) => `${shown(count)} \`get\` in one turn`,
    keys: 'stored',
    counts: { 0: 1000, 20: 300, 100: 30 },
    stored: nothing,
  },
  {
    work: 'mixedTurn',
    title: (count) => `mixed 80/20, ${shown(count)} in one turn`,
    keys: 'stored',
    counts: { 0: 1000, 20: 150, 100: 30 },
    stored: (keys, version) =>
      new Map(keys.flatMap((_, i) => (isSet(i) ? [[mixedKey(i, keys), version] as const] : []))),
  },
  {
    work: 'getsAwaited',
    title: (count) => `${shown(count)} \`get\` one by one`,
    keys: 'stored',
    counts: { 0: 100, 20: 12, 100: 4 },
    stored: nothing,
  },
  {
    work: 'setsAwaited',
    title: (count) => `${shown(count)} \`set\` one by one, new keys`,
    keys: 'new',
    counts: { 0: 100, 20: 12, 100: 4 },
    stored: all,
  },
  {
    work: 'setsAwaited',
    title: (count) => `${shown(count)} \`set\` one by one, keys that the page has set before`,
    keys: 'stored',
    counts: { 0: 100, 20: 12, 100: 4 },
    stored: all,
  },
  {
    work: 'loops',
    title: (count) => `32 concurrent loops of get-modify-set, ${shown(Math.ceil(count / 32))} turns each`,
    keys: 'stored',
    counts: { 0: 128, 20: 64, 100: 32 },
    stored: (keys, version) => new Map(loopKeys(keys).map((key) => [key, version * loopTurns(keys)])),
  },
  {
    work: 'hotKey',
    title: (count) => `${shown(count)} \`set\` of one key in one turn`,
    keys: 'stored',
    counts: { 0: 300, 20: 60, 100: 12 },
    stored: (keys, version) => all(keys.slice(0, 1), version),
  },
  {
    work: 'setMany',
    batchesOnly: true,
    title: (count) => `\`setMany\` of ${shown(count)}`,
    keys: 'new',
    counts: { 0: 10_000, 20: 0, 100: 0 },
    stored: all,
  },
  {
    work: 'getMany',
    batchesOnly: true,
    title: (count) => `\`getMany\` of ${shown(count)}`,
    keys: 'stored',
    counts: { 0: 10_000, 20: 0, 100: 0 },
    stored: nothing,
  },
];
