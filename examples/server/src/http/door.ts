/**
 * Who may call. Judged before a route or a body is looked at, so a page that may not write cannot make the server read.
 *
 * A server that only this machine reaches answers only to this machine's names: a page whose own name was made to
 * resolve to loopback (DNS rebinding) is same-origin to the browser, but sends its own name as Host.
 *
 * Spec: docs/contract.md (Who may call), Fetch §3.2 (CORS).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Config } from '../config.ts';
import { isLoopbackAddress, isLoopbackHost } from '../loopback.ts';
import { failure } from './answers.ts';

/** `undefined` lets a request go on to the routes; otherwise this is the answer. */
export type Door = (incoming: IncomingMessage, outgoing: ServerResponse) => Response | undefined;

const READING = ['GET', 'HEAD', 'OPTIONS'];

const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, PUT, POST, DELETE',
  'Access-Control-Allow-Headers': 'Content-Type, If-Match, If-None-Match',
  'Access-Control-Max-Age': '7200',
};

/** It also sets the headers by which a browser lets a page read what the routes answer. */
export function createDoor({ host, allowedOrigins }: Pick<Config, 'host' | 'allowedOrigins'>): Door {
  const checksHost = isLoopbackAddress(host);

  /** Names the caller's origin as allowed, if it is. */
  function admit(origin: string, outgoing: ServerResponse): boolean {
    if (allowedOrigins !== '*' && !allowedOrigins(origin.toLowerCase())) return false;
    outgoing.setHeader('Access-Control-Allow-Origin', allowedOrigins === '*' ? '*' : origin);
    return true;
  }

  return (incoming, outgoing) => {
    // Also where no Origin came: a cache must not give that answer to a page.
    if (allowedOrigins !== '*') outgoing.setHeader('Vary', 'Origin');
    const { method = '', headers } = incoming;
    if (checksHost && !isLoopbackHost(headers.host ?? '')) return failure(403, 'Host not allowed');
    if (headers.origin === undefined) return undefined;

    const admitted = admit(headers.origin, outgoing);
    if (method === 'OPTIONS' && headers['access-control-request-method'] !== undefined)
      return new Response(null, { status: 204, headers: admitted ? PREFLIGHT : {} });
    if (admitted) outgoing.setHeader('Access-Control-Expose-Headers', 'ETag, Retry-After');
    return admitted || READING.includes(method) ? undefined : failure(403, 'Origin not allowed');
  };
}
