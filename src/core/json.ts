/**
 * Values as JSON text, the form in which they travel to servers and into backups (docs/contract.md, Values).
 *
 * Plain JSON stays as it is, so that every other client can read it. Any other value becomes an envelope around the whole
 * value, `{"$cf": <devalue's array form>}`. A plain object that looks like an envelope gets one more `$` in its key.
 *
 * This is the part `codec` of the package: the main entry does not import it, and loads it on first use.
 *
 * Spec: RFC 8259.
 */
import type { Snapshot } from './backend.ts';
import { seal, unseal } from './envelope.ts';
import { StorageError } from './errors.ts';

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether parsed JSON is an object. */
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The only key of an envelope, and of a plain object that is escaped because it looks like one. */
const MARK = /^\$cf\$*$/;

/**
 * The JSON text of a value. A promise only for a value that JSON cannot express.
 */
export function encode({ plain, value }: Snapshot): string | Promise<string> {
  if (!plain) return seal(value).then((text) => `{"$cf":${text}}`);
  const sentAs = sentAsOf(value);
  return JSON.stringify(sentAs === undefined ? value : { [`${sentAs}$`]: (value as JsonObject)[sentAs] });
}

/**
 * The value that parsed JSON represents.
 *
 * @throws {StorageError} `unsupported-value` when the envelope is malformed: another program wrote it.
 */
export function decode(json: unknown): unknown {
  const sentAs = sentAsOf(json);
  if (sentAs === undefined) return json;
  const content = (json as JsonObject)[sentAs];
  if (sentAs !== '$cf') return { [sentAs.slice(0, -1)]: content };
  try {
    return unseal(content);
  } catch (cause) {
    throw new StorageError('unsupported-value', `The stored value is a malformed envelope: ${cause}`, {
      cause,
    });
  }
}

/**
 * The JSON text of the value of a key.
 *
 * @throws {StorageError} `unsupported-value` when a Blob cannot be read, for example a File that changed on disk after it was
 *   picked.
 */
export async function encodeAt(key: string, value: Snapshot): Promise<string> {
  try {
    return await encode(value);
  } catch (cause) {
    if (cause instanceof StorageError) throw cause;
    throw new StorageError('unsupported-value', `Key ${key}: the value cannot be read: ${cause}`, { cause });
  }
}

/** A value in the form in which it travels (docs/contract.md, 11), parsed. */
export interface StoredJson {
  readonly json: unknown;
}

/**
 * The parsed JSON of the value of a key.
 *
 * @throws {StorageError} as `encodeAt` does.
 */
export const storedJsonOf = async (key: string, value: Snapshot): Promise<StoredJson> => ({
  json: JSON.parse(await encodeAt(key, value)),
});

/**
 * The value that the JSON of a key represents.
 *
 * @throws {StorageError} as `decode` does, naming the key.
 */
export async function decodeAt(key: string, json: unknown): Promise<unknown> {
  try {
    return await decode(json);
  } catch (cause) {
    const { code, message } = cause as StorageError;
    throw new StorageError(code, `Key ${key}: ${message}`, { cause });
  }
}

/** Looks at the first key only, where that is no mark: listing the keys of every value costs time. */
function sentAsOf(value: unknown): string | undefined {
  if (isObject(value))
    for (const first in value) return MARK.test(first) && Object.keys(value).length === 1 ? first : undefined;
  return undefined;
}
