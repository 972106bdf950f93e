/**
 * The level-1 protocol: its endpoints, and when a request is sent again (docs/contract.md, sections 5, 6 and 12.4).
 *
 * Every answer is checked for the shape that the contract defines, result by result. Any other answer is a lost one. A lost answer is
 * not a failure: the same request is sent again, as the same mutation, until it has an answer or its time has passed.
 */
import type { SentAs } from '../../core/backend.ts';
import type { StorageError } from '../../core/errors.ts';
import { isObject, type JsonObject } from '../../core/json.ts';
import { remainingMs } from '../../core/time.ts';
import { otherAccountError } from '../errors.ts';
import type { Exchange, Failure, HttpRequest, Repeats, Streaming } from '../http.ts';

/** One operation in a request. */
export type WireOp =
  | { readonly op: 'get' | 'head'; readonly key: string }
  | { readonly op: 'put'; readonly key: string; readonly text: string; readonly ifRevision?: Revision }
  | { readonly op: 'delete'; readonly key: string; readonly ifRevision?: Revision }
  | { readonly op: 'check'; readonly key: string; readonly ifRevision: Revision }
  | { readonly op: 'clear'; readonly ifSeq?: number };

type Revision = string | null | undefined;

/** The server's result of one operation. */
export interface Result {
  readonly status: number;
  /** The name of its error (9.2). */
  readonly problem: string | undefined;
  readonly error: string;
  /** `<epoch>.<rev>`, if the answer names one. */
  readonly revision: string | undefined;
  /** The parsed value, if the answer holds one. */
  readonly value?: { readonly json: unknown };
  /** Why the value could not be read that the answer had left out. */
  readonly unread?: StorageError | undefined;
}

/** The server's result of one operation, or why there is none. */
export type Delivered = Result | Undelivered;

/** An operation without a result. */
export interface Undelivered {
  readonly status?: undefined;
  readonly error: StorageError;
  /** Of a write that the server may have applied, or may still apply. */
  readonly inDoubt?: SentAs | undefined;
}

/** The answer to a batch. */
export interface BatchAnswer {
  /** As many as operations. */
  readonly results: readonly Result[];
  readonly epoch: string;
  /** The tenant's sequence number after the batch. */
  readonly seq: number;
  /** The highest number of this client that the server had seen before; 0 without a client. */
  readonly top: number;
  /** Names the account that the token is for; `undefined` if the server does not say. */
  readonly account: string | undefined;
}

/** The name of one request with writes: the server applies it once (5.10). */
export interface Mutation {
  /** Random: see {@link newClient}. */
  readonly client: string;
  /** Counts the mutations of the client from 1 on. */
  readonly m: number;
}

/** What became of a mutation that was given up (5.13). */
export interface Voided {
  /** Without the mutation's results it was not applied, and never will be. */
  readonly results: readonly Result[] | undefined;
  readonly epoch: string;
  readonly seq: number;
}

/** Is told what the server answers, before the calls that asked for it are settled. */
export interface Observer {
  /** Whether it asks later what became of a mutation in doubt. Until then nothing may settle its number. */
  readonly asksLater: boolean;
  /** A batch is about to be sent. The returned number comes back with its answer. */
  asking(): number;
  /** A batch and its answer. */
  answered(
    ops: readonly WireOp[],
    answer: BatchAnswer,
    asked: number,
    mutation: Mutation | undefined,
  ): Promise<void>;
}

/** The members of a batch besides its operations. */
export interface BatchHead {
  readonly epoch?: string | undefined;
  /** Of a batch with writes. `settled`: the client never asks for this number and lower ones again. */
  readonly mutation?: (Mutation & { readonly settled?: number }) | undefined;
  /** All writes of the batch apply, or none. */
  readonly atomic?: boolean | undefined;
  /** Of a batch without writes: the client whose `top` is asked for. */
  readonly client?: string | undefined;
  /** Whether the batch is for the data of any account. It is otherwise for the data of the account that is known. */
  readonly isForAnyAccount?: true;
  /** How often it is sent at most while there is no answer. Default: as often as its time limit allows. */
  readonly attempts?: number | undefined;
}

/** The limits that a server announced. */
export interface Limits {
  readonly valueBytes: number;
  readonly batchOps: number;
  readonly bodyBytes: number;
}

/** What a request came to, after all attempts. */
export type Settled<T> = { readonly answer: T; readonly error?: undefined } | Unanswered;

