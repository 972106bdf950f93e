/** `GET /health`: that the server is well, and what it speaks. Spec: docs/contract.md, 4. */
import type { Store } from '../../store/store.ts';
import { type Answer, answer } from '../answers.ts';
import type { RequestContext } from '../request.ts';
import type { Limits } from '../transport/limits.ts';

const CAPABILITIES = ['batch', 'etag', 'keys', 'changes', 'sse', 'ndjson', 'checksum'];

/** @param asksForTokens Whether callers need one. */
export function createHealthRoute(store: Store, limits: Limits, asksForTokens: boolean) {
  const capabilities = asksForTokens ? [...CAPABILITIES, 'auth'] : CAPABILITIES;
  return async (c: RequestContext): Promise<Answer> => {
    const { caller } = c;
    return answer(
      JSON.stringify({
        status: 'ok',
        timestamp: new Date().toISOString(),
        contract: 1,
        ...(caller && { epoch: store.epoch, seq: await store.seq(caller.tenant) }),
        capabilities,
        limits,
      }),
    );
  };
}
