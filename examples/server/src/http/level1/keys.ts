/** `GET /api/v1/keys` and `GET /api/v1/stats`. Spec: docs/contract.md, 6. */
import type { Store } from '../../store/store.ts';
import { type Answer, answer } from '../answers.ts';
import { type RequestContext, tenantOf } from '../request.ts';
import { integerOf, queryOf } from '../transport/target.ts';

const USUAL_PAGE = 1000;
const LARGEST_PAGE = 10_000;

export function createListRoutes(store: Store) {
  return {
    async keys(c: RequestContext): Promise<Answer> {
      const query = queryOf(c.incoming.url ?? '');
      const page = await store.list(tenantOf(c), {
        prefix: query.get('prefix') ?? '',
        after: query.get('after') ?? '',
        limit: integerOf(query, 'limit', USUAL_PAGE, 1, LARGEST_PAGE),
      });
      const keys = page.keys.map(({ key, rev, size }) => ({ key, rev: String(rev), size }));
      const next = page.more ? keys.at(-1)?.key : null;
      return answer(JSON.stringify({ keys, next, epoch: store.epoch, seq: page.seq }));
    },

    async stats(c: RequestContext): Promise<Answer> {
      const { keys, sizeBytes, seq } = await store.stats(tenantOf(c));
      return answer(JSON.stringify({ keys, sizeBytes, epoch: store.epoch, seq }));
    },
  };
}