/** A request without the answer that was asked for. */
export interface Unanswered {
  readonly answer?: undefined;
  readonly error: StorageError;
  /** The status of a refusal that the server itself gave; `undefined` where the answer was lost. */
  readonly refused: number | undefined;
  /** The `type` of a refusal (9.2). */
  readonly type: unknown;
  /** Whether the server may have carried it out, or may still do so. */
  readonly isInDoubt: boolean;
  /** Whether the last attempt had a status: somebody answers there. */
  readonly isHeard: boolean;
  /** Milliseconds that the last answer asks to wait (`Retry-After`). */
  readonly retryAfterMs: number;
}

/**
 * The requests of level 1. Each settles within the time limit.
 *
 * They are for the data of one account (docs/contract.md, 9.16): the first answer names it. A request with the token of another
 * account rejects with {@link OtherAccountError}, and nothing is read or written.
 */
export interface Level1 {
  readonly limits: Limits;
  /** Whether there is a change feed. */
  readonly tellsChanges: boolean;
  /** Whether it is also an event stream. */
  readonly streamsChanges: boolean;
  /** The epoch of the data, as the last answer named it. */
  readonly epoch: () => string | undefined;
  /** The account, once an answer has named it. */
  readonly account: () => string | undefined;
  /**
   * Asks whose the current token is, if it is not the one of the last answer.
   *
   * @throws {OtherAccountError} if it is for another account.
   * @throws {StorageError} if that is not known: there is no token, or the server does not answer.
   */
  verify(limitMs: number): Promise<void>;
  /** @param limitMs Milliseconds for all attempts. Default: the time limit of the storage. */
  batch(head: BatchHead, ops: readonly WireOp[], limitMs?: number): Promise<Settled<BatchAnswer>>;
  /** Gives up a mutation, or learns what became of it. 409: it was settled before. */
  voidMutation(mutation: Mutation, limitMs?: number): Promise<Settled<Voided>>;
  /** GET of a path of this level. `check` returns what the answer holds, or `undefined` if it is not a whole one. */
  read<T>(path: string, check: (json: JsonObject) => T | undefined, limitMs?: number): Promise<Settled<T>>;
  /** The same for an answer that is read as it comes. It is sent once. */
  stream<T>(path: string, streaming: Streaming<T>, limitMs: number): Promise<Settled<T>>;
}

const API = 'api/v1/';
/** Milliseconds for giving a mutation up: a call may have waited for an answer to it before. */
const GIVE_UP_MS = 2000;
/** A revision that no key has: `seq` counts from 1. */
export const NEVER = '0';

/** What a level-1 protocol is over. */
export interface Level1Options {
  readonly exchange: Exchange;
  /** The epoch, if `/health` named it. */
  readonly epoch: string | undefined;
  readonly limits: Limits;
  readonly tellsChanges: boolean;
  readonly streamsChanges: boolean;
  /** Returns the token, if it is a function, so that it may come to be the token of another account. */
  readonly askToken?: (() => Promise<string>) | undefined;
  /** Whose data this is for. Default: that of the account that the first answer names. */
  readonly known?: KnownAccount | undefined;
}

/** Whose data a server has shown. Servers without tokens, and older ones, name no account. */
export interface KnownAccount {
  readonly account: string | undefined;
}

