/**
 * Options: how they are checked, and the options of a storage once they are complete.
 */
import type { Durability } from './backend.ts';
import type { ConflictPolicy } from './conflict.ts';
import { StorageError } from './errors.ts';

/** A bearer token, or a function that is asked for one before each request: it may fetch a fresh one. */
export type Token = string | (() => string | Promise<string>);

/** Whether a text can be a bearer token: visible ASCII, so that it is one header value. Spec: RFC 6750 §2.1. */
export const isToken = (token: unknown): token is string =>
  typeof token === 'string' && /^[\x21-\x7e]+$/.test(token);

/** Where log lines go. `console` fits. */
export interface Logger {
  /** One line for the backend that is selected, and one each time that the server is back. */
  info(message: string): void;
  /** One line each time that a configured server is away, with the reason, and one for values that it did not take. */
  warn(message: string): void;
}

/** The options of a storage, checked and complete. */
export interface ResolvedOptions {
  readonly serverUrl: string | undefined;
  readonly token: Token | undefined;
  readonly database: string;
  readonly timeout: number;
  readonly logger: Logger | undefined;
  readonly conflict: ConflictPolicy;
  readonly ack: 'server' | 'local';
  readonly durability: Durability;
  readonly warning: string | undefined;
}

/** What an option may be: the test, and the same in words ("must be …"). */
export type OptionRule = readonly [isValid: (value: unknown) => boolean, words: string];

/** Rules for the options that several methods share. */
export const RULES = {
  boolean: [(value) => typeof value === 'boolean', 'true or false'],
  function: [(value) => typeof value === 'function', 'a function'],
  text: [(value) => typeof value === 'string', 'a string'],
  count: [(value) => Number.isSafeInteger(value) && Number(value) >= 0, 'a whole number, 0 or more'],
  signal: [(value) => typeof (value as AbortSignal)?.throwIfAborted === 'function', 'an AbortSignal'],
} satisfies Readonly<Record<string, OptionRule>>;

/** A rule for one of some words. */
export const oneOf = (...words: readonly string[]): OptionRule => [
  (value) => words.includes(value as string),
  words.map((word) => `'${word}'`).join(' or '),
];

/**
 * Checks the options of a call. An option with the value `undefined` counts as left out.
 *
 * @param call Names the method, for the message: `export()`.
 * @param rules The options that the method has.
 * @returns The options; `{}` where none were given.
 * @throws {StorageError} `invalid-option` for anything but an object, for an option that the method does not have, and for a
 * value that the option cannot have.
 */
export function checkOptions<Options extends object>(
  call: string,
  options: unknown,
  rules: Readonly<Partial<Record<keyof Options, OptionRule>>>,
): Partial<Options> {
  if (options === undefined) return {};
  const names = Object.keys(rules);
  const known = `The options of ${call} are ${names.join(', ')}.`;
  // Not an Event either, which an event handler gets: onclick={storage.clear}.
  if (
    Object.prototype.toString.call(options) !== '[object Object]' ||
    typeof options !== 'object' ||
    !options
  )
    throw invalidOption(`${call} takes an object with options, not ${describe(options)}. ${known}`);
  for (const [name, value] of Object.entries(options)) {
    const rule = Object.hasOwn(rules, name) ? rules[name as keyof Options] : undefined;
    if (rule === undefined) throw invalidOption(`${call} has no option ${name}. ${known}`);
    if (value !== undefined && !rule[0](value)) throw invalidOption(`${call}: ${name} must be ${rule[1]}.`);
  }
  return options;
}

/** An error for an option or argument that a call cannot work with. */
export const invalidOption = (message: string): StorageError => new StorageError('invalid-option', message);

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 64));
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : `an instance of ${value.constructor?.name}`;
  return value === null ? 'null' : `a ${typeof value}`;
}
