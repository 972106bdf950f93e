/** What listeners of `watch()` are told of a clear(), from the key states before and after a transaction. */
import { expect, it } from 'vitest';
import { ALL_KEYS, INITIAL_META, type Meta, type ServerState } from '../../src/sync/rules/state.ts';
import { createViews } from '../../src/sync/rules/views.ts';

const metaAt = (clearedAt: number, cursor: number): Meta => ({
  ...INITIAL_META,
  level: 1,
  epoch: 'e',
  seq: cursor,
  clearedAt,
  cursor,
});
const stateAt = (seq: number, value: string): ServerState => ({
  generation: 1,
  epoch: 'e',
  seq,
  value: { json: value },
});
const queued = (key: string, value: string) => ({
  order: 1,
  version: 1,
  key,
  value: { json: value },
  atMs: 0,
});
const NO_CLEARS = { before: [], after: [] };
const OWN_CLEAR = { own: new Set([ALL_KEYS]) };

it('a clear() of this tab that the change feed has told is not told again by its answer', () => {
  const views = createViews(OWN_CLEAR);
  views.cleared(new Map(), new Map([['k', stateAt(4, 'later')]]));
  expect(views.changes(metaAt(3, 4), metaAt(3, 4), NO_CLEARS)).toEqual([]);
});

it('a clear() of this tab whose answer comes after that of a later write is told, and then the value that stays', () => {
  const views = createViews(OWN_CLEAR);
  views.cleared(new Map(), new Map([['k', stateAt(4, 'later')]]));
  expect(views.changes(metaAt(0, 2), metaAt(3, 3), NO_CLEARS)).toEqual([
    { type: 'clear' },
    { type: 'set', key: 'k', stored: 'later', revision: 'e.4', isRemote: true },
  ]);
});

it('a clear() of another client is told as deletes while a queued write holds a value', () => {
  const views = createViews({ isFeed: true });
  views.seen(new Map([['waits', { writes: [queued('waits', 'mine')] }]]));
  views.cleared(new Map([['gone', stateAt(1, 'old')]]), new Map());
  expect(views.changes(metaAt(0, 2), metaAt(3, 3), NO_CLEARS)).toEqual([
    { type: 'delete', key: 'gone', isRemote: true },
  ]);
});

it('a clear() of another client is told as one clear if nothing is left', () => {
  const views = createViews({ isFeed: true });
  views.cleared(new Map([['gone', stateAt(1, 'old')]]), new Map());
  expect(views.changes(metaAt(0, 2), metaAt(3, 3), NO_CLEARS)).toEqual([{ type: 'clear', isRemote: true }]);
});

it('a clear() that replaces a queued one is told, and so is one on a device that has never reached its server', () => {
  const clearAt = (order: number) => ({ order, version: order, key: ALL_KEYS, atMs: 0 });
  const meta = metaAt(0, 2);
  const replaced = { before: [clearAt(1)], after: [clearAt(3)] };
  expect(createViews(OWN_CLEAR).changes(meta, meta, replaced)).toEqual([{ type: 'clear' }]);
  expect(createViews(OWN_CLEAR).changes(INITIAL_META, INITIAL_META, NO_CLEARS)).toEqual([{ type: 'clear' }]);
});

it('where writes were queued before the mirror was filled, every key may have changed', () => {
  const filled = metaAt(0, 2);
  const unfilled = { ...filled, cursor: undefined };
  const queuedOne = { ...unfilled, lastOrder: 1 };
  expect(createViews().changes(unfilled, filled, NO_CLEARS)).toEqual([]);
  expect(createViews().changes(queuedOne, filled, NO_CLEARS)).toBeUndefined();
});
