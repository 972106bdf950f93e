/** Compresses large answers when the caller accepts gzip. Spec: docs/contract.md, 9.5; RFC 9110 §12.5.3. */
import type { Answer } from '../answers.ts';
import type { RequestContext } from '../request.ts';

/** Characters. Compressing less costs more than it saves. */
const MIN_CHARACTERS = 16 * 1024;

/** Includes `Origin`: this field replaces the one of all answers. */
const VARY = { Vary: 'Origin, Accept-Encoding' };

/** `answer`, marked to be sent with gzip if it is large and accepted. Event streams are never compressed. */
export function compressed(answer: Answer, { incoming }: RequestContext): Answer {
  const { method, headers } = incoming;
  const isLarge = typeof answer.body !== 'string' || answer.body.length >= MIN_CHARACTERS;
  const gzip =
    isLarge &&
    method !== 'HEAD' &&
    answer.type?.startsWith('application/') === true &&
    acceptsGzip(String(headers['accept-encoding'] ?? ''));
  const encoding = gzip ? { 'Content-Encoding': 'gzip' } : {};
  return { ...answer, gzip, headers: { ...answer.headers, ...VARY, ...encoding } };
}

/** A weight for `gzip` takes precedence over one for `*`. */
function acceptsGzip(header: string): boolean {
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
