/** What `observe()` returns in the frameworks that docs/frameworks.md names, with their real packages: values of any tab, both ways. */
import { createEnvironmentInjector, type EnvironmentInjector } from '@angular/core';
import { toSignal } from '@angular/core/rxjs-interop';
import { Observable } from 'rxjs';
import { createEffect, createRoot, from } from 'solid-js';
import { derived, get, type Readable } from 'svelte/store';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { customRef, effectScope, onScopeDispose, watchEffect } from 'vue';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { type Observed, observe } from '../../src/observe/index.ts';

interface Schema {
  theme: string;
}

let storage: KeyValueStorage<Schema>;
let otherTab: KeyValueStorage<Schema>;
let theme: Observed<string, string>;
let databases = 0;

beforeEach(async () => {
  databases += 1;
  const open = () => createStorage<Schema>({ database: `frameworks-${databases}`, logger: false });
  storage = open();
  otherTab = open();
  theme = observe(storage, 'theme', { initial: 'light' });
  await otherTab.set('theme', 'stored');
});
afterEach(async () => {
  await storage.close();
  await otherTab.close();
});

const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 5 });

/** Whether nobody watches the key any more: what another tab stores is not told to the view. */
async function ended(current: () => unknown): Promise<void> {
  const before = current();
  await new Promise((done) => setTimeout(done, 20));
  await storage.set('theme', 'after the end');
  expect(current()).toBe(before);
}

it('Svelte: a store that is read with $, derived from, and stored with set', async () => {
  const store: Readable<string> = theme;
  expect(get(store)).toBe('light');
  const seen: string[] = [];
  const stop = derived(theme, (value) => `is ${value}`).subscribe((text) => seen.push(text));
  await soon(() => expect(seen.at(-1)).toBe('is stored'));
  // $theme = 'dark'
  await theme.set('dark');
  expect(get(theme)).toBe('dark');
  await otherTab.set('theme', 'of another tab');
  await soon(() => expect(seen).toEqual(['is light', 'is stored', 'is dark', 'is of another tab']));
  stop();
  await ended(() => seen.length);
});

it('Vue: a customRef that effects depend on, and that stores what is assigned', async () => {
  const scope = effectScope();
  const seen: string[] = [];
  const ref = scope.run(() => {
    const ref = customRef<string>((track, trigger) => {
      onScopeDispose(theme.subscribe(trigger));
      return {
        get() {
          track();
          return theme.get();
        },
        set: (value) => void theme.set(value),
      };
    });
    watchEffect(() => seen.push(ref.value), { flush: 'sync' });
    return ref;
  });
  await soon(() => expect(seen.at(-1)).toBe('stored'));
  if (ref) ref.value = 'dark';
  expect(seen.at(-1)).toBe('dark');
  // Calls of a storage take effect in their order.
  expect(await storage.get('theme')).toBe('dark');
  await otherTab.set('theme', 'of another tab');
  await soon(() => expect(ref?.value).toBe('of another tab'));
  scope.stop();
  await ended(() => seen.length);
});

it('Solid: from() makes an accessor that effects depend on', async () => {
  const seen: unknown[] = [];
  const [value, dispose] = createRoot((dispose) => {
    const value = from(theme);
    createEffect(() => seen.push(value()));
    return [value, dispose] as const;
  });
  expect(value()).toBe('light');
  await soon(() => expect(value()).toBe('stored'));
  await otherTab.set('theme', 'of another tab');
  await soon(() => expect(seen.at(-1)).toBe('of another tab'));
  dispose();
  await ended(() => seen.length);
});

it('Angular: toSignal() makes a signal that has a value at once, and ends with its injector', async () => {
  const injector = createEnvironmentInjector([], null as unknown as EnvironmentInjector);
  const signal = toSignal(theme, { injector, requireSync: true });
  expect(signal()).toBe('light');
  await soon(() => expect(signal()).toBe('stored'));
  await theme.set('dark');
  expect(signal()).toBe('dark');
  await otherTab.set('theme', 'of another tab');
  await soon(() => expect(signal()).toBe('of another tab'));
  injector.destroy();
  await ended(signal);
});

it('RxJS: an Observable whose subscription ends the watching', async () => {
  const seen: string[] = [];
  const subscription = new Observable<string>((subscriber) => theme.subscribe(subscriber)).subscribe(
    (value) => seen.push(value),
  );
  await soon(() => expect(seen).toEqual(['light', 'stored']));
  subscription.unsubscribe();
  await ended(() => seen.length);
});
