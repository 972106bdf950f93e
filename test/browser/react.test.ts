/** The hooks in a page: what components show, when they render, and what becomes of it in StrictMode, transitions, Suspense and hydration. */
import { createElement as h, type ReactNode, StrictMode, Suspense, startTransition, useState } from 'react';
import { createRoot, hydrateRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { KeyValueStorage } from '../../src/index.ts';
import { type SetStored, useKeys, useStorageStatus, useStored } from '../../src/react/index.ts';
import { databaseOfEachTest } from '../support/browser-database.ts';

const { open } = databaseOfEachTest();

let storage: KeyValueStorage;
let place: HTMLElement;
const roots: Root[] = [];
const errors: unknown[] = [];

beforeEach(() => {
  storage = open();
  place = document.body.appendChild(document.createElement('main'));
  errors.length = 0;
});
afterEach(() => {
  for (const root of roots.splice(0)) root.unmount();
  place.remove();
  expect(errors).toEqual([]);
});

const onError = (error: unknown): void => void errors.push(error);

function show(node: ReactNode): Root {
  const root = createRoot(place, { onUncaughtError: onError, onRecoverableError: onError });
  roots.push(root);
  root.render(node);
  return root;
}

/** Waits until the page shows a text. A slow machine may take a while. */
const shows = (text: string): Promise<void> =>
  vi.waitFor(() => expect(place.textContent).toBe(text), { timeout: 20_000, interval: 5 });

/** Every text that the page has shown from now on, also one that a quick machine shows for less than a millisecond. */
function textsShown(): readonly string[] {
  const texts: string[] = [];
  const observer = new MutationObserver(() => texts.push(place.textContent ?? ''));
  observer.observe(place, { childList: true, characterData: true, subtree: true });
  return texts;
}

interface ValueProps {
  readonly name?: string;
  readonly rendered?: (text: string) => void;
  readonly given?: (set: SetStored<unknown, unknown>) => void;
}

/** Shows a key as `[value state]`. */
function Value({ name = 'a', rendered, given }: ValueProps) {
  const [value, set, state, error] = useStored(storage, name, { initial: '-' });
  given?.(set);
  const text = `[${value} ${state}${error ? ` ${error.code}` : ''}]`;
  rendered?.(text);
  return text;
}

it('a component shows the initial value, then the stored one, and then each change of any tab', async () => {
  await storage.set('a', 1);
  const seen: string[] = [];
  show(h(Value, { rendered: (text) => seen.push(text) }));
  await shows('[1 ready]');
  expect(seen).toEqual(['[- loading]', '[1 ready]']);
  await storage.set('a', 2);
  await shows('[2 ready]');
  const otherTab = open();
  await otherTab.set('a', 3);
  await shows('[3 ready]');
  await otherTab.delete('a');
  await shows('[- ready]');
  expect(seen).toHaveLength(5);
});

it('set() shows the value in all components at once, and stores it', async () => {
  let set: SetStored<unknown, unknown> = async () => {};
  show([
    h(Value, {
      key: 1,
      given: (given) => {
        set = given;
      },
    }),
    h(Value, { key: 2 }),
  ]);
  await shows('[- ready][- ready]');
  const first = set;
  const texts = textsShown();
  await set(1);
  expect(await storage.get('a')).toBe(1);
  await shows('[1 ready][1 ready]');
  expect(texts).toEqual(['[1 saving][1 saving]', '[1 ready][1 ready]']);
  await set((n: unknown) => Number(n) + 1);
  await shows('[2 ready][2 ready]');
  expect(await storage.get('a')).toBe(2);
  expect(set).toBe(first);
});

it('a write that fails is taken back, and is an error until the next one', async () => {
  let set: SetStored<unknown, unknown> = async () => {};
  await storage.set('a', 'stored');
  show(
    h(Value, {
      given: (given) => {
        set = given;
      },
    }),
  );
  await shows('[stored ready]');
  // Nobody handles the rejection: it is shown, and not reported as unhandled.
  void set({ toString: () => 'refused' });
  await shows('[stored error unsupported-value]');
  await expect(set({ toString: () => 'refused' })).rejects.toMatchObject({ code: 'unsupported-value' });
  await set('good');
  await shows('[good ready]');
});

it('a component that gets another key shows that one', async () => {
  await storage.setMany([
    ['a', 1],
    ['b', 2],
  ]);
  const root = show(h(Value, { name: 'a' }));
  await shows('[1 ready]');
  root.render(h(Value, { name: 'b' }));
  await shows('[2 ready]');
  await storage.set('a', 3);
  await storage.set('b', 4);
  await shows('[4 ready]');
});

it('StrictMode: a key is watched once, however often React mounts, and changes are shown', async () => {
  const watched = vi.spyOn(storage, 'watch');
  const root = show(
    h(
      StrictMode,
      null,
      [1, 2, 3].map((key) => h(Value, { key })),
    ),
  );
  await shows('[- ready][- ready][- ready]');
  await storage.set('a', 1);
  await shows('[1 ready][1 ready][1 ready]');
  expect(watched).toHaveBeenCalledTimes(1);
  // A component that comes back soon shows the present value at once.
  root.render(null);
  await shows('');
  await storage.set('a', 2);
  const seen: string[] = [];
  root.render(h(Value, { rendered: (text) => seen.push(text) }));
  await shows('[2 ready]');
  expect(seen).toEqual(['[2 ready]']);
  expect(watched).toHaveBeenCalledTimes(1);
});

it('100 components on 100 keys, 1,000 changes: each renders for the changes of its own key, and for no other', async () => {
  const renders = new Map<string, number>();
  const names = Array.from({ length: 100 }, (_, i) => `key${i}`);
  show(
    names.map((name) =>
      h(Value, { key: name, name, rendered: () => renders.set(name, (renders.get(name) ?? 0) + 1) }),
    ),
  );
  await shows(names.map(() => '[- ready]').join(''));
  renders.clear();
  const changes = new Map<string, number>();
  for (let i = 0; i < 1000; i += 1) {
    // Not evenly: some keys change often, and others never.
    const name = `key${(i * i) % 97}`;
    changes.set(name, (changes.get(name) ?? 0) + 1);
    await storage.set(name, i);
    // A browser renders between two changes; React would show both at once otherwise.
    await new Promise((done) => setTimeout(done));
  }
  await vi.waitFor(() => expect(new Map([...renders].sort())).toEqual(new Map([...changes].sort())), {
    timeout: 20_000,
  });
  expect([...renders.values()].reduce((sum, n) => sum + n, 0)).toBe(1000);
}, 120_000);

it('a transition that is interrupted by changes never shows two values of a key', async () => {
  function Slow() {
    const [value] = useStored(storage, 'a', { initial: 0 });
    const end = performance.now() + 4;
    while (performance.now() < end);
    return `${value} `;
  }
  let rerender = (): void => {};
  function Page() {
    const [count, setCount] = useState(0);
    rerender = () => startTransition(() => setCount((n) => n + 1));
    return Array.from({ length: 20 + (count % 2) }, (_, i) => h(Slow, { key: `${count} ${i}` }));
  }
  const committed = textsShown();
  show(h(Page));
  await shows('0 '.repeat(20));
  for (let i = 1; i <= 31; i += 1) {
    rerender();
    await storage.set('a', i);
    await new Promise((done) => setTimeout(done, 50 * (i % 4)));
  }
  await vi.waitFor(() => expect(place.textContent).toMatch(/^(31 ){21}$/), { timeout: 30_000 });
  expect(committed.length).toBeGreaterThan(20);
  for (const text of committed) expect(new Set(text.trim().split(' ')).size, text).toBe(1);
});

it('with suspense the fallback is shown until the keys are read', async () => {
  await storage.setMany([
    ['a', 1],
    ['b', 2],
  ]);
  const seen: string[] = [];
  const texts = textsShown();
  function Suspending({ name }: { readonly name: string }) {
    const [value, , state] = useStored(storage, name, { suspense: true });
    seen.push(`${value} ${state}`);
    return `[${value}]`;
  }
  show(
    h(StrictMode, null, [
      h(
        Suspense,
        { key: 1, fallback: 'reads' },
        ['a', 'b', 'none'].map((name) => h(Suspending, { key: name, name })),
      ),
    ]),
  );
  await shows('[1][2][undefined]');
  expect(texts).toEqual(['reads', '[1][2][undefined]']);
  await storage.set('b', 3);
  await shows('[1][3][undefined]');
  expect(seen.filter((text) => !text.endsWith('ready'))).toEqual([]);
});

it('a page that a server has rendered is hydrated without a difference, and then shows what is stored', async () => {
  await storage.set('a', 1);
  function Page() {
    const [keys] = useKeys(storage);
    const { state } = useStorageStatus(storage);
    return h('p', null, h(Value), ` ${keys.join()} ${state}`);
  }
  place.innerHTML = renderToString(h(Page));
  expect(place.textContent).toBe('[- loading]  offline');
  const paragraph = place.firstChild;
  roots.push(hydrateRoot(place, h(Page), { onUncaughtError: onError, onRecoverableError: onError }));
  await shows('[1 ready] a local');
  expect(place.firstChild).toBe(paragraph);
});

it('useKeys: renders when a key comes or goes, and not when a value changes', async () => {
  const notes = storage.namespace('note:');
  await notes.set('b', 1);
  let renders = 0;
  function Keys() {
    const [keys, state] = useKeys(notes, { limit: 3 });
    renders += 1;
    return `${keys.join()} ${state}`;
  }
  show(h(Keys));
  await shows('b ready');
  expect(renders).toBe(2);
  await notes.set('b', 2);
  await storage.set('other', 1);
  await notes.set('a', 1);
  await shows('a,b ready');
  expect(renders).toBe(3);
  await Promise.all(['c', 'd', 'e'].map((key) => notes.set(key, 1)));
  await shows('a,b,c ready');
  await notes.delete('a');
  await shows('b,c,d ready');
  await storage.clear();
  await shows(' ready');
  await storage.close();
  expect(place.textContent).toBe(' ready');
});

it('a key that is none, and a storage that is closed, are errors that are shown', async () => {
  await storage.close();
  function Keys() {
    const [, state, error] = useKeys(storage);
    return `[${state} ${error?.code}]`;
  }
  show([h(Value, { key: 1 }), h(Keys, { key: 2 })]);
  await shows('[- error closed][error closed]');
});
