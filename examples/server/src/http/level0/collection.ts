/** All keys at once on level 0: list, count, export, import, clear. Spec: docs/contract.md, 2. */
import type { Snapshot, Store } from '../../store/store.ts';
import { type Answer, answer, Refusal, streamed, success } from '../answers.ts';
import { checkKey } from '../keys.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { readMembers } from '../transport/body.ts';

/** @param maxBodyBytes More is refused with 413. */
export function createCollectionRoutes(store: Store, maxBodyBytes: number) {
  return {
    async keys(c: RequestContext): Promise<Answer> {
      const all = { prefix: '', after: '', limit: Number.MAX_SAFE_INTEGER - 1 };
      const { keys } = await store.list(tenantOf(c), all);
      return answer(JSON.stringify({ keys: keys.map(({ key }) => key) }));
    },

    async stats(c: RequestContext): Promise<Answer> {
      const { keys, sizeBytes } = await store.stats(tenantOf(c));
      return answer(
        JSON.stringify({ total_keys: keys, total_size_bytes: sizeBytes, database_path: store.fileName }),
      );
    },

    async clear(c: RequestContext): Promise<Answer> {
      await store.run(tenantOf(c), { operations: [{ type: 'clear' }] });
      return success();
    },

    async import(c: RequestContext): Promise<Answer> {
      const entries = await readMembers(c.incoming, maxBodyBytes);
      if (entries === undefined) throw new Refusal(400, 'Data must be an object');
      for (const [key] of entries) checkKey(key);
      await store.run(tenantOf(c), {
        operations: entries.map(([key, value]) => ({ type: 'put', key, value })),
      });
      return answer(JSON.stringify({ success: true, imported: entries.length }));
    },

    async export(c: RequestContext): Promise<Answer> {
      if (c.incoming.method === 'HEAD') return answer('');
      return streamed('application/json', members(store.snapshot(tenantOf(c))));
    },
  };
}

async function* members(snapshot: Snapshot): AsyncGenerator<string, void> {
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
    snapshot.close();
  }
}