/** Level 1 over `exchange`. */
export function createLevel1({
  exchange,
  epoch: first,
  limits,
  tellsChanges,
  streamsChanges,
  askToken,
  known: given,
}: Level1Options): Level1 {
  let epoch = first;
  let known = given;
  /** The token that was last seen to be for that account. */
  let verified: string | undefined;

  /** A check that also stores the epoch. */
  const withEpoch =
    <T>(check: (json: JsonObject, epoch: string) => T | undefined) =>
    (json: JsonObject): T | undefined => {
      if (typeof json.epoch !== 'string' || json.epoch === '') return undefined;
      const checked = check(json, json.epoch);
      if (checked !== undefined) epoch = json.epoch;
      return checked;
    };

  /** The request of a batch. */
  const batchOf = (head: BatchHead, ops: readonly WireOp[]): HttpRequest<BatchAnswer> => ({
    method: 'POST',
    path: `${API}batch`,
    body: bodyOf(head, ops, head.isForAnyAccount ? undefined : known?.account),
    answerOf(json, token) {
      const account = typeof json.account === 'string' && json.account !== '' ? json.account : undefined;
      const isOther = known?.account !== undefined && account !== undefined && account !== known.account;
      if (isOther && !head.isForAnyAccount) return undefined;
      const answer = withEpoch(({ results: list, seq, top = 0 }, epoch) => {
        const results = resultsOf(list, ops, epoch);
        return results && isCount(seq) && isCount(top) ? { results, epoch, seq, top, account } : undefined;
      })(json);
      if (answer && !isOther) {
        if (known?.account === undefined) known = { account };
        verified = token;
      }
      return answer;
    },
  });

  /**
   * Asks whose a token is, unless that is known: a request without a body cannot name the account that it is for.
   *
   * @returns Why it may not be used.
   */
  async function checkToken(token: string, timeoutMs: number): Promise<Failure | undefined> {
    if (token === verified || (known && known.account === undefined)) return undefined;
    const reply = await exchange({ ...batchOf({}, []), token, timeoutMs });
    return reply.ok ? undefined : reply;
  }

  return {
    limits,
    tellsChanges,
    streamsChanges,
    epoch: () => epoch,
    account: () => known?.account,
    async verify(limitMs) {
      const failure = askToken && (await checkToken(await askToken(), limitMs));
      if (failure) throw errorOf(failure);
    },
    async batch(head, ops, limitMs) {
      const deadline = limitMs === undefined ? undefined : performance.now() + limitMs;
      const left = () => (deadline === undefined ? {} : { timeoutMs: remainingMs(deadline) });
      const isNamed = known !== undefined || !askToken;
      // Sent again with the token of another account, an unnamed mutation would apply to the data of both.
      if (!isNamed && ops.some(isWrite)) {
        const sent = await ask(exchange, { ...batchOf({}, []), ...left() });
        if (!sent.answer) return { ...sent, isInDoubt: false };
      }
      return ask(exchange, { ...batchOf(head, ops), ...left() }, head.attempts);
    },
    voidMutation({ client, m }, limitMs = GIVE_UP_MS) {
      return ask(exchange, {
        method: 'POST',
        path: `${API}batch`,
        body: JSON.stringify({ account: known?.account, client, void: m }),
        timeoutMs: Math.min(limitMs, GIVE_UP_MS),
        answerOf: withEpoch(({ results: list, seq, void: isVoid }, epoch) => {
          if (!isCount(seq) || !Array.isArray(list)) return undefined;
          const stored = list.map((result) => storedResultOf(result, epoch));
          const results = stored.every((result) => result !== undefined) ? stored : undefined;
          return isVoid === true || results
            ? { results: isVoid ? undefined : results, epoch, seq }
            : undefined;
        }),
      });
    },
    read: (path, check, limitMs) =>
      ask(exchange, {
        method: 'GET',
        path: API + path,
        ...(askToken && { checkToken }),
        ...(limitMs !== undefined && { timeoutMs: limitMs }),
        answerOf: withEpoch(check),
      }),
    stream: <T>(path: string, stream: Streaming<T>, timeoutMs: number) =>
      ask<T>(
        exchange,
        {
          method: 'GET',
          path: API + path,
          ...(askToken && { checkToken }),
          timeoutMs,
          stream,
          // JSON is not what was asked for.
          answerOf: () => undefined,
        },
        1,
      ),
  };
}

/** The statuses of a proxy, or of a server that has no time. They say nothing about the request. */
const LOST: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** After so many attempts in a row without any answer there is no server. They take about 1.5 s. */
const SILENT = 6;
/** However long the time limit is. */
const MOST_ATTEMPTS = 1000;
const PAUSES: Repeats['pauses'] = { firstMs: 50, longestMs: 1000, jitter: 'equal' };

/** Sends a request until it has an answer, or was sent `attempts` times. */
async function ask<T>(
  exchange: Exchange,
  request: HttpRequest<T>,
  attempts = MOST_ATTEMPTS,
): Promise<Settled<T>> {
  let isInDoubt = false;
  let silent = 0;
  let lost: StorageError | undefined;
  const after = (failure: Failure): boolean => {
    if (isDefinite(failure)) return false;
    isInDoubt ||= failure.isSent;
    lost = failure.error;
    silent = lost.code === 'unavailable' && lost.cause !== undefined ? silent + 1 : 0;
    return silent < SILENT;
  };
  const reply = await exchange({ ...request, repeats: { limit: attempts - 1, pauses: PAUSES, after } });
  if (reply.ok) return { answer: reply.answer };
  const { error, status, json, isSent, retryAfterMs } = reply;
  const heard = { isHeard: status !== undefined, retryAfterMs };
  if (isDefinite(reply))
    return { ...heard, error: errorOf(reply), refused: status, type: json?.type, isInDoubt };
  return {
    ...heard,
    // That the last attempt ran out of time says less than what came before it.
    error: error.code === 'timeout' ? (lost ?? error) : error,
    refused: undefined,
    type: undefined,
    isInDoubt: isInDoubt || isSent,
  };
}

const errorOf = ({ error, json }: Failure): StorageError =>
  nameOf(json?.type) === 'other-account' ? otherAccountError() : error;

