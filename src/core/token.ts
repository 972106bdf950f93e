/**
 * What a bearer token may be.
 *
 * Spec: RFC 6750 §2.1; visible ASCII, so that it is one header value whatever the platform makes of it.
 */
/** A token, or a function that is asked for one before each request: it may fetch a fresh one. */
export type Token = string | (() => string | Promise<string>);

/** Whether a text can be a token. */
export const isToken = (token: unknown): token is string =>
  typeof token === 'string' && /^[\x21-\x7e]+$/.test(token);
