/**
 * Parses the body of a batch into operations. Values stay the texts that were sent.
 *
 * Spec: docs/contract.md, 5.3, 5.5, 5.8 to 5.10.
 */
import { elementsOf, MAX_DEPTH, membersOf } from '../../../../../src/backup-format/json-text.ts';
import type { Batch, Condition, Operation, Result } from '../../store/store.ts';
import { HttpError } from '../errors.ts';
import { keyProblem } from '../keys.ts';
import { parseMembers } from '../transport/body.ts';
import type { Limits } from '../transport/limits.ts';

/** A batch as the client sent it. */
export interface SentBatch {
  readonly batch: Batch;
  /** The epoch that the client knows. */
  readonly epoch: string | undefined;
  /** The account whose data the client means to change. */
  readonly account: string | undefined;
}

type Members = ReadonlyMap<string, string>;

const MISSING: Result = { outcome: 'missing' };

const CLIENT = /^[\w-]{16,64}$/;

/** @throws {HttpError} 400 */
export function parseBatch(text: string, limits: Limits): SentBatch {
  // The body, the array and the operation are three more levels than a value may have.
  const body: Members = parseMembers(text, MAX_DEPTH + 3) ?? refuse('A batch must be an object');
  const client = stringOf(body, 'client');
  if (client !== undefined && !CLIENT.test(client))
    refuse('client must be 16 to 64 characters of A-Z a-z 0-9 _ -');
  const mutation = mutationOf(body, client);
  const operations = mutation.voided === undefined ? operationsOf(body, limits) : [];
  const atomic = body.get('atomic') ?? 'false';
  if (atomic !== 'true' && atomic !== 'false') refuse('atomic must be true or false');
  return {
    batch: { operations, atomic: atomic === 'true', client, ...mutation },
    epoch: stringOf(body, 'epoch'),
    account: stringOf(body, 'account'),
  };
}

type Mutation = Pick<Batch, 'm' | 'voided' | 'settled'>;

function mutationOf(body: Members, client: string | undefined): Mutation {
  const m = numberOf(body, 'm');
  const voided = numberOf(body, 'void');
  const settled = numberOf(body, 'settled', 0);
  if ((m ?? voided ?? settled) !== undefined && client === undefined)
    refuse('A batch with m, void or settled must name its client');
  if (voided !== undefined && (m !== undefined || body.has('ops')))
    refuse('A batch with void has neither m nor ops');
  if (settled !== undefined && settled >= (m ?? voided ?? Number.POSITIVE_INFINITY))
    refuse('settled must be less than the number of the mutation');
  return { m, voided, settled };
}

function operationsOf(body: Members, limits: Limits): Operation[] {
  const ops = body.get('ops');
  if (!ops?.startsWith('[')) refuse('ops must be an array');
  const texts = elementsOf(ops);
  if (texts.length > limits.batchOps) refuse(`A batch may have ${limits.batchOps} operations at most`);
  return texts.map((text, i) => parseOperation(text, i, limits));
}

function refuse(message: string): never {
  throw new HttpError(400, message);
}

function parseOperation(text: string, i: number, limits: Limits): Operation {
  if (!text.startsWith('{')) refuse(`Operation ${i} must be an object`);
  const op: Members = membersOf(text);
  const type = stringOf(op, 'op');
  if (type === 'clear') return { type, condition: seqCondition(op) };
  const key = stringOf(op, 'key') ?? refuse(`Operation ${i} has no key`);
  switch (type) {
    case 'get':
    case 'head':
      // No stored key has lone surrogates, but the database would convert them and find another key.
      return key.isWellFormed() ? { type, key } : { type: 'refused', isWrite: false, result: MISSING };
    case 'check': {
      const condition = revCondition(op) ?? refuse(`Operation ${i} has no ifRev`);
      if (key.isWellFormed()) return { type, key, condition };
      return { type: 'refused', isWrite: true, result: checkMissing(condition) };
    }
    case 'delete':
      if (!key.isWellFormed()) return { type: 'refused', isWrite: true, result: MISSING };
      return { type, key, condition: revCondition(op) };
    case 'put': {
      const value = op.get('value') ?? refuse(`Operation ${i} has no value`);
      const condition = revCondition(op);
      const result = checkPut(key, value, limits);
      return result ? { type: 'refused', isWrite: true, result } : { type, key, value, condition };
    }
    default:
      return refuse(`Operation ${i}: op must be one of get, head, put, delete, clear, check`);
  }
}

function checkMissing(condition: Condition): Result {
  return condition(undefined) ? { outcome: 'ok' } : { outcome: 'condition-failed' };
}

/** Why a put is refused; `undefined` if it is not. */
function checkPut(key: string, value: string, { valueBytes }: Limits): Result | undefined {
  const problem = keyProblem(key);
  if (problem !== undefined) return { outcome: 'invalid-key', message: problem };
  if (value.length * 3 <= valueBytes || Buffer.byteLength(value) <= valueBytes) return undefined;
  return { outcome: 'value-too-large', message: `The value is over the limit of ${valueBytes} bytes` };
}

function stringOf(from: Members, name: string): string | undefined {
  const text = from.get(name);
  if (text === undefined) return undefined;
  return text.startsWith('"') ? JSON.parse(text) : refuse(`${name} must be a string`);
}

function numberOf(from: Members, name: string, least = 1): number | undefined {
  const text = from.get(name);
  if (text === undefined) return undefined;
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(number) && number >= least
    ? number
    : refuse(`${name} must be a whole number from ${least}`);
}

function revCondition(op: Members): Condition | undefined {
  if (op.get('ifRev') === 'null') return (rev) => rev === undefined;
  const wanted = stringOf(op, 'ifRev');
  return wanted === undefined ? undefined : (rev) => rev !== undefined && String(rev) === wanted;
}

function seqCondition(op: Members): Condition | undefined {
  const wanted = stringOf(op, 'ifSeq');
  return wanted === undefined ? undefined : (seq) => String(seq) === wanted;
}
