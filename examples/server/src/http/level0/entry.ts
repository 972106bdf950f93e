/** Level 0, one key: read, write, delete. Spec: docs/contract.md, 2 and 3; RFC 9110 §13; RFC 6585 §3. */
import type { Condition, Operation, Result, Store } from '../../store/store.ts';
import { type Answer, answer, empty, type Fields, success } from '../answers.ts';
import {
  HttpError,
  keyNotFound,
  preconditionFailed,
  preconditionRequired,
  quotaExceeded,
} from '../errors.ts';
import { checkKey } from '../keys.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { parseMembers } from '../transport/body.ts';
import { keyOf } from '../transport/target.ts';
import { entityTag, evaluatePreconditions, hasPrecondition } from './preconditions.ts';

/** A browser may store an answer but must revalidate it. A shared cache must not store it. */
const CACHING = { 'Cache-Control': 'no-cache, private' };

/** @param requiresCondition Whether writes without a precondition are refused. */
export function createEntryHandlers(store: Store, requiresCondition: boolean) {
  const tagOf = (rev: number): string => `${store.epoch}.${rev}`;
  const tagged = (rev: number | undefined): Fields =>
    rev === undefined ? {} : { ETag: entityTag(tagOf(rev)) };

  function conditionOf({ incoming: { headers } }: RequestContext): Condition | undefined {
    if (hasPrecondition(headers))
      return (rev) =>
        evaluatePreconditions(headers, rev === undefined ? undefined : tagOf(rev)) === 'proceed';
    if (requiresCondition) throw preconditionRequired();
    return undefined;
  }

  async function change(request: RequestContext, operation: Operation): Promise<Answer> {
    const outcome = await store.run(tenantOf(request), { operations: [operation] });
    const [result] = 'results' in outcome ? outcome.results : [];
    return changed(result as Result);
  }

  function changed(result: Result): Answer {
    if (result.outcome === 'ok') return success(tagged(result.rev));
    if (result.outcome === 'quota-exceeded') throw quotaExceeded(result);
    return result.outcome === 'condition-failed' ? preconditionFailed(tagged(result.rev)) : keyNotFound();
  }

  return {
    async read(request: RequestContext): Promise<Answer> {
      const { url = '', headers } = request.incoming;
      const entry = await store.read(tenantOf(request), keyOf(url));
      if (entry === undefined) return keyNotFound(CACHING);
      const tag = tagOf(entry.rev);
      const fields = { ETag: entityTag(tag), ...CACHING };
      const result = evaluatePreconditions(headers, tag);
      if (result === 'unchanged') return empty(304, fields);
      if (result === 'failed') return preconditionFailed(fields);
      return answer(`{"value":${entry.value}}`, 200, fields);
    },

    async write(request: RequestContext): Promise<Answer> {
      const key = keyOf(request.incoming.url ?? '');
      checkKey(key);
      const value = parseMembers(request.text)?.get('value');
      if (value === undefined) throw new HttpError(400, 'Missing value field');
      return change(request, { type: 'put', key, value, condition: conditionOf(request) });
    },

    async remove(request: RequestContext): Promise<Answer> {
      const key = keyOf(request.incoming.url ?? '');
      return change(request, { type: 'delete', key, condition: conditionOf(request) });
    },
  };
}
