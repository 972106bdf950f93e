/** `POST /api/v1/batch`. Spec: docs/contract.md, 5. */
import { isWrite, type Operation, OUTCOME_TEXTS, type Result, type Store } from '../../store/store.ts';
import { requireScope, type Scope } from '../access/tokens.ts';
import { answer } from '../answers.ts';
import { HttpError, problemType } from '../errors.ts';
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

const STATUSES: Record<Result['outcome'], number> = {
  ok: 200,
  missing: 404,
  'condition-failed': 412,
  'not-applied': 424,
  'answer-too-large': 413,
  'invalid-key': 400,
  'value-too-large': 413,
};

/** A result as JSON. Its value is inserted exactly as it was sent. */
function resultText(result: Result): string {
  const rev = 'rev' in result && result.rev !== undefined ? `,"rev":"${result.rev}"` : '';
  const value = 'value' in result && result.value !== undefined ? `,"value":${result.value}` : '';
  const size = 'size' in result && result.size !== undefined ? `,"size":${result.size}` : '';
  return `{"status":${STATUSES[result.outcome]}${errorMembers(result)}${rev}${size}${value}}`;
}

function errorMembers(result: Result): string {
  switch (result.outcome) {
    case 'ok':
      return '';
    case 'invalid-key':
    case 'value-too-large':
      return `,"error":${JSON.stringify(result.message)},"type":"${problemType(result.outcome)}"`;
    case 'answer-too-large':
      return `,"error":"${OUTCOME_TEXTS[result.outcome]}","type":"${problemType(result.outcome)}"`;
    default:
      return `,"error":"${OUTCOME_TEXTS[result.outcome]}"`;
  }
}
