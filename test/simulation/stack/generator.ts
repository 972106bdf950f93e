/**
 * Random programs. Each seed draws a few kinds of calls and a few kinds of faults and makes a program of these alone (swarm testing):
 * programs with a little of everything find less.
 */
import { type Random, randomOf, seedOf } from '../../faults/random.ts';
import type { Fate } from './network.ts';
import { atomic, type Operation, remove, set, setMany, update } from './operations.ts';
import type { Step } from './program.ts';
import type { WorldOptions } from './world.ts';

/** A program and the world that it runs in. */
export interface Generated {
  readonly program: readonly Step[];
  readonly options: WorldOptions;
}

const TABS = [['a1'], ['a1'], ['a1', 'a2'], ['a1', 'b1'], ['a1', 'a2', 'b1']] as const;
const KEYS = ['k', 'l', 'm'];

type MakeCall = (draw: Draw) => Operation;

const WRITES: readonly MakeCall[] = [
  ({ key, text }) => set(key(), text()),
  ({ key, text }) => update(key(), `+${text()}`),
  ({ key }) => remove(key()),
  ({ keys, text }) => setMany(Object.fromEntries(keys.map((key) => [key, text()]))),
  ({ keys }) => ({ type: 'deleteMany', keys }),
  ({ keys, text }) => atomic(Object.fromEntries(keys.map((key) => [key, text()]))),
  ({ keys, key, text }) => {
    const [removed = '', ...set] = keys;
    return atomic(Object.fromEntries(set.map((name) => [name, text()])), {
      removes: [removed],
      check: key(),
    });
  },
  () => ({ type: 'clear' }),
  ({ key, text }) => set(key(), text(), 'absent'),
  ({ key, text }) => set(key(), text(), 'seen'),
  ({ key }) => remove(key(), 'seen'),
];
const READS: readonly MakeCall[] = [
  ({ key }) => ({ type: 'get', key: key() }),
  ({ key }) => ({ type: 'getEntry', key: key() }),
  ({ key }) => ({ type: 'has', key: key() }),
  ({ keys }) => ({ type: 'getMany', keys }),
  () => ({ type: 'keys' }),
  () => ({ type: 'count' }),
];

/** Fates that pass by themselves. */
const PASSING: readonly Fate[] = [
  'lose-request',
  'lose-answer',
  'lose-answer',
  'late',
  'repeat',
  'cut-answer',
  'captive-portal',
  '401 json',
  '403 html',
  '413 json',
  '422 html',
  '429 json',
  '500 html',
  '502 html',
  '503 json',
];
/** Fates of everything that a device sends, until it is over. */
const LASTING: readonly Fate[] = [
  'lose-request',
  'lose-request',
  'lose-answer',
  'silent-request',
  'silent-answer',
  'slow',
  'captive-portal',
  '401 html',
  '403 json',
  '503 html',
];

type MakeFault = (draw: Draw) => readonly Step[];

const FAULTS: Readonly<Record<string, MakeFault>> = {
  'next requests': ({ random }) => [
    {
      type: 'next',
      fates: Array.from({ length: 1 + random.below(3) }, () => random.pick([...PASSING, 'deliver'])),
    },
  ],
  outage: ({ random, device }) => [
    { type: 'network', device: device(), fate: random.chance(0.5) ? 'deliver' : random.pick(LASTING) },
  ],
  restart: () => [{ type: 'restart' }],
  'crash and open': ({ tab, random }) => {
    const name = tab();
    return [
      { type: random.chance(0.7) ? 'crash' : 'close', tab: name },
      { type: 'wait', ms: random.below(50) },
      { type: 'open', tab: name },
    ];
  },
  freeze: ({ tab, random }) => {
    const name = tab();
    return random.chance(0.5) ? [{ type: 'thaw', tab: name }] : [{ type: 'freeze', tab: name }];
  },
  'freeze at work': ({ tab, random }) => {
    const name = tab();
    return [
      { type: 'freeze-when', tab: name, when: random.pick(['locked', 'writing']) },
      { type: 'wait', ms: random.below(30_000) },
      { type: 'thaw', tab: name },
    ];
  },
  disconnect: ({ tab }) => [{ type: 'disconnect', tab: tab() }],
  'full disk': ({ device, random }) => [
    { type: 'disk', device: device(), change: { isFull: random.chance(0.5) } },
  ],
  'disk errors': ({ device, random }) => [
    { type: 'disk', device: device(), change: { failures: 1 + random.below(3) } },
  ],
  'power cut': ({ tabs, device }) => {
    const name = device();
    return [
      { type: 'power-cut', device: name },
      ...tabs.filter((tab) => tab.startsWith(name)).map((tab): Step => ({ type: 'open', tab })),
    ];
  },
  clock: ({ device, random }) => [
    {
      type: 'set-clock',
      device: device(),
      offsetMs: random.pick([0, 3_600_000, -3_600_000, 40 * 86_400_000]),
    },
  ],
  'deleted database': ({ device }) => [{ type: 'delete-sync-data', device: device() }],
  restore: ({ random }) => [{ type: random.chance(0.5) ? 'back-up' : 'restore' }],
  'emptied server': () => [{ type: 'empty' }],
};

