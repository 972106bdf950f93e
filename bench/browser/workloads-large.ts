/**
 * Workloads over 10,000 and 100,000 keys: setMany, getMany, clear, keys, and reading everything.
 */
import { keyOf, keysOf, textOf } from './data.ts';
import { expectValues, fill, type Subject } from './subject.ts';
import { shownCount, timed, type Workload } from './workload.ts';

const ROUNDS = 7;

/** Entries between two looks at the heap. */
const SAMPLE = 9000;

/** Where a library has no call for many keys, a row of single calls says already what that costs. */
const hasBulk = ({ library }: Subject): boolean => library.singly !== true;

const setMany = (count: number): Workload => ({
  name: `setMany of ${shownCount(count)}`,
  rounds: ROUNDS,
  takesPart: hasBulk,
  async prepare() {},
  async round(subject, version) {
    const { keyValue } = subject;
    await keyValue.clear();
    const keys = keysOf(count);
    const entries = keys.map((key, index) => [key, textOf(index, version)] as const);
    const [ms] = await timed(() => keyValue.setMany(entries));
    const sample = Array.from({ length: 100 }, (_, i) => Math.floor((i * count) / 100));
    expectValues(
      await keyValue.getMany(sample.map(keyOf)),
      sample.map((index) => textOf(index, version)),
      subject,
    );
    expectKeys(await keyValue.keys(), count, subject);
    return ms;
  },
});

const getMany = (count: number): Workload => ({
  name: `getMany of ${shownCount(count)}`,
  rounds: ROUNDS,
  takesPart: hasBulk,
  prepare: (subject) => fill(subject, count),
  async round(subject) {
    const keys = keysOf(count);
    const [ms, found] = await timed(() => subject.keyValue.getMany(keys));
    expectValues(
      found,
      keys.map((_, index) => textOf(index, 0)),
      subject,
    );
    return ms;
  },
});

const clear = (count: number): Workload => ({
  name: `clear of ${shownCount(count)} of 100 B`,
  rounds: ROUNDS,
  async prepare() {},
  async round(subject) {
    await fill(subject, count, 100);
    const [ms] = await timed(() => subject.keyValue.clear());
    expectKeys(await subject.keyValue.keys(), 0, subject);
    return ms;
  },
});

const listKeys = (count: number, large: boolean): Workload => ({
  name: `keys of ${shownCount(count)}`,
  rounds: ROUNDS,
  large,
  prepare: (subject) => (large ? fillOnce(subject, count) : fill(subject, count)),
  async round(subject) {
    const [ms, keys] = await timed(() => subject.keyValue.keys());
    expectKeys(keys, count, subject);
    return ms;
  },
});

const readAll = (count: number): Workload => ({
  name: `reading all of ${shownCount(count)}`,
  rounds: ROUNDS,
  large: true,
  takesPart: ({ library }) => library.readsAllSingly !== true,
  prepare: (subject) => fillOnce(subject, count),
  round: async (subject) => (await visitAll(subject, count, () => {}))[0],
});

/** Read everything and look at each entry; `sample` is called now and then. */
async function visitAll(
  subject: Subject,
  count: number,
  sample: () => void,
): Promise<readonly [ms: number, seen: number]> {
  let seen = 0;
  let wrong = 0;
  const [ms] = await timed(() =>
    subject.keyValue.readAll((key, value) => {
      if (seen % SAMPLE === 0) sample();
      seen += 1;
      if (typeof value !== 'string' || value.length !== 1000 || !value.startsWith(`${key}|0|`)) wrong += 1;
    }),
  );
  if (seen !== count || wrong > 0)
    throw new Error(`${subject.library.name} read ${seen} of ${count} entries, ${wrong} of them wrong`);
  return [ms, seen];
}

/** MB of the page's heap that reading everything needs at most, beside garbage. */
export async function heapOfReading(subject: Subject, count: number): Promise<number> {
  // What the contestant before this one read is let go only when its calls have returned.
  await new Promise((resolve) => setTimeout(resolve, 100));
  const idle = heldBytes();
  let peak = idle;
  await visitAll(subject, count, () => {
    peak = Math.max(peak, heldBytes());
  });
  return (peak - idle) / 1e6;
}

/** After a collection. Chromium tells a size that is up to 50 ms old, so that much time passes first. */
function heldBytes(): number {
  globalThis.gc?.();
  const until = performance.now() + 60;
  while (performance.now() < until);
  return (performance as unknown as { memory: { readonly usedJSHeapSize: number } }).memory.usedJSHeapSize;
}

async function fillOnce(subject: Subject, count: number): Promise<void> {
  if ((await subject.keyValue.keys()).length !== count) await fill(subject, count);
}

function expectKeys(found: readonly string[], count: number, { library }: Subject): void {
  const sorted = [...found].sort();
  const wrong = sorted.findIndex((key, index) => key !== keyOf(index));
  if (sorted.length !== count || wrong >= 0)
    throw new Error(`${library.name} listed ${sorted.length} of ${count} keys, wrong from ${wrong} on`);
}

/** How many keys the large databases hold. */
export const largeCount = (scale: number): number => Math.round(100_000 * scale);

/** @param scale What part of the keys there is. */
export function largeWorkloads(scale: number): Workload[] {
  const count = Math.round(10_000 * scale);
  return [
    setMany(count),
    getMany(count),
    listKeys(count, false),
    clear(count),
    listKeys(largeCount(scale), true),
    readAll(largeCount(scale)),
  ];
}
