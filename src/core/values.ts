/**
 * What a value may be.
 *
 * Both backends accept the same set: plain JSON, and the part of the structured-clone algorithm that JSON text can
 * carry (docs/contract.md, Values). `snapshot` checks a value and copies it in one walk, at the moment of the call:
 * what the caller changes afterwards does not change what is stored, and an observing proxy around plain data is
 * read, not stored.
 *
 * Spec: HTML, Safe passage of structured data (StructuredSerialize).
 */
import type { Snapshot } from './backend.ts';
import { StorageError } from './errors.ts';

/** Deeper values are refused on both backends: a server answers 400 to them. */
const MAX_DEPTH = 200;

/** Thrown inside `copyPlain` only: the value is not plain JSON, look closer. */
const NOT_PLAIN = Symbol('not plain');

/**
 * Check `value` and copy it.
 *
 * @throws {StorageError} `unsupported-value`, naming the path to what cannot be stored.
 */
export function snapshot(value: unknown): Snapshot {
  if (isPlainPrimitive(value)) return { plain: true, value };
  try {
    if (typeof value === 'object' && value !== null)
      return { plain: true, value: copyPlain(value, new Set(), 1) };
  } catch (error) {
    if (error !== NOT_PLAIN) throw unreadable(error);
  }
  try {
    return { plain: false, value: copyRich(value, '', new Map(), 1) };
  } catch (error) {
    throw error instanceof StorageError ? error : unreadable(error);
  }
}

const unreadable = (cause: unknown): StorageError =>
  new StorageError('unsupported-value', `The value cannot be read: ${cause}`, { cause });

const isPlainPrimitive = (value: unknown): boolean =>
  typeof value === 'string' ||
  typeof value === 'boolean' ||
  value === null ||
  (typeof value === 'number' && Number.isFinite(value) && !Object.is(value, -0));

/** A copy of plain JSON data. Throws `NOT_PLAIN` at whatever JSON would not give back as it was. */
function copyPlain(value: object, met: Set<object>, depth: number): unknown {
  // An object met twice, in a cycle or beside, keeps its identity: JSON cannot say that.
  if (depth > MAX_DEPTH || met.has(value) || 'toJSON' in value) throw NOT_PLAIN;
  met.add(value);
  const keys = Object.keys(value);
  if (Array.isArray(value)) {
    // The prototype of arrays is an array itself, in every realm; that of a subclass is not.
    if (!Array.isArray(Object.getPrototypeOf(value))) throw NOT_PLAIN;
    if (keys.length !== value.length || Reflect.ownKeys(value).length !== keys.length + 1) throw NOT_PLAIN;
    return Array.from(value, (item) => copyMember(item, met, depth));
  }
  if (!isPlainObject(value) || Reflect.ownKeys(value).length !== keys.length) throw NOT_PLAIN;
  const copy: Record<string, unknown> = {};
  for (const key of keys) {
    const member = copyMember((value as Record<string, unknown>)[key], met, depth);
    if (key === '__proto__') Object.defineProperty(copy, key, { value: member, ...OWN_DATA });
    else copy[key] = member;
  }
  return copy;
}

const OWN_DATA = { enumerable: true, configurable: true, writable: true };

function copyMember(value: unknown, met: Set<object>, depth: number): unknown {
  if (typeof value === 'object' && value !== null) return copyPlain(value, met, depth + 1);
  if (isPlainPrimitive(value)) return value;
  throw NOT_PLAIN;
}

/** Made by `{}`, `Object.create(null)`, or the `{}` of another realm. */
function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return (
    prototype === Object.prototype ||
    prototype === null ||
    (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf'))
  );
}

const ERRORS = /^(Error|(Eval|Range|Reference|Syntax|Type|URI)Error)$/;
const VIEWS = /^(DataView|(Uint8Clamped|(Big)?(Int|Uint)\d+|Float\d+)Array)$/;
const OTHERS = /^(Map|Set|Date|RegExp|ArrayBuffer|Blob|File)$/;
const IDENTIFIER = /^[\p{L}_$][\p{L}\p{N}_$]*$/u;

/** The name of the platform class that made `value`, in whatever realm, or `''` for what any other class made. */
function builtinClass(value: object): string {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  const made = Object.getPrototypeOf(value)?.constructor?.name ?? '';
  return tag === made || (tag === 'Error' && ERRORS.test(made)) ? made : '';
}

