/**
 * Parses the body of a batch into operations. Values stay the texts that were sent.
 *
 * Spec: docs/contract.md, 5.3, 5.5, 5.8 to 5.10.
 */
import { elementsOf, MAX_DEPTH, membersOf } from '../../../../../src/backup-format/json-text.ts';
import type { Condition, Operation, Result } from '../../store/store.ts';
import { HttpError } from '../errors.ts';
import { keyProblem } from '../keys.ts';
import { parseMembers } from '../transport/body.ts';
import type { Limits } from '../transport/limits.ts';

/** A batch as the client sent it. */
export interface SentBatch {
  readonly operations: readonly Operation[];
  readonly atomic: boolean;
  readonly client: string | undefined;
  /** The epoch that the client knows. */
  readonly epoch: string | undefined;
}

type Members = ReadonlyMap<string, string>;

const MISSING: Result = { outcome: 'missing' };

const CLIENT = /^[\w-]{16,64}$/;

/** @throws {HttpError} 400 */
export function parseBatch(text: string, limits: Limits): SentBatch {
  // The body, the array and the operation are three more levels than a value may have.
  const body: Members = parseMembers(text, MAX_DEPTH + 3) ?? refuse('A batch must be an object');
  const ops = body.get('ops');
  if (!ops?.startsWith('[')) refuse('ops must be an array');
  const texts = elementsOf(ops);
  if (texts.length > limits.batchOps) refuse(`A batch may have ${limits.batchOps} operations at most`);
  const client = stringOf(body, 'client');
  if (client !== undefined && !CLIENT.test(client))
    refuse('client must be 16 to 64 characters of A-Z a-z 0-9 _ -');
  const atomic = body.get('atomic') ?? 'false';
  if (atomic !== 'true' && atomic !== 'false') refuse('atomic must be true or false');
  const operations = texts.map((text, i) => parseOperation(text, i, limits));
  checkNumbers(operations, client);
  return { operations, atomic: atomic === 'true', client, epoch: stringOf(body, 'epoch') };
}

function refuse(message: string): never {
  throw new HttpError(400, message);
}

function parseOperation(text: string, i: number, limits: Limits): Operation {
  if (!text.startsWith('{')) refuse(`Operation ${i} must be an object`);
  const op: Members = membersOf(text);
  const type = stringOf(op, 'op');
  if (type === 'clear') return { type, n: numberOf(op), condition: seqCondition(op) };
  const key = stringOf(op, 'key') ?? refuse(`Operation ${i} has no key`);
  switch (type) {
    case 'get':
    case 'head':
      // No stored key has lone surrogates, but the database would convert them and find another key.
      return key.isWellFormed() ? { type, key } : { type: 'refused', isWrite: false, result: MISSING };
    case 'delete': {
      const n = numberOf(op);
      if (!key.isWellFormed()) return { type: 'refused', isWrite: true, n, result: MISSING };
      return { type, key, n, condition: revCondition(op) };
    }
    case 'put': {
      const value = op.get('value') ?? refuse(`Operation ${i} has no value`);
      const n = numberOf(op);
      const condition = revCondition(op);
      const result = checkPut(key, value, limits);
      return result ? { type: 'refused', isWrite: true, n, result } : { type, key, value, n, condition };
    }
    default:
      return refuse(`Operation ${i}: op must be one of get, head, put, delete, clear`);
  }
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

function numberOf(op: Members): number | undefined {
  const text = op.get('n');
  if (text === undefined) return undefined;
  const n = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(n) ? n : refuse('n must be a whole number from 1');
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

function checkNumbers(operations: readonly Operation[], client: string | undefined): void {
  const numbers = operations.flatMap(({ n }) => n ?? []);
  if (numbers.length > 0 && client === undefined) refuse('A batch with n must name its client');
  if (numbers.some((n, i) => i > 0 && n !== (numbers[i - 1] ?? 0) + 1)) refuse('n must count up by one');
}
