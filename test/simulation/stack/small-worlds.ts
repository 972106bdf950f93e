/**
 * All small worlds: one key, two calls in one turn or in two tabs at once, one request or answer that is lost, and a later call while
 * the server is away. Most faults of sync have shown themselves in one of them, and there are few enough to try each.
 */
import { atomic, clear, get, getEntry, type Operation, remove, set, setMany, update } from './operations.ts';
import type { Step } from './program.ts';

/** A small world. */
export interface SmallWorld {
  /** Its shape in words. */
  readonly name: string;
  readonly program: readonly Step[];
}

/** Each kind of call. The letter makes its value its own. */
const CALLS: ReadonlyArray<readonly [name: string, (letter: string) => Operation]> = [
  ['set', (letter) => set('k', letter)],
  ['setMany', (letter) => setMany({ k: letter, other: letter })],
  ['delete', () => remove('k')],
  ['update', (letter) => update('k', `+${letter}`)],
  ['atomic', (letter) => atomic({ k: letter, other: letter })],
  ['atomic-check', (letter) => atomic({ k: letter, other: letter }, { check: 'k' })],
  ['clear', () => clear],
  ['set-absent', (letter) => set('k', letter, 'absent')],
  ['set-seen', (letter) => set('k', letter, 'seen')],
  ['delete-seen', () => remove('k', 'seen')],
];

const INITIAL = ['absent', 'present'] as const;
/** What is lost, and how many requests arrive before that. */
const LOSSES = (['lose-request', 'lose-answer'] as const).flatMap((fate) =>
  [0, 1].map((delivered) => ({ fate, delivered })),
);

/** Where the calls of a small world are made. */
type Place = 'one tab' | 'two tabs' | 'two devices';

function worldsOf(place: Place): SmallWorld[] {
  const other = { 'one tab': 'a1', 'two tabs': 'a2', 'two devices': 'b1' }[place];
  const worlds: SmallWorld[] = [];
  for (const initial of INITIAL)
    for (const { fate, delivered } of LOSSES)
      for (const [first, makeFirst] of CALLS)
        for (const [second, makeSecond] of CALLS)
          for (const [later, makeLater] of [...CALLS, ['nothing', undefined] as const]) {
            const tabs = other === 'a1' ? ['a1'] : ['a1', other];
            const before: Step[] = [
              ...tabs.map((tab): Step => ({ type: 'open', tab, isOnline: true })),
              ...(initial === 'present'
                ? ([{ type: 'call', tab: 'a1', calls: [set('k', 'v')] }, { type: 'settle' }] as const)
                : []),
              ...tabs.map((tab): Step => ({ type: 'call', tab, calls: [getEntry('k')] })),
              { type: 'settle' },
              { type: 'wait', ms: 1000 },
              {
                type: 'next',
                fates: [...Array.from({ length: delivered }, () => 'deliver' as const), fate],
                rest: 'lose-request',
              },
            ];
            const calls: Step[] =
              other === 'a1'
                ? [{ type: 'call', tab: 'a1', calls: [makeFirst('A'), makeSecond('B')] }]
                : [
                    { type: 'call', tab: 'a1', calls: [makeFirst('A')] },
                    { type: 'call', tab: other, calls: [makeSecond('B')] },
                  ];
            const after: Step[] = [
              { type: 'settle' },
              ...(makeLater
                ? ([{ type: 'call', tab: 'a1', calls: [makeLater('C')] }, { type: 'settle' }] as const)
                : []),
              ...tabs.map((tab): Step => ({ type: 'call', tab, calls: [get('k')] })),
            ];
            worlds.push({
              name: `${place}: ${initial}; ${first}, ${second}; ${fate} after ${delivered}; ${later}`,
              program: [...before, ...calls, ...after],
            });
          }
  return worlds;
}

/** Every small world. */
export const smallWorlds = (): SmallWorld[] =>
  (['one tab', 'two tabs', 'two devices'] as const).flatMap(worldsOf);
