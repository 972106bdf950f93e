/**
 * The journal of a migration is of one run at a time: whoever takes it over is the only one to read and write it
 * (docs/guarantees.md, 10.6).
 */
import { expect, it, onTestFinished } from 'vitest';
import type { JournalPage } from '../../src/transfer/copy/journal.ts';
import { openJournal } from '../../src/transfer/copy/stored-journal.ts';

let pairs = 0;
const open = async (pair: string, of = 'overwrite') => {
  const journal = await openJournal(pair, of, 1000);
  onTestFinished(() => journal.close());
  return journal;
};
const newPair = (): string => {
  pairs += 1;
  return `pair ${pairs}`;
};
const page = (...keys: string[]): JournalPage => ({
  end: keys.at(-1) as string,
  keys,
  hashes: keys.map(() => 1),
  results: keys.map(() => 'written'),
});
const moving = (key: string) => ({ key, value: 1, plain: true, text: '1', bytes: 1 });
const takenOver = { code: 'migration', message: expect.stringContaining('taken over') };

it('a run from which it was taken can do nothing with it any more', async () => {
  const pair = newPair();
  const first = await open(pair);
  await first.put(0, page('a', 'b'));
  const second = await open(pair, 'skip');
  // Of other ranges than those of the first run.
  await second.put(0, page('a', 'b', 'c'));
  await expect(first.page(0)).rejects.toMatchObject(takenOver);
  await expect(first.put(1, page('d'))).rejects.toMatchObject(takenOver);
  await expect(first.begin(1, [moving('d')])).rejects.toMatchObject(takenOver);
  await expect(first.setPosition(undefined)).rejects.toMatchObject(takenOver);
  await expect(first.end()).rejects.toMatchObject(takenOver);
  expect(await second.page(0)).toEqual(page('a', 'b', 'c'));
});

it('the next run finds the pages, and what was begun and not put', async () => {
  const pair = newPair();
  const first = await open(pair);
  expect([first.ends, first.unrecorded(), first.begun]).toEqual([[], 0, []]);
  for (const [n, key] of ['a', 'b', 'c'].entries()) await first.begin(n, [moving(key)]);
  await first.put(0, page('a'));
  const second = await open(pair);
  expect([second.ends, second.unrecorded()]).toEqual([['a'], 2]);
  expect(second.begun.flatMap(({ keys }) => keys)).toEqual(['b', 'c']);
  await second.begin(1, [moving('b')]);
  await second.forgetBegun();
  const third = await open(pair);
  expect(third.begun.flatMap(({ keys }) => keys)).toEqual(['b']);
});

it('of another migration it is forgotten; what may be there is looked at first', async () => {
  const pair = newPair();
  const first = await open(pair);
  await first.put(0, page('a'));
  await first.begin(1, [moving('b')]);
  const second = await open(pair, 'skip');
  expect([second.ends, second.unrecorded(), second.begun]).toEqual([[], 3, []]);
  await second.end();
  const third = await open(pair, 'skip');
  expect([third.ends, third.unrecorded()]).toEqual([[], 0]);
});
