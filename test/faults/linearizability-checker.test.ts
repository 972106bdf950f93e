/** The checker of histories: what it must refuse, and what it must let pass. */
import { describe, expect, it } from 'vitest';
import { type Call, type Held, type Invocation, isLinearizable } from './linearizability.ts';

/** A client's calls: each with the times of its invocation and its end; an end of 0 is one that never came. */
type Timed = readonly [start: number, end: number, call: Call];

const read = (found: Held): Call => ({ type: 'read', found });
const write = (value: Held): Call => ({ type: 'write', value });
const cas = (expected: Held, value: Held): Call => ({ type: 'cas', expected, value });
const refusal = (expected: Held): Call => ({ type: 'refused', expected });

function historyOf(clients: ReadonlyArray<readonly Timed[]>): Invocation[] {
  return clients
    .flatMap((calls, client) =>
      calls.map(([start, end, call]) => ({ client, start, end: end || undefined, call })),
    )
    .sort((a, b) => a.start - b.start);
}

const refused: Record<string, ReadonlyArray<readonly Timed[]>> = {
  'a read of what had been overwritten before it began': [
    [
      [1, 2, write('a')],
      [3, 4, write('b')],
    ],
    [[5, 6, read('a')]],
  ],
  'a read of nothing after a write was answered': [[[1, 2, write('a')]], [[3, 4, read(undefined)]]],
  'a read of what nobody wrote': [
    [
      [1, 2, write('a')],
      [3, 4, read('z')],
    ],
  ],
  'a lost update: two that both replaced the same revision': [
    [
      [1, 2, write('a')],
      [3, 7, cas('a', 'b')],
    ],
    [[4, 6, cas('a', 'c')]],
  ],
  'two clients that both created the key': [[[1, 4, cas(undefined, 'a')]], [[2, 3, cas(undefined, 'b')]]],
  'reads that go back in time, each allowed alone': [
    [[1, 10, write('a')]],
    [
      [2, 3, read('a')],
      [4, 5, read(undefined)],
    ],
  ],
  'reads of two clients that saw two writes in different orders': [
    [[1, 20, write('a')]],
    [[2, 19, write('b')]],
    [
      [3, 4, read('a')],
      [5, 6, read('b')],
    ],
    [[7, 8, read('a')]],
  ],
  'a write that was applied twice': [
    [
      [1, 2, write('a')],
      [3, 4, read('a')],
    ],
    [
      [5, 6, write('b')],
      [7, 8, read('b')],
      [9, 10, read('a')],
    ],
  ],
  'a write in doubt that was applied twice': [
    [[1, 0, write('a')]],
    [
      [2, 3, read('a')],
      [4, 5, write('b')],
      [6, 7, read('b')],
      [8, 9, read('a')],
    ],
  ],
  'a write in doubt that overtook a later one of its client': [
    [
      [1, 0, write('a')],
      [2, 3, write('b')],
    ],
    [
      [4, 5, read('b')],
      [6, 7, read('a')],
    ],
  ],
  'a write in doubt that came after a later one of its client was refused': [
    [
      [1, 0, write('a')],
      [2, 3, refusal('z')],
    ],
    [
      [4, 5, read(undefined)],
      [6, 7, read('a')],
    ],
  ],
  'a compare-and-set in doubt that applied without what it expected': [
    [[1, 0, cas('z', 'a')]],
    [[2, 3, read('a')]],
  ],
  'a refusal of the revision that was current': [
    [
      [1, 2, write('a')],
      [3, 4, refusal('a')],
    ],
  ],
  'a deletion on a condition that did not hold': [
    [
      [1, 2, write('a')],
      [3, 4, cas('z', undefined)],
    ],
  ],
};

const explained: Record<string, ReadonlyArray<readonly Timed[]>> = {
  'calls one after the other': [
    [
      [1, 2, read(undefined)],
      [3, 4, write('a')],
      [5, 6, cas('a', 'b')],
      [7, 8, refusal('a')],
    ],
    [
      [9, 10, read('b')],
      [11, 12, write(undefined)],
      [13, 14, read(undefined)],
    ],
  ],
  'a read of either value while a write is under way': [
    [
      [1, 2, write('a')],
      [3, 10, write('b')],
    ],
    [
      [4, 5, read('a')],
      [6, 7, read('b')],
    ],
  ],
  'one of two that replace the same revision, and a refusal for the other': [
    [
      [1, 2, write('a')],
      [3, 7, refusal('a')],
    ],
    [[4, 6, cas('a', 'c')]],
  ],
  'a write in doubt that happened': [[[1, 0, write('a')]], [[2, 3, read('a')]]],
  'a write in doubt that never happened': [[[1, 0, write('a')]], [[2, 3, read(undefined)]]],
  'a write in doubt that happened long after its call was rejected': [
    [
      [1, 0, write('a')],
      [2, 3, read(undefined)],
    ],
    [
      [4, 5, write('b')],
      [6, 7, read('b')],
      [8, 9, read('a')],
    ],
  ],
  'a write in doubt that happened just before the next write of its client': [
    [
      [1, 0, write('a')],
      [4, 7, write('b')],
    ],
    [
      [2, 3, read(undefined)],
      [5, 6, read('a')],
      [8, 9, read('b')],
    ],
  ],
  'writes in doubt of which the second happened': [
    [
      [1, 0, write('a')],
      [2, 0, cas(undefined, 'b')],
      [3, 0, cas('b', 'c')],
    ],
    [
      [4, 5, read('b')],
      [6, 7, read('c')],
    ],
  ],
  'a refusal of what does not exist, and a deletion': [
    [
      [1, 2, write('a')],
      [3, 6, refusal(undefined)],
      [4, 7, read(undefined)],
    ],
    [[5, 8, cas('a', undefined)]],
  ],
};

describe('refuses', () => {
  for (const [name, clients] of Object.entries(refused))
    it(name, () => {
      expect(isLinearizable(historyOf(clients))).toBe(false);
    });
});

describe('lets pass', () => {
  for (const [name, clients] of Object.entries(explained))
    it(name, () => {
      expect(isLinearizable(historyOf(clients))).toBe(true);
    });
});

it('takes the value that the key held at first', () => {
  const history = historyOf([[[1, 2, read('a')]]]);
  expect(isLinearizable(history, 'a')).toBe(true);
  expect(isLinearizable(history)).toBe(false);
});
