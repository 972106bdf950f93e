/** One key on level 0: read, write, delete. Spec: docs/contract.md, 2 and 3; RFC 9110 §13. */
import type { Condition, Operation, Result, Store } from '../../store/store.ts';
import {
  type Answer,
  answer,
  empty,
  type Fields,
  failure,
  keyNotFound,
  Refusal,
  success,
} from '../answers.ts';
import { addressedKey, checkKey } from '../keys.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { readMembers } from '../transport/body.ts';
import { entityTag, hasPrecondition, judge } from './preconditions.ts';

/** A browser may keep an answer, but asks each time whether it still holds; a shared cache keeps none. */
const CACHING = { 'Cache-Control': 'no-cache, private' };

/** @param maxBodyBytes More is refused with 413. */
export function createEntryRoutes(store: Store, maxBodyBytes: number) {
  const tagOf = (rev: number): string => `${store.epoch}.${rev}`;
  const tagged = (rev: number | undefined): Fields =>
    rev === undefined ? {} : { ETag: entityTag(tagOf(rev)) };

  function conditionOf(c: RequestContext): Condition | undefined {
    const { headers } = c.incoming;
    return hasPrecondition(headers)
      ? (rev) => judge(headers, rev === undefined ? undefined : tagOf(rev)) === 'proceed'
      : undefined;
  }

  async function change(c: RequestContext, operation: Operation): Promise<Answer> {
    const outcome = await store.run(tenantOf(c), { operations: [operation] });
    const [result] = 'results' in outcome ? outcome.results : [];
    return changed(result as Result);
  }

  function changed({ status, rev }: Result): Answer {
    if (status === 404) return keyNotFound();
    return status === 412 ? preconditionFailed(tagged(rev)) : success(tagged(rev));
  }

  function preconditionFailed(headers: Fields): Answer {
    return failure(412, 'Precondition failed', { headers });
  }

  return {
    async read(c: RequestContext): Promise<Answer> {
      const { url = '', headers } = c.incoming;
      const entry = await store.read(tenantOf(c), addressedKey(url));
      if (entry === undefined) return keyNotFound(CACHING);
      const tag = tagOf(entry.rev);
      const found = { ETag: entityTag(tag), ...CACHING };
      const verdict = judge(headers, tag);
      if (verdict === 'unchanged') return empty(304, found);
      if (verdict === 'failed') return preconditionFailed(found);
      return answer(`{"value":${entry.value}}`, 200, found);
    },

    async write(c: RequestContext): Promise<Answer> {
      const { incoming } = c;
      const key = addressedKey(incoming.url ?? '');
      checkKey(key);
      const body = await readMembers(incoming, maxBodyBytes);
      const value = body?.find(([name]) => name === 'value')?.[1];
      if (value === undefined) throw new Refusal(400, 'Missing value field');
      return change(c, { type: 'put', key, value, condition: conditionOf(c) });
    },

    async remove(c: RequestContext): Promise<Answer> {
      const key = addressedKey(c.incoming.url ?? '');
      return change(c, { type: 'delete', key, condition: conditionOf(c) });
    },
  };
}