/** What the steps of a program are drawn from. */
interface Draw {
  readonly random: Random;
  readonly keys: readonly string[];
  readonly tabs: readonly string[];
  key(): string;
  tab(): string;
  device(): string;
  /** A text that no other write has: with `#` it stands for a large value. */
  text(): string;
}

const some = <T>(random: Random, items: readonly T[], count: number): T[] => {
  const left = [...items];
  return Array.from(
    { length: Math.min(count, left.length) },
    () => left.splice(random.below(left.length), 1)[0] as T,
  );
};

/** Lets tabs of some programs listen to keys, from some step on. With chance of its own: the rest of a program stays the same. */
function addListeners(
  program: Step[],
  tabs: readonly string[],
  keys: readonly string[],
  random: Random,
): void {
  if (random.chance(0.5)) return;
  for (let i = 0; i <= random.below(3); i++) {
    const tab = random.pick(tabs);
    const listener: Step = { type: 'watch', tab, ...(random.chance(0.6) && { key: random.pick(keys) }) };
    program.splice(tabs.length + random.below(program.length - tabs.length), 0, listener);
  }
}

/** The program of a seed. */
export function generate(seed: number): Generated {
  const random = randomOf(seedOf(seed, 'program'));
  const tabs = random.pick(TABS);
  const keys = KEYS.slice(0, 1 + random.below(3));
  let texts = 0;
  const largeValues = random.pick([0, 0, 0.5]);
  const draw: Draw = {
    random,
    keys,
    tabs,
    key: () => random.pick(keys),
    tab: () => random.pick(tabs),
    device: () => random.pick(tabs).slice(0, 1),
    text: () => `w${++texts}.${random.chance(largeValues) ? '#' : ''}`,
  };
  const writes = some(random, WRITES, 1 + random.below(4));
  const reads = some(random, READS, 1 + random.below(2));
  const faults = some(random, Object.values(FAULTS), 1 + random.below(3));
  const isBursty = random.chance(0.5);

  const call = (): Operation => random.pick(random.chance(0.7) ? writes : reads)(draw);
  const burst = (tab: string): Step => ({
    type: 'call',
    tab,
    calls: Array.from({ length: 1 + random.below(isBursty ? 4 : 2) }, call),
  });
  const program: Step[] = tabs.map((tab) => ({ type: 'open', tab, isOnline: random.chance(0.8) }));
  if (random.chance(0.7)) program.push({ type: 'call', tab: tabs[0], calls: [set(draw.key(), draw.text())] });
  program.push({ type: 'settle' });
  const length = 6 + random.below(20);
  for (let i = 0; i < length; i++) {
    const kind = random.next();
    if (kind < 0.25) program.push(...random.pick(faults)(draw));
    else if (kind < 0.4) program.push({ type: 'wait', ms: random.pick([1, 30, 300, 3000, 40_000]) });
    else if (kind < 0.5) program.push({ type: 'settle' });
    else if (kind < 0.6) program.push(...tabs.map(burst));
    else program.push(burst(draw.tab()));
  }
  addListeners(program, tabs, keys, randomOf(seedOf(seed, 'watch')));
  return {
    program,
    options: {
      seed,
      hasLocks: random.chance(0.85),
      ...(random.chance(0.15) && { storage: { ack: 'local' } }),
    },
  };
}
