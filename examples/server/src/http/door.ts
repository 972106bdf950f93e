/**
 * Who may call. Judged before a route or a body is looked at, so a page that may not write cannot make the server read.
 *
 * A server that only this machine reaches, and that asks for no token, answers only to this machine's names: a page whose
 * own name was made to resolve to loopback (DNS rebinding) is same-origin to the browser, but sends its own name as Host.
 *
 * Spec: docs/contract.md (Who may call), Fetch §3.2 (CORS), RFC 6750.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Config } from '../config.ts';
import { isLoopbackAddress, isLoopbackHost } from '../loopback.ts';
import { failure } from './answers.ts';
import { pathOf } from './keys.ts';
import { ANONYMOUS, type Caller, callerOf } from './tokens.ts';

/** Who calls (nobody in particular, at a route that is everybody's), or the answer that needs no route. */
export type Door = (
  incoming: IncomingMessage,
  outgoing: ServerResponse,
) => { readonly caller: Caller | undefined } | { readonly answer: Response };

const READING = ['GET', 'HEAD', 'OPTIONS'];

const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, PUT, POST, DELETE',
  'Access-Control-Allow-Headers': 'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID',
  'Access-Control-Max-Age': '7200',
};

/** The route that needs no token. */
const PUBLIC = '/health';

/** It also sets the headers by which a browser lets a page read what the routes answer. */
export function createDoor({
  host,
  allowedOrigins,
  tokens,
}: Pick<Config, 'host' | 'allowedOrigins' | 'tokens'>): Door {
  const checksHost = isLoopbackAddress(host) && tokens.length === 0;

  /** Names the caller's origin as allowed, if it is. */
  function admit(origin: string, outgoing: ServerResponse): boolean {
    if (allowedOrigins !== '*' && !allowedOrigins(origin.toLowerCase())) return false;
    outgoing.setHeader('Access-Control-Allow-Origin', allowedOrigins === '*' ? '*' : origin);
    return true;
  }

  function identify({ url = '', headers }: IncomingMessage): ReturnType<Door> {
    if (tokens.length === 0) return { caller: ANONYMOUS };
    const token = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '')?.[1];
    const caller = token === undefined ? undefined : callerOf(token, tokens);
    if (caller || pathOf(url) === PUBLIC) return { caller };
    return headers.authorization === undefined
      ? { answer: unauthorized('A token is needed', 'Bearer') }
      : { answer: unauthorized('The token is unknown', 'Bearer error="invalid_token"') };
  }

  return (incoming, outgoing) => {
    // Also where no Origin came: a cache must not give that answer to a page.
    if (allowedOrigins !== '*') outgoing.setHeader('Vary', 'Origin');
    const { method = '', headers } = incoming;
    if (checksHost && !isLoopbackHost(headers.host ?? ''))
      return { answer: failure(403, 'Host not allowed') };
    if (headers.origin === undefined) return identify(incoming);

    const admitted = admit(headers.origin, outgoing);
    if (method === 'OPTIONS' && headers['access-control-request-method'] !== undefined)
      return { answer: new Response(null, { status: 204, headers: admitted ? PREFLIGHT : {} }) };
    if (admitted) outgoing.setHeader('Access-Control-Expose-Headers', 'ETag, Retry-After, WWW-Authenticate');
    if (admitted || READING.includes(method)) return identify(incoming);
    return { answer: failure(403, 'Origin not allowed') };
  };
}

function unauthorized(message: string, challenge: string): Response {
  return failure(401, message, { headers: { 'WWW-Authenticate': challenge } });
}
