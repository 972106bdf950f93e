/** `POST /api/v1/batch`. Spec: docs/contract.md, 5. */
import { resultText } from '../../store/results.ts';
import { isWrite, type Operation, type Store } from '../../store/store.ts';
import { requireScope, type Scope } from '../access/tokens.ts';
import { answer } from '../answers.ts';
import { HttpError } from '../errors.ts';
import { type Handler, tenantOf } from '../request.ts';
import { checkType, decode, readBytes } from '../transport/body.ts';
import type { Limits } from '../transport/limits.ts';
import { parseBatch } from './parse-batch.ts';

const REFUSED = {
  'op-gap': 'n is neither the next number of this client nor a number of its last batch',
  'client-unknown': 'This server does not know the client: start again with n 1',
};

export function createBatchHandler(store: Store, limits: Limits): Handler {
  return async (request) => {
    checkType(request.incoming, 'application/json');
    const text = decode(await readBytes(request.incoming, limits.bodyBytes));
    const { epoch, ...batch } = parseBatch(text, limits);
    requireScope(request.caller, scopeOf(batch.operations));
    if (epoch !== undefined && epoch !== store.epoch) throw epochChanged();
    const outcome = await store.run(tenantOf(request), batch);
    if ('refused' in outcome) throw new HttpError(409, REFUSED[outcome.refused], { name: outcome.refused });
    const results = outcome.results.map(resultText).join();
    return answer(`{"epoch":${JSON.stringify(store.epoch)},"seq":${outcome.seq},"results":[${results}]}`);
  };
}

/** The caller's revisions and cursors belong to another incarnation of the data. */
export function epochChanged(): HttpError {
  return new HttpError(409, 'The data is of another epoch: list everything again', { name: 'epoch-changed' });
}

function scopeOf(operations: readonly Operation[]): Scope {
  if (operations.some(({ type }) => type === 'clear')) return 'admin';
  return operations.some(isWrite) ? 'write' : 'read';
}
