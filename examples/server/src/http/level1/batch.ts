/** `POST /api/v1/batch`. Spec: docs/contract.md, 5. */
import { resultText } from '../../store/results.ts';
import { isWrite, type Operation, type Store } from '../../store/store.ts';
import type { Scope } from '../access/tokens.ts';
import { type Answer, answer, Refusal } from '../answers.ts';
import { demand, type RequestContext, tenantOf } from '../request.ts';
import { checkType, decode, readBytes } from '../transport/body.ts';
import type { Limits } from '../transport/limits.ts';
import { parseBatch } from './parse-batch.ts';

const REFUSED = {
  'op-gap': 'n is neither the next number of this client nor one of its last batch',
  'client-unknown': 'This client is not known here: begin again with n 1',
};

export function createBatchRoute(store: Store, limits: Limits) {
  return async (c: RequestContext): Promise<Answer> => {
    checkType(c.incoming, 'application/json');
    const text = decode(await readBytes(c.incoming, limits.bodyBytes));
    const { epoch, ...batch } = parseBatch(text, limits);
    demand(c, scopeOf(batch.operations));
    if (epoch !== undefined && epoch !== store.epoch) throw epochChanged();
    const outcome = await store.run(tenantOf(c), batch);
    if ('refused' in outcome) throw new Refusal(409, REFUSED[outcome.refused], { name: outcome.refused });
    const results = outcome.results.map(resultText).join();
    return answer(`{"epoch":${JSON.stringify(store.epoch)},"seq":${outcome.seq},"results":[${results}]}`);
  };
}

/** Another incarnation of the data, of which the caller's revisions and cursors say nothing. */
export function epochChanged(): Refusal {
  return new Refusal(409, 'The data is of another epoch: list everything again', { name: 'epoch-changed' });
}

function scopeOf(operations: readonly Operation[]): Scope {
  if (operations.some(({ type }) => type === 'clear')) return 'admin';
  return operations.some(isWrite) ? 'write' : 'read';
}
