/** All keys at once: list, count, export, import, clear. Spec: docs/contract.md (level 0). */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { Logger } from '../log.ts';
import type { Store } from '../store/store.ts';
import { answer, Refusal, success } from './answers.ts';
import { readMembers } from './body.ts';
import { checkKey } from './keys.ts';

type RequestContext = Context<{ Bindings: HttpBindings }>;

/** @param maxBodyBytes More is refused with 413. */
export function createCollectionRoutes(store: Store, maxBodyBytes: number, log: Logger) {
  return {
    async keys(): Promise<Response> {
      return answer(JSON.stringify({ keys: await store.keys() }));
    },

    async stats(): Promise<Response> {
      const { keys, sizeBytes, fileName } = await store.stats();
      return answer(
        JSON.stringify({ total_keys: keys, total_size_bytes: sizeBytes, database_path: fileName }),
      );
    },

    async clear(): Promise<Response> {
      await store.write({ type: 'clear' });
      return success();
    },

    async import(c: RequestContext): Promise<Response> {
      const entries = await readMembers(c.env.incoming, maxBodyBytes);
      if (entries === undefined) throw new Refusal(400, 'Data must be an object');
      for (const [key] of entries) checkKey(key);
      await store.write({ type: 'import', entries });
      return answer(JSON.stringify({ success: true, imported: entries.length }));
    },

    async export(c: RequestContext): Promise<Response> {
      if (c.req.method === 'HEAD') return answer('');
      const chunks = exportText(store);
      // Until the first chunk is there, a failure can still be answered as one.
      const first = await chunks.next();
      return answer(
        stream(first, chunks, (error) => {
          log.error({ err: error }, 'export failed');
          // The answer has begun: only a broken connection tells the caller that it is incomplete.
          c.env.outgoing.destroy();
        }),
      );
    },
  };
}

async function* exportText(store: Store): AsyncGenerator<string, void> {
  let separator = '{';
  for await (const page of store.snapshot()) {
    let text = '';
    for (const [key, value] of page) {
      text += `${separator}${JSON.stringify(key)}:${value}`;
      separator = ',';
    }
    if (text !== '') yield text;
  }
  yield separator === '{' ? '{}' : '}';
}

function stream(
  first: IteratorResult<string, void>,
  chunks: AsyncGenerator<string, void>,
  onFailure: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let next = first;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          if (next.done) {
            controller.close();
            return;
          }
          controller.enqueue(encoder.encode(next.value));
          next = await chunks.next();
        } catch (error) {
          onFailure(error);
          controller.close();
        }
      },
      async cancel() {
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
