/**
 * Who may call. Judged before a route or a body is looked at, so a page that may not write cannot make the server read.
 *
 * A server that only this machine reaches, and that asks for no token, answers only to this machine's names: a page whose
 * own name was made to resolve to loopback (DNS rebinding) is same-origin to the browser, but sends its own name as Host.
 *
 * Spec: docs/contract.md (Who may call), Fetch §3.2 (CORS), RFC 6750.
 */
import type { IncomingMessage } from 'node:http';
import type { Config } from '../../config.ts';
import { type Answer, COMMON, empty, type Fields, failure } from '../answers.ts';
import { pathOf } from '../keys.ts';
import { isLoopbackAddress, isLoopbackHost } from './loopback.ts';
import { ANONYMOUS, type Caller, callerOf } from './tokens.ts';

/** Who calls (nobody in particular, at a route that is everybody's), or the answer that needs no route. */
type Judgement = { readonly caller: Caller | undefined } | { readonly answer: Answer };

/** Beside the judgement, the fields of whatever is answered; by them a browser lets a page read it. */
export type Door = (incoming: IncomingMessage) => Judgement & { readonly headers: Fields };

const READING = ['GET', 'HEAD', 'OPTIONS'];

const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, PUT, POST, DELETE',
  'Access-Control-Allow-Headers': 'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID',
  'Access-Control-Max-Age': '7200',
};

const EXPOSED = { 'Access-Control-Expose-Headers': 'ETag, Retry-After, WWW-Authenticate' };

/** The route that needs no token. */
const PUBLIC = '/health';

export function createDoor({
  host,
  allowedOrigins,
  tokens,
}: Pick<Config, 'host' | 'allowedOrigins' | 'tokens'>): Door {
  const checksHost = isLoopbackAddress(host) && tokens.length === 0;

  // Also where no Origin came: a cache must not give that answer to a page.
  const common: Fields = allowedOrigins === '*' ? COMMON : { ...COMMON, Vary: 'Origin' };

  const isAdmitted = (origin: string): boolean =>
    allowedOrigins === '*' || allowedOrigins(origin.toLowerCase());

  function identify({ url = '', headers }: IncomingMessage): Judgement {
    if (tokens.length === 0) return { caller: ANONYMOUS };
    const token = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '')?.[1];
    const caller = token === undefined ? undefined : callerOf(token, tokens);
    if (caller || pathOf(url) === PUBLIC) return { caller };
    return headers.authorization === undefined
      ? { answer: unauthorized('A token is needed', 'Bearer') }
      : { answer: unauthorized('The token is unknown', 'Bearer error="invalid_token"') };
  }

  return (incoming) => {
    const { method = '', headers } = incoming;
    const { origin, host = '' } = headers;
    if (checksHost && !isLoopbackHost(host))
      return { answer: failure(403, 'Host not allowed'), headers: common };
    if (origin === undefined) return { ...identify(incoming), headers: common };

    const isPreflight = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
    if (!isAdmitted(origin)) {
      if (isPreflight) return { answer: empty(204, {}), headers: common };
      if (READING.includes(method)) return { ...identify(incoming), headers: common };
      return { answer: failure(403, 'Origin not allowed'), headers: common };
    }
    const named = { ...common, 'Access-Control-Allow-Origin': allowedOrigins === '*' ? '*' : origin };
    if (isPreflight) return { answer: empty(204, PREFLIGHT), headers: named };
    return { ...identify(incoming), headers: { ...named, ...EXPOSED } };
  };
}

function unauthorized(message: string, challenge: string): Answer {
  return failure(401, message, { headers: { 'WWW-Authenticate': challenge } });
}
