/** A request as a route sees it, and what a route is. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller, Scope } from './access/tokens.ts';
import type { Answer } from './answers.ts';
import type { LoadSlot } from './transport/load.ts';

/** A request, its caller, and its slot among the requests at work. */
export interface RequestContext {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** `undefined` only in a public route. */
  readonly caller: Caller | undefined;
  readonly slot: LoadSlot;
}

/** Answers a request, or rejects: with an `HttpError` when the caller may read the reason. */
export type Handler = (request: RequestContext) => Promise<Answer>;

/** One method of one address. */
export interface Route {
  readonly handle: Handler;
  /** The scope that the caller needs. Without it the route is public, or checks the scope itself. */
  readonly scope?: Scope;
  /** Whether large answers may be compressed. Only for answers without an `ETag`. */
  readonly compress?: boolean;
}

/** The tenant whose data a request reads and writes. */
export function tenantOf({ caller }: RequestContext): string {
  if (caller === undefined) throw new Error('A public route has no tenant.');
  return caller.tenant;
}
