/** `GET /health`: the server is well, and what it supports. Spec: docs/contract.md, 4. */
import type { Store } from '../../store/store.ts';
import { type Answer, answer } from '../answers.ts';
import type { Handler, RequestContext } from '../request.ts';
import type { Limits } from '../transport/limits.ts';

const CAPABILITIES = ['batch', 'etag', 'keys', 'changes', 'sse', 'ndjson', 'checksum'];

export function createHealthHandler(store: Store, limits: Limits, needsTokens: boolean): Handler {
  const capabilities = needsTokens ? [...CAPABILITIES, 'auth'] : CAPABILITIES;
  return async ({ caller }: RequestContext): Promise<Answer> =>
    answer(
      JSON.stringify({
        status: 'ok',
        timestamp: new Date().toISOString(),
        contract: 1,
        ...(caller && { epoch: store.epoch, seq: await store.seq(caller.tenant) }),
        capabilities,
        limits,
      }),
    );
}
