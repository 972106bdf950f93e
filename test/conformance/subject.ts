/**
 * The server under test, as the checks talk to it: nothing is known of it but its address, its tokens, and what it
 * announces.
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type BatchAnswer, carriedOut, ensure, isObject, json, type Result, status } from './expectations.ts';
import { type Answer, exchange, open, type Sent } from './http.ts';

/** Tokens of one tenant, and one of another. Absent where none was given. */
export interface Tokens {
  readonly admin?: string | undefined;
  readonly read?: string | undefined;
  readonly write?: string | undefined;
  /** Admin of another tenant. */
  readonly other?: string | undefined;
}

/** What `GET /health` answered. */
export interface Health {
  readonly status?: unknown;
  readonly timestamp?: unknown;
  readonly contract?: unknown;
  readonly epoch?: unknown;
  readonly seq?: unknown;
  readonly capabilities?: unknown;
  readonly limits?: unknown;
}

export interface Limits {
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly batchOps: number;
  readonly bodyBytes: number;
  readonly answerBytes: number;
}

/** An operation of a batch, well formed or not. */
export type Operation = Readonly<Record<string, unknown>>;

/** What a request may bring besides: a token other than the admin's, or `null` for none. */
export interface Asked extends Sent {
  readonly token?: string | null | undefined;
}

export const JSON_TYPE = { 'content-type': 'application/json' };

/** Times that a request is sent again to a server that says it is busy. */
const BUSY_RETRIES = 5;

export class Subject {
  readonly base: URL;
  readonly tokens: Tokens;
  /** The answer to the first request of the run. */
  readonly health: Health;
  /** An origin that the server is expected to list. */
  readonly origin: string;
  /** Whether the operator says that anyone may call. */
  readonly anonymous: boolean;

  constructor(options: { base: URL; tokens: Tokens; health: Health; origin: string; anonymous: boolean }) {
    this.base = options.base;
    this.tokens = options.tokens;
    this.health = options.health;
    this.origin = options.origin;
    this.anonymous = options.anonymous;
  }

  /** The level that it announces. */
  get level(): 0 | 1 {
    return typeof this.health.contract === 'number' && this.health.contract >= 1 ? 1 : 0;
  }

  get capabilities(): readonly unknown[] {
    return this.level === 1 && Array.isArray(this.health.capabilities) ? this.health.capabilities : [];
  }

  get limits(): Limits {
    ensure(isObject(this.health.limits), '`limits` of /health must be an object');
    return this.health.limits as unknown as Limits;
  }

  /** Send with the admin's token, unless told. A server that is busy (503 with `Retry-After`) is asked again. */
  async send(
    method: string,
    path: string,
    { token = this.tokens.admin, ...sent }: Asked = {},
  ): Promise<Answer> {
    const withToken = { ...sent, headers: { ...authorization(token), ...sent.headers } };
    let answer = await exchange(this.base, method, path, withToken);
    for (
      let tries = 0;
      answer.status === 503 && answer.headers['retry-after'] && tries < BUSY_RETRIES;
      tries += 1
    ) {
      await delay(Math.min(Number(answer.headers['retry-after']) || 1, 2) * 1000);
      answer = await exchange(this.base, method, path, withToken);
    }
    return answer;
  }

  /** Send, and read nothing of the answer's body yet. */
  open(
    method: string,
    path: string,
    { token = this.tokens.admin, ...sent }: Asked = {},
  ): Promise<{ request: ClientRequest; response: IncomingMessage }> {
    return open(this.base, method, path, { ...sent, headers: { ...authorization(token), ...sent.headers } });
  }

  /** Delete everything. */
  async wipe(token = this.tokens.admin): Promise<void> {
    status(await this.send('POST', '/api/storage/clear', { token }), 200);
  }

  // Level 0.

  get(key: string, asked?: Asked): Promise<Answer> {
    return this.send('GET', pathOf(key), asked);
  }

  /** Store the JSON text `value`. */
  put(key: string, value: string, { headers, ...asked }: Asked = {}): Promise<Answer> {
    const body = `{"value":${value}}`;
    return this.send('PUT', pathOf(key), { body, ...asked, headers: { ...JSON_TYPE, ...headers } });
  }

  delete(key: string, asked?: Asked): Promise<Answer> {
    return this.send('DELETE', pathOf(key), asked);
  }

  /** Import the JSON text of an object at level 0. */
  importObject(body: string, asked?: Asked): Promise<Answer> {
    return this.send('POST', '/api/storage/import', { body, headers: JSON_TYPE, ...asked });
  }

  async keys(): Promise<unknown> {
    return json<{ keys?: unknown }>(await this.send('GET', '/api/storage/keys'), 200).keys;
  }

  // Level 1.

  /** Post the text of a batch. */
  postBatch(body: string, { headers, ...asked }: Asked = {}): Promise<Answer> {
    return this.send('POST', '/api/v1/batch', { body, ...asked, headers: { ...JSON_TYPE, ...headers } });
  }

  /** Run a batch that must be answered with 200 and a result an operation. */
  async batch(ops: readonly Operation[], members: Operation = {}, asked?: Asked): Promise<BatchAnswer> {
    const answer = await this.postBatch(JSON.stringify({ ...members, ops }), asked);
    const body = carriedOut(answer);
    ensure(
      body.results.length === ops.length,
      `a batch of ${ops.length} operations must answer as many results, not ${answer.text.slice(0, 200)}`,
    );
    return body;
  }

  /** Run a batch of one operation. */
  async run(op: Operation, members?: Operation, asked?: Asked): Promise<Result> {
    const { results } = await this.batch([op], members, asked);
    return results[0] as Result;
  }

  /** Store the keys as a batch. Returns their revisions. */
  async putAll(entries: Readonly<Record<string, unknown>>): Promise<string[]> {
    const ops = Object.entries(entries).map(([key, value]) => ({ op: 'put', key, value }));
    const { results } = await this.batch(ops);
    return results.map(({ status: got, rev = '' }) => {
      ensure(got === 200, `an unconditional put must answer 200, not ${got}`);
      return rev;
    });
  }

  /** Epoch and sequence number now. */
  async position(token?: string): Promise<{ epoch: string; seq: number }> {
    return json(await this.send('GET', '/health', { token }), 200);
  }

  /** The cursor of now. */
  async cursor(token?: string): Promise<string> {
    const { epoch, seq } = await this.position(token);
    return `${epoch}.${seq}`;
  }
}

/** Where level 0 has a key. */
export function pathOf(key: string): string {
  return `/api/storage/${encodeURIComponent(key).replaceAll('.', '%2E')}`;
}

export function authorization(token: string | null | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}
