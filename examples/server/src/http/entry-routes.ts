/** One key: read, write, delete. Spec: docs/contract.md (level 0), RFC 9110 §13. */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { Condition, Outcome, Store } from '../store/store.ts';
import { answer, failure, keyNotFound, Refusal, success } from './answers.ts';
import { readMembers } from './body.ts';
import { addressedKey, checkKey } from './keys.ts';
import { entityTag, hasPrecondition, judge } from './preconditions.ts';

type RequestContext = Context<{ Bindings: HttpBindings }>;

/** A browser may keep an answer, but asks each time whether it still holds; a shared cache keeps none. */
const CACHING = { 'Cache-Control': 'no-cache, private' };

/** @param maxBodyBytes More is refused with 413. */
export function createEntryRoutes(store: Store, maxBodyBytes: number) {
  return {
    async read(c: RequestContext): Promise<Response> {
      const { url = '', headers } = c.env.incoming;
      const entry = await store.read(addressedKey(url));
      if (entry === undefined) return keyNotFound(CACHING);
      const found = { ETag: entityTag(entry.tag), ...CACHING };
      const verdict = judge(headers, entry.tag);
      if (verdict === 'unchanged') return new Response(null, { status: 304, headers: found });
      if (verdict === 'failed') return preconditionFailed(entry.tag);
      return answer(`{"value":${entry.value}}`, 200, found);
    },

    async write(c: RequestContext): Promise<Response> {
      const { incoming } = c.env;
      const key = addressedKey(incoming.url ?? '');
      checkKey(key);
      const body = await readMembers(incoming, maxBodyBytes);
      const value = body?.find(([name]) => name === 'value')?.[1];
      if (value === undefined) throw new Refusal(400, 'Missing value field');
      return changed(await store.write({ type: 'put', key, value, condition: conditionOf(c) }));
    },

    async remove(c: RequestContext): Promise<Response> {
      const key = addressedKey(c.env.incoming.url ?? '');
      return changed(await store.write({ type: 'delete', key, condition: conditionOf(c) }));
    },
  };
}

function conditionOf(c: RequestContext): Condition | undefined {
  const { headers } = c.env.incoming;
  return hasPrecondition(headers) ? (tag) => judge(headers, tag) === 'proceed' : undefined;
}

function changed(outcome: Outcome): Response {
  switch (outcome.status) {
    case 'done':
      return success(outcome.tag === undefined ? undefined : { ETag: entityTag(outcome.tag) });
    case 'missing':
      return keyNotFound();
    case 'condition-failed':
      return preconditionFailed(outcome.tag);
  }
}

function preconditionFailed(tag: string | undefined): Response {
  return failure(412, 'Precondition failed', tag === undefined ? undefined : { ETag: entityTag(tag) });
}
