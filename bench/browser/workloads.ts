/**
 * Workloads of single calls: awaited one by one, many in one turn, in concurrent loops.
 */
import { keyOf, recordOf, textOf } from './data.ts';
import type { Call, KeyValue } from './key-value.ts';
import { expectValues, fill, type Subject } from './subject.ts';
import { shownCount, timed, type Workload } from './workload.ts';

const ROUNDS = 7;

/** Short ones, where the ratios to tell apart are near each other. */
const AWAITED_ROUNDS = 15;

type MakeValue = (index: number, version: number) => unknown;

/** Calls of one turn: each by itself, but where they are written by hand. */
function inOneTurn(keyValue: KeyValue, calls: readonly Call[]): Promise<readonly unknown[]> {
  if (keyValue.turn) return keyValue.turn(calls);
  return Promise.all(
    calls.map((call) => ('value' in call ? keyValue.set(call.key, call.value) : keyValue.get(call.key))),
  );
}

const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Indexes below `count` in an order that is not theirs, the same in each run. `count` is no multiple of 7919. */
const scattered = (count: number): number[] => indexes(count).map((index) => (index * 7919) % count);

const valuesOf = (list: readonly number[], version: number, make: MakeValue): unknown[] =>
  list.map((index) => make(index, version));

async function holds(subject: Subject, list: readonly number[], values: readonly unknown[]): Promise<void> {
  expectValues(await subject.keyValue.getMany(list.map(keyOf)), values, subject);
}

/** An empty database but for `count` keys in version 0. */
const prepared =
  (count: number, make: MakeValue) =>
  async ({ keyValue }: Subject): Promise<void> => {
    await keyValue.clear();
    await keyValue.setMany(indexes(count).map((index) => [keyOf(index), make(index, 0)]));
  };

const awaitedSets = (count: number): Workload => ({
  name: `${shownCount(count)} sets, each awaited`,
  rounds: AWAITED_ROUNDS,
  prepare: prepared(count, textOf),
  async round(subject, version) {
    const list = scattered(count);
    const values = valuesOf(list, version, textOf);
    const keys = list.map(keyOf);
    const [ms] = await timed(async () => {
      for (let i = 0; i < count; i += 1) await subject.keyValue.set(keys[i] as string, values[i]);
    });
    await holds(subject, list, values);
    return ms;
  },
});

const awaitedGets = (count: number): Workload => ({
  name: `${shownCount(count)} gets, each awaited`,
  rounds: AWAITED_ROUNDS,
  prepare: (subject) => fill(subject, 1000),
  async round(subject) {
    const list = scattered(1000).slice(0, count);
    const keys = list.map(keyOf);
    const [ms, found] = await timed(async () => {
      const results: unknown[] = [];
      for (const key of keys) results.push(await subject.keyValue.get(key));
      return results;
    });
    expectValues(found, valuesOf(list, 0, textOf), subject);
    return ms;
  },
});

const setsOfOneTurn = (count: number, what: string, make: MakeValue): Workload => ({
  name: `${shownCount(count)} sets${what} in one turn`,
  rounds: ROUNDS,
  prepare: prepared(count, make),
  async round(subject, version) {
    const list = scattered(count);
    const values = valuesOf(list, version, make);
    const calls = list.map((index, place): Call => ({ key: keyOf(index), value: values[place] }));
    const [ms] = await timed(() => inOneTurn(subject.keyValue, calls));
    await holds(subject, list, values);
    return ms;
  },
});

const getsOfOneTurn = (count: number, what: string, make: MakeValue): Workload => ({
  name: `${shownCount(count)} gets${what} in one turn`,
  rounds: ROUNDS,
  prepare: prepared(count, make),
  async round(subject) {
    const list = scattered(count);
    const calls = list.map((index): Call => ({ key: keyOf(index) }));
    const [ms, found] = await timed(() => inOneTurn(subject.keyValue, calls));
    expectValues(found, valuesOf(list, 0, make), subject);
    return ms;
  },
});

/** Few of many keys: what lies between those that are read must not be paid for. */
const sparseGets = (count: number, held: number): Workload => ({
  name: `${shownCount(count)} gets of ${shownCount(held)} keys in one turn`,
  rounds: ROUNDS,
  prepare: (subject) => fill(subject, held),
  async round(subject, version) {
    const list = scattered(held).filter((_, place) => place % (held / count) === version % (held / count));
    const calls = list.map((index): Call => ({ key: keyOf(index) }));
    const [ms, found] = await timed(() => inOneTurn(subject.keyValue, calls));
    expectValues(found, valuesOf(list, 0, textOf), subject);
    return ms;
  },
});

