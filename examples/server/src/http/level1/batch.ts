/** `POST /api/v1/batch`. Spec: docs/contract.md, 5. */

import { quotaText } from '../../store/quota.ts';
import {
  type Batch,
  type MutationRefusal,
  needsWriting,
  OUTCOME_TEXTS,
  type Result,
  type Store,
} from '../../store/store.ts';
import { requireScope, type Scope } from '../access/tokens.ts';
import { answer } from '../answers.ts';
import { HttpError, problemType } from '../errors.ts';
import { type Handler, tenantOf } from '../request.ts';
import type { Limits } from '../transport/limits.ts';
import { parseBatch } from './parse-batch.ts';

const REFUSED: Record<MutationRefusal, string> = {
  settled: 'The client has settled this mutation: its results are no longer stored',
  void: 'The client has given up this mutation',
  'mutation-changed': 'The mutation with this number had another number of writes',
};

export function createBatchHandler(store: Store, limits: Limits): Handler {
  return async (request) => {
    const { batch, epoch, account } = parseBatch(request.text, limits);
    const { caller } = request;
    if (account !== undefined && account !== caller?.account) throw otherAccount();
    requireScope(caller, scopeOf(batch));
    if (epoch !== undefined && epoch !== store.epoch) throw epochChanged();
    const outcome = await store.run(tenantOf(request), batch);
    if ('refused' in outcome) {
      const { refused: name, ...members } = outcome;
      throw new HttpError(409, REFUSED[name], { name, members });
    }
    const { seq, top, isVoid, results } = outcome;
    if (batch.operations.some(({ type }, i) => type === 'clear' && results[i]?.outcome === 'ok'))
      request.audit('clear');
    const state = JSON.stringify({ epoch: store.epoch, seq, account: caller?.account, top, void: isVoid });
    return answer(`${state.slice(0, -1)},"results":[${results.map(resultText).join()}]}`);
  };
}

function otherAccount(): HttpError {
  return new HttpError(409, 'The batch is for the data of another account', { name: 'other-account' });
}

/** The caller's revisions and cursors belong to another incarnation of the data. */
export function epochChanged(): HttpError {
  return new HttpError(409, 'The data is of another epoch: list everything again', { name: 'epoch-changed' });
}

function scopeOf(batch: Batch): Scope {
  if (batch.operations.some(({ type }) => type === 'clear')) return 'admin';
  return needsWriting(batch) ? 'write' : 'read';
}

const STATUSES: Record<Result['outcome'], number> = {
  ok: 200,
  missing: 404,
  'condition-failed': 412,
  'not-applied': 424,
  'answer-too-large': 413,
  'invalid-key': 400,
  'value-too-large': 413,
  'quota-exceeded': 507,
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
    case 'quota-exceeded': {
      const { used, quota } = result;
      const members = JSON.stringify({ used, quota }).slice(1, -1);
      return `,"error":"${quotaText(used, quota)}","type":"${problemType(result.outcome)}",${members}`;
    }
    default:
      return `,"error":"${OUTCOME_TEXTS[result.outcome]}"`;
  }
}
