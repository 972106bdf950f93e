/** `GET /api/v1/keys` and `GET /api/v1/stats`. Spec: docs/contract.md, 6. */
import type { Store } from '../../store/store.ts';
import { type Answer, answer } from '../answers.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { integerOf, queryOf } from '../transport/target.ts';

const DEFAULT_PAGE = 1000;
const MAX_PAGE = 10_000;

export function createListHandlers(store: Store) {
  return {
    async keys(request: RequestContext): Promise<Answer> {
      const query = queryOf(request.incoming.url ?? '');
      const page = await store.list(tenantOf(request), {
        prefix: query.get('prefix') ?? '',
        after: query.get('after') ?? '',
        limit: integerOf(query, 'limit', DEFAULT_PAGE, 1, MAX_PAGE),
      });
      const keys = page.keys.map(({ key, rev, size }) => ({ key, rev: String(rev), size }));
      const next = page.more ? keys.at(-1)?.key : null;
      return answer(JSON.stringify({ keys, next, epoch: store.epoch, seq: page.seq }));
    },

    async stats(request: RequestContext): Promise<Answer> {
      const { keys, sizeBytes, seq } = await store.stats(tenantOf(request));
      return answer(JSON.stringify({ keys, sizeBytes, epoch: store.epoch, seq }));
    },
  };
}