/** Each call has a key of its own; each fifth is a set. */
const mixed = (count: number): Workload => ({
  name: `${shownCount(count)} mixed in one turn, 80 % gets`,
  rounds: ROUNDS,
  prepare: (subject) => fill(subject, count),
  async round(subject, version) {
    const list = scattered(count);
    const sets = list.filter((_, place) => place % 5 === 4);
    const gets = list.filter((_, place) => place % 5 !== 4);
    const values = valuesOf(sets, version, textOf);
    const calls = list.map(
      (index, place): Call =>
        place % 5 === 4 ? { key: keyOf(index), value: values[(place - 4) / 5] } : { key: keyOf(index) },
    );
    const [ms, results] = await timed(() => inOneTurn(subject.keyValue, calls));
    expectValues(
      results.filter((_, place) => place % 5 !== 4),
      valuesOf(gets, 0, textOf),
      subject,
    );
    await holds(subject, sets, values);
    return ms;
  },
});

/** Each loop reads its own key and then writes it; by hand, all loops take each step together. */
const loops = (count: number, steps: number): Workload => ({
  name: `${shownCount(count)} concurrent loops of get, modify, set, ${steps} times each`,
  rounds: ROUNDS,
  prepare: prepared(count, textOf),
  async round(subject, version) {
    const { keyValue } = subject;
    const list = indexes(count);
    await keyValue.setMany(list.map((index) => [keyOf(index), textOf(index, version * 1000)]));
    const keys = list.map(keyOf);
    const values = list.map((index) =>
      indexes(steps + 1).map((step) => textOf(index, version * 1000 + step)),
    );
    const [ms, wrong] = await timed(() =>
      keyValue.turn ? stepTogether(keyValue, keys, values) : stepAlone(keyValue, keys, values),
    );
    if (wrong > 0)
      throw new Error(`${subject.library.name}: ${wrong} gets did not return what was set before`);
    await holds(
      subject,
      list,
      list.map((index) => textOf(index, version * 1000 + steps)),
    );
    return ms;
  },
});

async function stepAlone(
  keyValue: KeyValue,
  keys: readonly string[],
  values: readonly string[][],
): Promise<number> {
  let wrong = 0;
  await Promise.all(
    keys.map(async (key, loop) => {
      const versions = values[loop] ?? [];
      for (let step = 1; step < versions.length; step += 1) {
        if ((await keyValue.get(key)) !== versions[step - 1]) wrong += 1;
        await keyValue.set(key, versions[step]);
      }
    }),
  );
  return wrong;
}

async function stepTogether(
  keyValue: KeyValue,
  keys: readonly string[],
  values: readonly string[][],
): Promise<number> {
  let wrong = 0;
  const steps = values[0]?.length ?? 0;
  for (let step = 1; step < steps; step += 1) {
    const found = await keyValue.getMany(keys);
    wrong += found.filter((value, loop) => value !== values[loop]?.[step - 1]).length;
    await keyValue.setMany(keys.map((key, loop) => [key, values[loop]?.[step]]));
  }
  return wrong;
}

/** The last one wins. */
const hotKey = (count: number): Workload => ({
  name: `${shownCount(count)} sets of one hot key in one turn`,
  rounds: ROUNDS,
  prepare: prepared(1, textOf),
  async round(subject, version) {
    const values = indexes(count).map((i) => textOf(0, version * 10_000 + i));
    const calls = values.map((value): Call => ({ key: keyOf(0), value }));
    const [ms] = await timed(() => inOneTurn(subject.keyValue, calls));
    await holds(subject, [0], [values.at(-1)]);
    return ms;
  },
});

const sized =
  (size: number): MakeValue =>
  (index, version) =>
    textOf(index, version, size);

/** @param scale What part of the calls is made. */
export function singleCalls(scale: number): Workload[] {
  const of = (count: number): number => Math.max(1, Math.round(count * scale));
  return [
    awaitedSets(of(100)),
    awaitedGets(of(200)),
    setsOfOneTurn(of(1000), '', textOf),
    getsOfOneTurn(of(1000), '', textOf),
    sparseGets(of(1000), of(10_000)),
    mixed(of(2000)),
    loops(32, Math.ceil(5 * scale)),
    hotKey(of(250)),
    setsOfOneTurn(of(200), ' of records', recordOf),
    getsOfOneTurn(of(500), ' of records', recordOf),
    setsOfOneTurn(of(250), ' of 100 B', sized(100)),
    getsOfOneTurn(of(500), ' of 100 B', sized(100)),
    setsOfOneTurn(of(100), ' of 50 KB', sized(50_000)),
    getsOfOneTurn(of(100), ' of 50 KB', sized(50_000)),
  ];
}
