/**
 * Options: how they are checked, and the options of a storage once they are complete.
 */
import type { Durability } from './backend.ts';
import type { ConflictPolicy } from './conflict.ts';
import { StorageError } from './errors.ts';

/** A bearer token, or a function that returns one and is called before each request, so that it can fetch a fresh one. */
export type Token = string | (() => string | Promise<string>);

/** Whether a value can be a bearer token: visible ASCII, which fits into one header value. @see RFC 6750 §2.1 */
export const isToken = (token: unknown): token is string =>
  typeof token === 'string' && /^[\x21-\x7e]+$/.test(token);

/** The receiver of log lines, such as `console`. */
export interface Logger {
  /** Receives one line for the selected backend, and one each time the server is reachable again. */
  info(message: string): void;
  /** Receives one line, with the reason, each time a configured server becomes unreachable, and one for values that it rejected. */
  warn(message: string): void;
}

/** The options of a storage, checked and complete. */
export interface ResolvedOptions {
  readonly serverUrl: string | undefined;
  /** The same URL as the app has given it; absolute. */
  readonly givenUrl: string | undefined;
  readonly token: Token | undefined;
  readonly database: string;
  readonly timeout: number;
  readonly logger: Logger | undefined;
  readonly conflict: ConflictPolicy;
  readonly ack: 'server' | 'local';
  readonly durability: Durability;
  readonly warning: string | undefined;
}

/** The rule of an option: a test, and the words for the error message ("must be …"). */
export type OptionRule = readonly [isValid: (value: unknown) => boolean, words: string];

/** Rules for the options that several methods share. */
export const RULES = {
  boolean: [(value) => typeof value === 'boolean', 'true or false'],
  function: [(value) => typeof value === 'function', 'a function'],
  text: [(value) => typeof value === 'string', 'a string'],
  count: [(value) => Number.isSafeInteger(value) && Number(value) >= 0, 'a whole number, 0 or more'],
  signal: [(value) => typeof (value as AbortSignal)?.throwIfAborted === 'function', 'an AbortSignal'],
} satisfies Readonly<Record<string, OptionRule>>;

/** A rule for an option that is one of several words. */
export const oneOf = (...words: readonly string[]): OptionRule => [
  (value) => words.includes(value as string),
  words.map((word) => `'${word}'`).join(' or '),
];

/**
 * Checks the options of a call. An option with the value `undefined` counts as left out.
 *
 * @param call The method in error messages, such as `export()`.
 * @param rules The method's options and their rules.
 * @returns A copy of the options, each read once; `{}` if `options` is `undefined`.
 * @throws {StorageError} `invalid-option` if `options` is not an object, has an unknown option, or an option has an invalid value.
 */
export function checkOptions<Options extends object>(
  call: string,
  options: unknown,
  rules: Readonly<Partial<Record<keyof Options, OptionRule>>>,
): Partial<Options> {
  if (options === undefined) return {};
  const known = `The options of ${call} are ${Object.keys(rules).join(', ')}.`;
  const checked: Partial<Options> = {};
  try {
    // This also rejects the Event that a handler receives: onclick={storage.clear}.
    if (
      Object.prototype.toString.call(options) !== '[object Object]' ||
      typeof options !== 'object' ||
      !options
    )
      throw invalidOption(`${call} takes an object with options, not ${describe(options)}. ${known}`);
    for (const name in options)
      if (!Object.hasOwn(rules, name)) throw invalidOption(`${call} has no option ${name}. ${known}`);
    for (const [name, rule] of Object.entries(rules) as Array<[keyof Options, OptionRule]>) {
      if (!(name in options)) continue;
      // Read once, so that later changes of the object change nothing.
      const value = (options as Options)[name];
      if (value !== undefined && !rule[0](value))
        throw invalidOption(`${call}: ${String(name)} must be ${rule[1]}.`);
      checked[name] = value;
    }
  } catch (cause) {
    if (cause instanceof StorageError) throw cause;
    throw new StorageError('invalid-option', `${call}: the options cannot be read: ${cause}`, { cause });
  }
  return checked;
}

/** The error for an invalid option or argument. */
export const invalidOption = (message: string): StorageError => new StorageError('invalid-option', message);

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 64));
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : `an instance of ${value.constructor?.name}`;
  return value === null ? 'null' : `a ${typeof value}`;
}