/** A copy of whatever can be stored; each property is read once. Throws at what cannot be stored. */
function copyRich(value: unknown, path: string, copies: Map<unknown, unknown>, depth: number): unknown {
  const known = copies.get(value);
  if (known !== undefined) return known;
  const container = typeof value === 'object' && value !== null;
  const reason =
    container && depth > MAX_DEPTH ? `nested more than ${MAX_DEPTH} levels deep` : refusalOf(value);
  if (reason !== undefined) {
    const where = path === '' ? 'The value' : /^[.[]/.test(path) ? `value${path}` : path;
    throw new StorageError('unsupported-value', `${where} is ${reason}, which cannot be stored.`);
  }
  if (!container) return value;

  /** Known before its members are copied, so that a cycle finds it. */
  const keep = <T>(copy: T): T => {
    copies.set(value, copy);
    return copy;
  };
  const inner = (member: unknown, step: string): unknown =>
    copyRich(member, path === '' && step.startsWith('.') ? step.slice(1) : path + step, copies, depth + 1);

  if (Array.isArray(value)) {
    const copy: unknown[] = keep(new Array(value.length));
    for (const key of Object.keys(value)) copy[Number(key)] = inner(value[Number(key)], `[${key}]`);
    return copy;
  }
  if (isPlainObject(value)) {
    const copy: Record<string, unknown> = keep({});
    for (const key of Object.keys(value)) {
      const step = IDENTIFIER.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
      copy[key] = inner((value as Record<string, unknown>)[key], step);
    }
    return copy;
  }
  return copyBuiltin(value, keep, inner);
}

function copyBuiltin(
  value: object,
  keep: <T>(copy: T) => T,
  inner: (member: unknown, step: string) => unknown,
): unknown {
  const name = builtinClass(value);
  if (ERRORS.test(name)) {
    const error = value as Error;
    const copy = keep(makeError(error.name, error.message, error.stack));
    if ('cause' in error) setHidden(copy, 'cause', inner(error.cause, '.cause'));
    return copy;
  }
  if (VIEWS.test(name)) {
    const view = value as Uint8Array;
    const View = (globalThis as unknown as Record<string, Uint8ArrayConstructor>)[
      name
    ] as Uint8ArrayConstructor;
    const length = name === 'DataView' ? view.byteLength : view.length;
    return keep(new View(inner(view.buffer, '.buffer') as ArrayBuffer, view.byteOffset, length));
  }
  switch (name) {
    case 'Map': {
      const copy = keep(new Map());
      for (const [key, member] of value as Map<unknown, unknown>) {
        const shown = typeof key === 'string' ? JSON.stringify(key) : typeof key;
        copy.set(inner(key, '.keys()'), inner(member, `.get(${shown})`));
      }
      return copy;
    }
    case 'Set': {
      const copy = keep(new Set());
      for (const member of value as Set<unknown>) copy.add(inner(member, '.values()'));
      return copy;
    }
    case 'Date':
      return keep(new Date((value as Date).getTime()));
    case 'RegExp':
      return keep(new RegExp((value as RegExp).source, (value as RegExp).flags));
    case 'ArrayBuffer':
      return keep((value as ArrayBuffer).slice(0));
    default:
      // Blob and File cannot change.
      return keep(value);
  }
}

/** Why a value cannot be stored, whatever is inside it. */
function refusalOf(value: unknown): string | undefined {
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) || isPlainObject(value)) return refusalOfShape(value);
  const name = builtinClass(value);
  // Listing the keys of a large view takes seconds; properties of its own are ignored, as structured clone does.
  if (VIEWS.test(name)) return undefined;
  if (ERRORS.test(name)) {
    // Structured clone keeps the standard names only. Engines add hidden properties of their own, such as a line number.
    if (!ERRORS.test((value as Error).name)) return `an Error with the name ${String((value as Error).name)}`;
    return extraOf(value, Object.keys(value), /^(name|message|stack|cause)$/);
  }
  if (!OTHERS.test(name))
    return `an instance of ${Object.getPrototypeOf(value)?.constructor?.name || 'a class'}`;
  if ((value as { resizable?: boolean }).resizable) return 'a resizable ArrayBuffer';
  // Node.js keeps its own state in symbols there.
  if (/^(Blob|File)$/.test(name)) return undefined;
  return extraOf(value, Object.getOwnPropertyNames(value), /^lastIndex$/);
}

/** A property that copying a builtin would lose. */
function extraOf(value: object, names: readonly string[], kept: RegExp): string | undefined {
  const extra = Object.getOwnPropertySymbols(value)[0] ?? names.find((name) => !kept.test(name));
  return extra === undefined ? undefined : `an object with the property ${String(extra)} of its own`;
}

/** Why an array or a plain object cannot be stored beside values that JSON has no form for. */
function refusalOfShape(value: object): string | undefined {
  const array = Array.isArray(value);
  if (array && !Array.isArray(Object.getPrototypeOf(value))) return 'an instance of a class of arrays';
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === 'symbol') return `an object with the key ${String(key)}`;
    if (array) {
      if (key !== 'length' && !isIndex(key)) return `an array with the property ${key}`;
    } else if (key === '__proto__') {
      return 'an object with its own __proto__ beside values that JSON has no form for';
    } else if (!Object.prototype.propertyIsEnumerable.call(value, key)) return `an object that hides ${key}`;
  }
  return undefined;
}

/** Whether a key is an array index: an integer below 2^32 - 1. */
const isIndex = (key: string): boolean => String(Number(key) >>> 0) === key && key !== '4294967295';

/** An Error of the standard class of that name. */
export function makeError(name: string, message: string, stack: string | undefined): Error {
  const known = [
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
  ] as ErrorConstructor[];
  const error = new (known.find((made) => made.name === name) ?? Error)(message);
  setHidden(error, 'stack', stack);
  return error;
}

/** Set a property as the engine sets an Error's: not enumerable. */
export function setHidden(error: Error, name: 'stack' | 'cause', value: unknown): void {
  Object.defineProperty(error, name, { value, enumerable: false, configurable: true, writable: true });
}
