/**
 * Values ⇄ JSON text: how a value travels (docs/contract.md, Values).
 *
 * Plain JSON travels as itself, so that every other client can read it. Anything else is one envelope around the whole
 * value, `{"$cf": <devalue's array form>}`; a plain object that looks like an envelope gets one more `$`. devalue is
 * loaded when the first value needs it.
 */
import type { Snapshot } from './backend.ts';
import { StorageError } from './errors.ts';

/** The only key of an envelope, and of the plain objects that are escaped because they look like one. */
const MARK = /^\$cf\$*$/;

/** The JSON text of a snapshot. A promise only for values that JSON has no form for. */
export function encode({ plain, value }: Snapshot): string | Promise<string> {
  if (!plain)
    return import('./envelope.ts').then(({ seal }) => seal(value)).then((text) => `{"$cf":${text}}`);
  const mark = markOf(value);
  return JSON.stringify(
    mark === undefined ? value : { [`${mark}$`]: (value as Record<string, unknown>)[mark] },
  );
}

/**
 * The value that parsed JSON stands for. A promise only for envelopes.
 *
 * @throws {StorageError} `unsupported-value` when an envelope cannot be read: another program wrote it.
 */
export function decode(json: unknown): unknown {
  const mark = markOf(json);
  if (mark === undefined) return json;
  const content = (json as Record<string, unknown>)[mark];
  if (mark !== '$cf') return { [mark.slice(0, -1)]: content };
  return import('./envelope.ts').then(({ unseal }) => {
    try {
      return unseal(content);
    } catch (cause) {
      throw new StorageError('unsupported-value', `A stored value is no readable envelope: ${cause}`, {
        cause,
      });
    }
  });
}

function markOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const [first, second] = Object.keys(value);
  return first !== undefined && second === undefined && MARK.test(first) ? first : undefined;
}
