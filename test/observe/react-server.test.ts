/** The hooks on a server: what is rendered there, and that nothing is read for it. */
import { createElement as h, Suspense } from 'react';
import { renderToString } from 'react-dom/server';
import { expect, it, vi } from 'vitest';
import { createStorage, type KeyValueStorage } from '../../src/index.ts';
import { useKeys, useStorageStatus, useStored } from '../../src/react/index.ts';

const storage = createStorage({ useFlask: true, flaskUrl: 'http://127.0.0.1:9', logger: false });

function Page({ storage }: { readonly storage: KeyValueStorage }) {
  const [name, , state] = useStored<string>(storage, 'name', { initial: 'nobody' });
  const [keys, listed] = useKeys(storage);
  const { state: connection, pending } = useStorageStatus(storage);
  return h('p', null, [name, state, keys.length, listed, connection, pending].join(' '));
}

it('renders the initial value, no keys and an unknown status, without a request', () => {
  const requests = vi.spyOn(globalThis, 'fetch');
  const opened = vi.spyOn(indexedDB, 'open');
  expect(renderToString(h(Page, { storage }))).toBe('<p>nobody loading 0 loading offline 0</p>');
  expect(requests).not.toHaveBeenCalled();
  expect(opened).not.toHaveBeenCalled();
  vi.restoreAllMocks();
});

it('with suspense it renders the fallback', () => {
  function Name() {
    const [name] = useStored(storage, 'name', { suspense: true });
    return h('p', null, String(name));
  }
  const html = renderToString(h(Suspense, { fallback: h('i', null, 'reads') }, h(Name)));
  expect(html).toContain('<i>reads</i>');
  expect(html).not.toContain('<p>');
});
