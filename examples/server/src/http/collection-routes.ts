/** All keys at once on level 0: list, count, export, import, clear. Spec: docs/contract.md, 2. */
import type { Snapshot, Store } from '../store/store.ts';
import { answer, Refusal, streamed, success } from './answers.ts';
import { readMembers } from './body.ts';
import { type RequestContext, tenantOf } from './context.ts';
import { checkKey } from './keys.ts';
import { textStream } from './text-stream.ts';

/**
 * @param maxBodyBytes More is refused with 413.
 * @param onFailure Told of what went wrong after an export had begun.
 */
export function createCollectionRoutes(
  store: Store,
  maxBodyBytes: number,
  onFailure: (c: RequestContext, error: unknown) => void,
) {
  return {
    async keys(c: RequestContext): Promise<Response> {
      const all = { prefix: '', after: '', limit: Number.MAX_SAFE_INTEGER - 1 };
      const { keys } = await store.list(tenantOf(c), all);
      return answer(JSON.stringify({ keys: keys.map(({ key }) => key) }));
    },

    async stats(c: RequestContext): Promise<Response> {
      const { keys, sizeBytes } = await store.stats(tenantOf(c));
      return answer(
        JSON.stringify({ total_keys: keys, total_size_bytes: sizeBytes, database_path: store.fileName }),
      );
    },

    async clear(c: RequestContext): Promise<Response> {
      await store.run(tenantOf(c), { operations: [{ type: 'clear' }] });
      return success();
    },

    async import(c: RequestContext): Promise<Response> {
      const entries = await readMembers(c.env.incoming, maxBodyBytes);
      if (entries === undefined) throw new Refusal(400, 'Data must be an object');
      for (const [key] of entries) checkKey(key);
      await store.run(tenantOf(c), {
        operations: entries.map(([key, value]) => ({ type: 'put', key, value })),
      });
      return answer(JSON.stringify({ success: true, imported: entries.length }));
    },

    async export(c: RequestContext): Promise<Response> {
      if (c.req.method === 'HEAD') return answer('');
      const text = await textStream(members(store.snapshot(tenantOf(c))), (error) => onFailure(c, error));
      return streamed('application/json', text);
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
