/**
 * The checks before a route: host, origin and token. They run before a body is read, so a page that may not write cannot
 * make the server read one.
 *
 * A server on loopback without tokens answers only requests for a loopback Host. A page whose own name was made to
 * resolve to loopback (DNS rebinding) is same-origin to the browser, but sends its own name as Host.
 *
 * Spec: docs/contract.md, 9.10 to 9.15; Fetch §3.2 (CORS); RFC 6750.
 */
import type { IncomingMessage } from 'node:http';
import type { Config } from '../../config.ts';
import { type Answer, COMMON_FIELDS, empty, type Fields } from '../answers.ts';
import { failure } from '../errors.ts';
import { hostOf, pathOf } from '../transport/target.ts';
import type { Callers } from './callers.ts';
import { isLoopbackAddress, isLoopbackHost } from './loopback.ts';
import { ANONYMOUS, type Caller } from './tokens.ts';

/** The caller (`undefined` in a public route without a token), or an answer that needs no route. */
type Decision = { readonly caller: Caller | undefined } | { readonly answer: Answer };

/** Decides about a request, and returns the header fields of whatever is answered: browsers need them (CORS). */
export type AccessCheck = (incoming: IncomingMessage) => Decision & { readonly headers: Fields };

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, PUT, POST, DELETE',
  'Access-Control-Allow-Headers': 'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID',
  'Access-Control-Max-Age': '7200',
};

const EXPOSED = { 'Access-Control-Expose-Headers': 'ETag, Retry-After, WWW-Authenticate' };

/** The paths that need no token. */
const PUBLIC_PATHS = ['/health', '/live', '/ready'];

export function createAccessCheck(
  { host, allowedOrigins }: Pick<Config, 'host' | 'allowedOrigins'>,
  callers: Callers,
): AccessCheck {
  const checksHost = isLoopbackAddress(host) && !callers.needTokens;

  // Also on answers to requests without Origin: a cache must not give such an answer to a page.
  const common: Fields = allowedOrigins === '*' ? COMMON_FIELDS : { ...COMMON_FIELDS, Vary: 'Origin' };

  const isAllowed = (origin: string): boolean =>
    allowedOrigins === '*' || allowedOrigins(origin.toLowerCase());

  function authenticate({ url = '', headers }: IncomingMessage): Decision {
    if (!callers.needTokens) return { caller: ANONYMOUS };
    const token = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '')?.[1];
    const found = token === undefined ? undefined : callers.recognize(token);
    if (found && 'caller' in found) return found;
    if (PUBLIC_PATHS.includes(pathOf(url))) return { caller: undefined };
    if (headers.authorization === undefined) return { answer: unauthorized('A token is needed', 'Bearer') };
    const reason = found?.refused === 'expired' ? 'The token has expired' : 'The token is unknown';
    return { answer: unauthorized(reason, 'Bearer error="invalid_token"') };
  }

  return (incoming) => {
    const { method = '', headers } = incoming;
    const { origin } = headers;
    if (checksHost && !isLoopbackHost(hostOf(incoming)))
      return { answer: failure(403, 'Host not allowed'), headers: common };
    if (origin === undefined) return { ...authenticate(incoming), headers: common };

    const isPreflight = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
    if (!isAllowed(origin)) {
      if (isPreflight) return { answer: empty(204, {}), headers: common };
      if (SAFE_METHODS.includes(method)) return { ...authenticate(incoming), headers: common };
      return { answer: failure(403, 'Origin not allowed'), headers: common };
    }
    const cors = { ...common, 'Access-Control-Allow-Origin': allowedOrigins === '*' ? '*' : origin };
    if (isPreflight) return { answer: empty(204, PREFLIGHT), headers: cors };
    return { ...authenticate(incoming), headers: { ...cors, ...EXPOSED } };
  };
}

function unauthorized(message: string, challenge: string): Answer {
  return failure(401, message, { headers: { 'WWW-Authenticate': challenge } });
}
