/**
 * TanStack Query's persisters, as its documentation uses them: of the whole client, and of single queries.
 * https://tanstack.com/query/latest/docs/framework/react/plugins/createAsyncStoragePersister and createPersister
 */
import { createAsyncStoragePersister } from '@tanstack/query-async-storage-persister';
import { QueryClient } from '@tanstack/query-core';
import {
  experimental_createQueryPersister as createQueryPersister,
  persistQueryClient,
} from '@tanstack/query-persist-client-core';
import { expect, it, vi } from 'vitest';
import { asAsyncStorage } from '../../src/adapters/index.ts';
import type { KeyValueStorage } from '../../src/index.ts';
import { onEachBackend } from './backends.ts';

const newClient = (): QueryClient =>
  new QueryClient({ defaultOptions: { queries: { gcTime: 1000 * 60 * 60 * 24, staleTime: 60_000 } } });

/** A client with what was stored, and its storage of text. */
async function openClient(storage: KeyValueStorage, prefix = 'query:') {
  const queryClient = newClient();
  const items = asAsyncStorage(storage, { prefix });
  const [unsubscribe, restored] = persistQueryClient({
    queryClient,
    persister: createAsyncStoragePersister({ storage: items, throttleTime: 1 }),
  });
  await restored;
  return { queryClient, items, unsubscribe };
}

/** A persister of single queries. */
const openQueries = (storage: KeyValueStorage, maxAge = 60_000) =>
  createQueryPersister({ storage: asAsyncStorage(storage, { prefix: 'query:' }), maxAge });

onEachBackend((reopen) => {
  it('createAsyncStoragePersister: a client that is created again has the data of before', async () => {
    const before = await openClient(await reopen());
    await before.queryClient.fetchQuery({ queryKey: ['todos'], queryFn: () => ['buy milk'] });
    await vi.waitFor(
      async () => expect(await before.items.getItem('REACT_QUERY_OFFLINE_CACHE')).toContain('buy milk'),
      { timeout: 15_000, interval: 10 },
    );
    before.unsubscribe();

    const storage = await reopen();
    const after = await openClient(storage);
    expect(after.queryClient.getQueryData(['todos'])).toEqual(['buy milk']);
    after.unsubscribe();
    const other = await openClient(storage, 'other:');
    expect(other.queryClient.getQueryData(['todos'])).toBeUndefined();
    other.unsubscribe();
  });

  it('createPersister: a query is read from the storage when it is needed', async () => {
    const key = ['user', 1];
    const storage = await reopen();
    const client = newClient();
    await client.fetchQuery({ queryKey: key, queryFn: () => 'Ada' });
    await openQueries(storage).persistQueryByKey(key, client);
    expect(await storage.keys()).toEqual(['query:tanstack-query-["user",1]']);

    const queryFn = vi.fn(() => 'Grace');
    const after = new QueryClient({
      defaultOptions: { queries: { staleTime: 60_000, persister: openQueries(await reopen()).persisterFn } },
    });
    expect(await after.fetchQuery({ queryKey: key, queryFn })).toBe('Ada');
    expect(queryFn).not.toHaveBeenCalled();
  });

  it('createPersister restores all queries, and removes old ones', async () => {
    const client = newClient();
    client.setQueryData(['a'], 'first');
    client.setQueryData(['b'], 'second');
    const first = openQueries(await reopen());
    await first.persistQueryByKey(['a'], client);
    await first.persistQueryByKey(['b'], client);

    const storage = await reopen();
    const restored = newClient();
    await openQueries(storage).restoreQueries(restored);
    expect(restored.getQueryData(['a'])).toEqual('first');
    expect(restored.getQueryData(['b'])).toEqual('second');
    await openQueries(storage, -1).persisterGc();
    expect(await storage.keys()).toEqual([]);
  });
});
