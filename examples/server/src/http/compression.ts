/** Answers of many bytes are compressed where the caller takes it. Spec: docs/contract.md, 9.5; RFC 9110 §12.5.3. */
import type { Next } from 'hono';
import { compress } from 'hono/compress';
import type { RequestContext } from './context.ts';

/** Below this, what is saved is less than what it costs. */
const LEAST_BYTES = 16 * 1024;

const middleware = compress({
  encoding: 'gzip',
  threshold: LEAST_BYTES,
  contentTypeFilter: /^application\/(?:json|x-ndjson)/,
});

/** For routes without an ETag: a compressed answer would need another one. */
export async function compressed(c: RequestContext, next: Next): Promise<void> {
  c.env.outgoing.appendHeader('Vary', 'Accept-Encoding');
  await middleware(c, next);
  // The outgoing message has it, beside others; this one would replace them.
  c.res.headers.delete('Vary');
}
