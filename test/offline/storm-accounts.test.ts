/** The accounts of a storm can fail: they find what is lost, duplicated or invented. */
import { expect, it } from 'vitest';
import type { Conflict } from '../../src/index.ts';
import { account } from './storm-accounts.ts';
import type { Write } from './storm-writer.ts';

const write = (type: Write['type'], value: string | undefined, startMs: number, more = {}): Write => ({
  tab: 1,
  key: 'key',
  type,
  value,
  startMs,
  endMs: startMs + 5,
  rejected: undefined,
  backend: 'flask',
  ...more,
});

const conflict = (local: unknown, base?: unknown): Conflict => ({
  key: 'key',
  reason: 'changed',
  base: base === undefined ? undefined : { value: base },
  local: local === undefined ? undefined : { value: local },
  server: undefined,
  detail: '',
  atMs: 0,
});

const found = (writes: Write[], held: unknown, ...conflicts: Conflict[]) => {
  const entries = held === undefined ? {} : { key: held };
  const { lost, duplicated, invented } = account(writes, { entries, conflicts });
  return { lost: lost.length, duplicated: duplicated.length, invented: invented.length };
};

const NOTHING = { lost: 0, duplicated: 0, invented: 0 };
const [first, second] = [write('set', 'a', 0), write('set', 'b', 10)];

it('accepts the last acknowledged write at the server, or in the conflicts', () => {
  expect(found([first, second], 'b')).toEqual(NOTHING);
  expect(found([first, second], 'a', conflict('b'))).toEqual(NOTHING);
  expect(found([first, write('delete', undefined, 10)], undefined)).toEqual(NOTHING);
});

it('finds an acknowledged write that an earlier one outlived', () => {
  expect(found([first, second], 'a')).toEqual({ ...NOTHING, lost: 1 });
  expect(found([first, second], undefined)).toEqual({ ...NOTHING, lost: 2 });
  expect(found([first, write('delete', undefined, 10)], 'a')).toEqual({ ...NOTHING, lost: 1 });
  expect(found([first, second], undefined, conflict('a'))).toEqual({ ...NOTHING, lost: 1 });
});

it('lets either of two writes that overlapped stand', () => {
  const beside = write('set', 'b', 3, { tab: 2 });
  expect(found([first, beside], 'a')).toEqual(NOTHING);
  expect(found([first, beside], 'b')).toEqual(NOTHING);
});

it('lets a rejected write take effect, but not after a later one of its tab', () => {
  const doubtful = write('set', 'a', 0, { rejected: 'timeout' });
  expect(found([doubtful], 'a')).toEqual(NOTHING);
  expect(found([doubtful], undefined)).toEqual(NOTHING);
  expect(found([doubtful, second, write('set', 'c', 20)], 'a')).toEqual({ ...NOTHING, lost: 1 });
});

it('counts increments: at the server, in conflicts, or in doubt', () => {
  const increments = [0, 10, 20].map((startMs) => write('increment', undefined, startMs));
  expect(found(increments, 3)).toEqual(NOTHING);
  expect(found(increments, 2, conflict(2, 1))).toEqual(NOTHING);
  expect(found(increments, 2)).toEqual({ ...NOTHING, lost: 1 });
  expect(found(increments, 4)).toEqual({ ...NOTHING, duplicated: 1 });
  const doubtful = write('increment', undefined, 30, { rejected: 'timeout' });
  expect(found([...increments, doubtful], 4)).toEqual(NOTHING);
  expect(found([...increments, doubtful], 5)).toEqual({ ...NOTHING, duplicated: 1 });
});

it('finds values and keys that nobody wrote', () => {
  expect(found([first], 'z').invented).toBe(1);
  expect(found([], 'a').invented).toBe(1);
});
