/** What a route gets to see of a request. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Caller, mayDo, type Scope } from './access/tokens.ts';
import { type Answer, Refusal } from './answers.ts';
import type { Place } from './transport/load.ts';

/** A request as it came, who sent it, and its place among those that are worked on. */
export interface RequestContext {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** `undefined` only at routes that are everybody's. */
  readonly caller: Caller | undefined;
  readonly place: Place;
}

/** Answers a request, or throws: a `Refusal` is the caller's to read. */
export type Route = (c: RequestContext) => Promise<Answer>;

/** Whose data a request is about. */
export function tenantOf({ caller }: RequestContext): string {
  if (caller === undefined) throw new Error('This route asks for no caller.');
  return caller.tenant;
}

/**
 * Whether the caller may do it.
 *
 * @throws {Refusal} 403
 */
export function demand({ caller }: RequestContext, scope: Scope): void {
  if (caller && mayDo(caller, scope)) return;
  throw new Refusal(403, `This needs a token with the scope ${scope}`, {
    headers: { 'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** A route for callers with that scope. */
export function needs(scope: Scope, route: Route): Route {
  return async (c) => {
    demand(c, scope);
    return route(c);
  };
}
