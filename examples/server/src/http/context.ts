/** What a route gets to see of a request. */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { Refusal } from './answers.ts';
import type { Place } from './load.ts';
import { type Caller, mayDo, type Scope } from './tokens.ts';

/** A request as it came, who sent it, and its place among those that are worked on. */
export interface Bindings extends HttpBindings {
  /** `undefined` only at routes that are everybody's. */
  readonly caller: Caller | undefined;
  readonly place: Place;
}

export type RequestContext = Context<{ Bindings: Bindings }>;

/** Whose data a request is about. */
export function tenantOf(c: RequestContext): string {
  if (c.env.caller === undefined) throw new Error('This route asks for no caller.');
  return c.env.caller.tenant;
}

/**
 * Whether the caller may do it.
 *
 * @throws {Refusal} 403
 */
export function demand(c: RequestContext, scope: Scope): void {
  if (c.env.caller && mayDo(c.env.caller, scope)) return;
  throw new Refusal(403, `This needs a token with the scope ${scope}`, {
    headers: { 'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}

/** A route for callers with that scope. */
export function needs(scope: Scope, route: (c: RequestContext) => Promise<Response>) {
  return async (c: RequestContext): Promise<Response> => {
    demand(c, scope);
    return route(c);
  };
}
