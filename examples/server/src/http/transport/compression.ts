/** Answers of many bytes are compressed where the caller takes it. Spec: docs/contract.md, 9.5; RFC 9110 §12.5.3. */
import type { Route } from '../request.ts';

/** Below this, what is saved is less than what it costs. */
const LEAST_CHARACTERS = 16 * 1024;

/** `Origin` too: this field replaces the one that is sent with every answer. */
const VARY = { Vary: 'Origin, Accept-Encoding' };

/** For routes without an ETag: a compressed answer would need another one. Event streams stay as they are. */
export function compressed(route: Route): Route {
  return async (c) => {
    const answer = await route(c);
    const { method, headers } = c.incoming;
    const isLarge = typeof answer.body !== 'string' || answer.body.length >= LEAST_CHARACTERS;
    const gzip =
      isLarge &&
      method !== 'HEAD' &&
      answer.type?.startsWith('application/') === true &&
      takesGzip(String(headers['accept-encoding'] ?? ''));
    const encoding = gzip ? { 'Content-Encoding': 'gzip' } : {};
    return { ...answer, gzip, headers: { ...answer.headers, ...VARY, ...encoding } };
  };
}

/** What is said of gzip itself counts before what is said of all others. */
function takesGzip(header: string): boolean {
  const codings = header.split(',').map((coding) =>
    coding
      .trim()
      .toLowerCase()
      .split(/\s*;\s*q=/),
  );
  const [, weight = '1'] = codings.find(([name]) => name === 'gzip') ??
    codings.find(([name]) => name === '*') ?? ['', '0'];
  return Number(weight) > 0;
}
