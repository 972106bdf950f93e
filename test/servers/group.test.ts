/** Groups of calls by name, as a store over a database server has them for its tenants. */
import { expect, it } from 'vitest';
import { createNamedGroups } from '../../examples/server/src/store/group.ts';

it('calls of one name share a group, and names do not wait for each other', async () => {
  const open = Promise.withResolvers<void>();
  const begun: string[] = [];
  const groups = createNamedGroups(async (name, calls: readonly number[]) => {
    begun.push(`${name}: ${calls.join()}`);
    await open.promise;
    return calls.map((call) => `${name}${call}`);
  });
  const outcomes = Promise.all([groups.submit('a', 1), groups.submit('b', 2), groups.submit('a', 3)]);
  await expect.poll(() => begun.toSorted()).toEqual(['a: 1,3', 'b: 2']);
  open.resolve();
  expect(await outcomes).toEqual(['a1', 'b2', 'a3']);
});

it('a name leaves no group behind when all of its calls have settled', async () => {
  const groups = createNamedGroups(async (_name, calls: readonly number[]) => {
    if (calls.includes(13)) throw new Error('13');
    return calls;
  });
  for (let tenant = 0; tenant < 100; tenant += 1) await groups.submit(`tenant-${tenant}`, 1);
  expect(groups.size).toBe(0);
  await expect(groups.submit('failing', 13)).rejects.toThrow('13');
  expect(groups.size).toBe(0);
  const calls = [groups.submit('a', 1), groups.submit('a', 2)];
  expect(groups.size).toBe(1);
  await groups.flush();
  expect(await Promise.all(calls)).toEqual([1, 2]);
  expect(groups.size).toBe(0);
});