/** Whether a failure says that the server has understood the request and carried out nothing of it. */
function isDefinite({ error, status, json, isSent }: Failure): boolean {
  if (status === undefined) return !isSent && error.code !== 'unavailable';
  // A proxy says these without JSON: too large, and a redirect, whose status a browser shows as 0.
  if (status === 413 || status < 400) return true;
  return (
    typeof json?.error === 'string' &&
    ((status >= 400 && status < 500) || status === 507) &&
    !LOST.has(status)
  );
}

/** Whether giving a mutation up has failed because it was settled before: it can no longer apply. */
export const isSettled = ({ refused, type }: Unanswered): boolean =>
  refused === 409 && nameOf(type) !== 'other-account';

function bodyOf(
  { epoch, atomic, mutation, client = mutation?.client }: BatchHead,
  ops: readonly WireOp[],
  account: string | undefined,
): string {
  const head = JSON.stringify({ account, epoch, client, m: mutation?.m, settled: mutation?.settled, atomic });
  const texts = ops.map((op) => `{${opText(op, epoch)}}`);
  return `${head.slice(0, -1)}${head === '{}' ? '' : ','}"ops":[${texts.join()}]}`;
}

/** Whether the server stores the result of an operation with its mutation. */
export const isWrite = ({ op }: WireOp): boolean => op !== 'get' && op !== 'head';

function opText(op: WireOp, epoch: string | undefined): string {
  if (op.op === 'clear') return `"op":"clear"${op.ifSeq === undefined ? '' : `,"ifSeq":"${op.ifSeq}"`}`;
  const text = `"op":"${op.op}","key":${JSON.stringify(op.key)}`;
  const value = op.op === 'put' ? `,"value":${op.text}` : '';
  const ifRevision = 'ifRevision' in op ? op.ifRevision : undefined;
  const condition = ifRevision === undefined ? '' : `,"ifRev":${JSON.stringify(revOf(ifRevision, epoch))}`;
  return text + value + condition;
}

/** The most bytes of an operation in a body, without its value and key. */
export const OP_BYTES = 96;

const REVISION = /^(.+)\.([1-9]\d*)$/s;

/** The `ifRev` of a revision. A revision of another epoch, or not of a server, is never current (12.7). */
function revOf(revision: string | null, epoch: string | undefined): string | null {
  if (revision === null) return null;
  const [, of, rev] = REVISION.exec(revision) ?? [];
  return of !== undefined && of === epoch && rev !== undefined ? rev : NEVER;
}

/** The epoch of a revision, or `undefined` if it is not a server's. */
export const epochOf = (revision: string): string | undefined => {
  const epoch = REVISION.exec(revision)?.[1];
  return epoch !== undefined && /^[\w-]{1,64}$/.test(epoch) ? epoch : undefined;
};

function resultsOf(results: unknown, ops: readonly WireOp[], epoch: string): Result[] | undefined {
  if (!Array.isArray(results) || results.length !== ops.length) return undefined;
  const checked = results.map((result, i) => resultOf(result, ops[i] as WireOp, epoch));
  return checked.every((result) => result !== undefined) ? checked : undefined;
}

function resultOf(json: unknown, { op }: WireOp, epoch: string): Result | undefined {
  const result = storedResultOf(json, epoch);
  if (!result) return undefined;
  const { size, error } = json as JsonObject;
  const { status, revision, value } = result;
  const isFailure = status >= 400 && status <= 599 && typeof error === 'string';
  const isWhole =
    (revision !== undefined || op === 'check') && (op !== 'get' || value) && (op !== 'head' || isCount(size));
  return (status === 200 ? isWhole : isFailure) ? result : undefined;
}

/** A result of any operation. */
function storedResultOf(json: unknown, epoch: string): Result | undefined {
  if (!isObject(json)) return undefined;
  const { status, rev, error, type } = json;
  const isNamed = typeof rev === 'string' && /^\d+$/.test(rev);
  if (!Number.isInteger(status) || (rev !== undefined && !isNamed)) return undefined;
  return {
    status: status as number,
    problem: nameOf(type),
    error: typeof error === 'string' ? error : '',
    revision: isNamed ? `${epoch}.${rev}` : undefined,
    ...(Object.hasOwn(json, 'value') && { value: { json: json.value } }),
  };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** `urn:codeforge-storage:epoch-changed` → `epoch-changed`. */
export const nameOf = (type: unknown): string | undefined =>
  typeof type === 'string' ? /^urn:codeforge-storage:(.+)$/.exec(type)?.[1] : undefined;

/** 128 random bits. `randomUUID` is missing on plain-http pages. */
export const newClient = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join(
    '',
  );

/** The sequence number in a revision, `<epoch>.<rev>`; 0 without one. */
export const seqOf = (revision: string | undefined): number =>
  Number(revision?.slice(revision.lastIndexOf('.') + 1) ?? 0);
