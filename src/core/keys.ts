/**
 * Which strings are keys.
 *
 * A key that is written must be portable: well-formed Unicode, 1 to 1,024 UTF-8 bytes, without U+0000. IndexedDB can hold other
 * strings too, which older apps have stored: these can be read and deleted there. A server can hold portable keys of any length.
 *
 * Keys are compared exactly, without normalization (docs/contract.md, section 10.1).
 */
import { type Backend, type Operation, type Outcome, rejected } from './backend.ts';
import { StorageError } from './errors.ts';

const MAX_KEY_BYTES = 1024;
/** U+0000, or half of a surrogate pair. */
const NOT_PORTABLE = /[\0\p{Surrogate}]/u;

/**
 * Check a key that is read or deleted: any string.
 *
 * @throws {StorageError} `invalid-key`
 */
export function checkReadKey(key: unknown): string {
  if (typeof key === 'string') return key;
  throw invalidKey(key);
}

/**
 * Check a key that is written.
 *
 * @throws {StorageError} `invalid-key`
 */
export function checkKey(key: unknown): string {
  if (isWritable(key)) return key;
  throw invalidKey(key);
}

/** Whether a server can hold a key. It may be longer than a key that is written here. */
export const isPortable = (key: unknown): key is string =>
  typeof key === 'string' && key !== '' && !NOT_PORTABLE.test(key);

/** Whether a key can be written. */
const isWritable = (key: unknown): key is string =>
  // A UTF-16 code unit is at most three bytes, so most keys need no counting.
  isPortable(key) && (key.length * 3 <= MAX_KEY_BYTES || utf8Length(key) <= MAX_KEY_BYTES);

/** Runs a batch on a server. An operation whose key no server can hold is rejected, and the others are run. */
export const runPortable = (
  run: Backend['run'],
  operations: Parameters<Backend['run']>[0],
): Promise<Outcome[]> =>
  runAllowed(run, operations, (operation) => !('key' in operation) || isPortable(operation.key));

/** Runs a batch. A put whose key is not allowed is rejected, and the other operations are run. */
export const runWritable = (
  run: Backend['run'],
  operations: Parameters<Backend['run']>[0],
): Promise<Outcome[]> =>
  runAllowed(run, operations, (operation) => operation.type !== 'put' || isWritable(operation.key));

async function runAllowed(
  run: Backend['run'],
  operations: Parameters<Backend['run']>[0],
  isAllowed: (operation: Operation) => boolean,
): Promise<Outcome[]> {
  const able = operations.filter(isAllowed);
  if (able.length === operations.length) return run(operations);
  const outcomes = able.length > 0 ? await run(able) : [];
  const found = new Map(able.map((operation, i) => [operation, outcomes[i] as Outcome]));
  return operations.map(
    (operation) => found.get(operation) ?? rejected(invalidKey((operation as { key: string }).key)),
  );
}

function invalidKey(key: unknown): StorageError {
  if (typeof key !== 'string')
    return new StorageError(
      'invalid-key',
      `A key must be a string, not ${key === null ? 'null' : `a value of type ${typeof key}`}.`,
    );
  let shown = JSON.stringify(key.slice(0, 64));
  if (key.length > 64) shown += `… (${utf8Length(key)} bytes)`;
  return new StorageError(
    'invalid-key',
    `Key ${shown} is not allowed: a key is a string of 1 to 1,024 UTF-8 bytes, well-formed and without U+0000.`,
  );
}

/** The number of bytes of `text` in UTF-8. It is counted without encoding, because every key and value that travels is measured. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i) as number;
    if (point > 0x7f) bytes += point > 0x7ff ? 2 : 1;
    // Two units, four bytes.
    if (point > 0xffff) i++;
  }
  return bytes;
}
