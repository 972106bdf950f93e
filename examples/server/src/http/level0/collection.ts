/** Level 0, all keys at once: list, counts, export, import, clear. Spec: docs/contract.md, 2 and 3. */
import type { Snapshot, Store } from '../../store/store.ts';
import { type Answer, answer, streamed, success } from '../answers.ts';
import { HttpError, quotaExceeded } from '../errors.ts';
import { checkKey } from '../keys.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { parseMembers } from '../transport/body.ts';

/** Keys that are read at once, without a snapshot. */
const FIRST_PAGE = { prefix: '', after: '', limit: 1000 };

export function createCollectionHandlers(store: Store) {
  return {
    async keys(request: RequestContext): Promise<Answer> {
      const tenant = tenantOf(request);
      const { keys, more } = await store.list(tenant, FIRST_PAGE);
      if (!more) return answer(JSON.stringify({ keys: keys.map(({ key }) => key) }));
      if (request.incoming.method === 'HEAD') return answer('');
      return streamed('application/json', keyListOf(await store.snapshot(tenant)));
    },

    async stats(request: RequestContext): Promise<Answer> {
      const { keys, sizeBytes } = await store.stats(tenantOf(request));
      return answer(
        JSON.stringify({ total_keys: keys, total_size_bytes: sizeBytes, database_path: store.fileName }),
      );
    },

    async clear(request: RequestContext): Promise<Answer> {
      request.audit('clear');
      await store.run(tenantOf(request), { operations: [{ type: 'clear' }] });
      return success();
    },

    async import(request: RequestContext): Promise<Answer> {
      request.audit('import');
      const values = parseMembers(request.text);
      if (values === undefined) throw new HttpError(400, 'Data must be an object');
      for (const key of values.keys()) checkKey(key);
      const outcome = await store.run(tenantOf(request), {
        operations: Array.from(values, ([key, value]) => ({ type: 'put', key, value })),
        atomic: true,
      });
      for (const result of 'results' in outcome ? outcome.results : [])
        if (result.outcome === 'quota-exceeded') throw quotaExceeded(result);
      return answer(JSON.stringify({ success: true, imported: values.size }));
    },

    async export(request: RequestContext): Promise<Answer> {
      if (request.incoming.method === 'HEAD') return answer('');
      return streamed('application/json', membersOf(await store.snapshot(tenantOf(request))));
    },
  };
}

async function* keyListOf(snapshot: Snapshot): AsyncGenerator<string, void> {
  try {
    let before = '{"keys":[';
    for await (const page of snapshot.keys()) {
      if (page.length === 0) continue;
      yield before + JSON.stringify(page).slice(1, -1);
      before = ',';
    }
    yield before === ',' ? ']}' : `${before}]}`;
  } finally {
    await snapshot.close();
  }
}

async function* membersOf(snapshot: Snapshot): AsyncGenerator<string, void> {
  try {
    let separator = '{';
    for await (const page of snapshot.pages()) {
      let text = '';
      for (const { key, value } of page) {
        text += `${separator}${JSON.stringify(key)}:${value}`;
        separator = ',';
      }
      if (text !== '') yield text;
    }
    yield separator === '{' ? '{}' : '}';
  } finally {
    await snapshot.close();
  }
}
