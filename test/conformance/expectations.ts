/** What a check demands of an answer; what it got instead fits in a line. */
import { AssertionError } from 'node:assert/strict';
import { inspect, isDeepStrictEqual } from 'node:util';
import type { Answer } from './http.ts';

/** The members of an error body, of a batch's failed result too. */
export interface ErrorBody {
  readonly error?: unknown;
  readonly type?: unknown;
  readonly title?: unknown;
  readonly status?: unknown;
  readonly detail?: unknown;
}

/** The result of an operation of a batch. */
export interface Result {
  readonly status: number;
  readonly rev?: string;
  readonly value?: unknown;
  readonly size?: number;
  readonly error?: string;
  readonly type?: string;
}

export interface BatchAnswer {
  readonly epoch: string;
  readonly seq: number;
  readonly results: Result[];
  readonly account?: string;
  readonly top?: number;
  readonly void?: boolean;
}

/** What a caller could learn of the inside of a server. */
const INSIDE = /Traceback|Exception|\bat \/|\.(?:ts|js|py)\b|sqlite/i;

/** Fail with a sentence. */
function fail(message: string): never {
  throw new AssertionError({ message });
}

/** `what` must hold. */
export function ensure(holds: unknown, what: string): asserts holds {
  if (!holds) fail(what);
}

/** `actual` must be `expected`, deeply. */
export function same(actual: unknown, expected: unknown, what: string): void {
  if (!isDeepStrictEqual(actual, expected))
    fail(`${what}: expected ${shown(expected)}, got ${shown(actual)}`);
}

/** The answer must have this status, or one of these. */
export function status(answer: Answer, ...expected: readonly number[]): Answer {
  if (!expected.includes(answer.status)) {
    const text = answer.text.length > 200 ? `${answer.text.slice(0, 200)}…` : answer.text;
    fail(`${answer.asked} must answer ${expected.join(' or ')}, but answered ${answer.status} ${text}`);
  }
  return answer;
}

/** The answer must be JSON with this status. Returns its body, of which the caller checks what it needs. */
export function json<Body>(answer: Answer, ...expected: readonly number[]): Body {
  status(answer, ...expected);
  ensure(answer.json !== undefined, `${answer.asked} must answer JSON, not ${shown(answer.text)}`);
  return answer.json as Body;
}

/** The answer must be the one to a batch that was carried out. */
export function carriedOut(answer: Answer): BatchAnswer {
  const body = json<BatchAnswer>(answer, 200);
  ensure(Array.isArray(body.results), `a batch must answer \`results\`, not ${answer.text.slice(0, 200)}`);
  return body;
}

/** The answer must be an error for a program to read, with this status, that shows nothing of the inside. */
export function refused(answer: Answer, expected: number | readonly number[], type?: string): ErrorBody {
  const body = json<ErrorBody>(answer, ...[expected].flat());
  ensure(
    isObject(body) && typeof body.error === 'string' && body.error !== '',
    `${answer.asked} must answer ${answer.status} with an \`error\` that says why, not ${shown(answer.json)}`,
  );
  ensure(!INSIDE.test(answer.text), `${answer.asked} shows something of the inside: ${shown(answer.text)}`);
  if (type !== undefined) same(body.type, urn(type), `\`type\` of ${answer.status} to ${answer.asked}`);
  return body;
}

/** The `type` of an error that a clause names. */
export function urn(name: string): string {
  return `urn:codeforge-storage:${name}`;
}

/** What is in `wanted` and not in `got`. */
export function missing<Item>(wanted: Iterable<Item>, got: Iterable<Item>): Item[] {
  const there = new Set(got);
  return [...wanted].filter((item) => !there.has(item));
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value in a message: short, on one line. */
function shown(value: unknown): string {
  const text = inspect(value, {
    breakLength: Number.POSITIVE_INFINITY,
    depth: 6,
    maxArrayLength: 20,
    maxStringLength: 200,
  });
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}
