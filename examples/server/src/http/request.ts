/** Requests, and what a route is. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AuditEvent } from '../audit.ts';
import type { Caller, Scope } from './access/tokens.ts';
import type { Answer } from './answers.ts';
import type { RequestLoad } from './transport/load.ts';

/** A request, as the transport hands it to the app. */
export interface IncomingRequest {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** `undefined` only in a public route. */
  readonly caller: Caller | undefined;
  /** What the request uses of the limits. */
  readonly load: RequestLoad;
  /** Names the request in logs. */
  readonly id: string;
  /** Has the request written to the audit log when its answer is sent. */
  readonly audit: (event: AuditEvent) => void;
}

/** A request, as a route sees it. */
export interface RequestContext extends IncomingRequest {
  /** The text of the body, if the route has `readsJson`. */
  readonly text: string;
}

/** Finds the route of a request and runs it. Rejects like a `Handler`. */
export type App = (request: IncomingRequest) => Promise<Answer>;

/** Answers a request, or rejects: with an `HttpError` when the caller may read the reason. */
export type Handler = (request: RequestContext) => Promise<Answer>;

/** One method of one address. */
export interface Route {
  readonly handle: Handler;
  /** The scope that the caller needs. Without it the route is public, or checks the scope itself. */
  readonly scope?: Scope;
  /** Whether the whole body is read before the route: JSON within `limits.bodyBytes`. Otherwise the route reads it itself. */
  readonly readsJson?: boolean;
  /** Whether the route is also served when too many requests are worked on. */
  readonly isAlwaysServed?: boolean;
  /** Whether large answers may be compressed. Only for answers without an `ETag`. */
  readonly compress?: boolean;
}

/** The tenant whose data a request reads and writes. */
export function tenantOf({ caller }: RequestContext): string {
  if (caller === undefined) throw new Error('A public route has no tenant.');
  return caller.tenant;
}
