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
  if (typeof value !== 'object' || value === null) {
    if (isPlainPrimitive(value)) return { plain: true, value };
  } else {
    try {
      return { plain: true, value: copyPlain(value, new Set(), 1) };
    } catch (error) {
      if (error !== NOT_PLAIN) throw unreadable(error);
    }
  }
  checkRich(value, '', new Set(), 1);
  try {
    return { plain: false, value: structuredClone(value) };
  } catch (error) {
    throw unreadable(error);
  }
}

const unreadable = (cause: unknown): StorageError =>
  new StorageError('unsupported-value', `The value cannot be copied: ${cause}`, { cause });

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

/** The name of the platform class that made `value`, or `''` for what any other class made. */
function builtinClass(value: object): string {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  const made = Object.getPrototypeOf(value)?.constructor?.name ?? '';
  return tag === made || (tag === 'Error' && ERRORS.test(made)) ? made : '';
}

/** Walks everything a value reaches and throws at what cannot be stored. */
function checkRich(value: unknown, path: string, met: Set<unknown>, depth: number): void {
  if (met.has(value)) return;
  const tooDeep = depth > MAX_DEPTH && typeof value === 'object' && value !== null;
  const reason = tooDeep ? `nested more than ${MAX_DEPTH} levels deep` : refusalOf(value);
  if (reason !== undefined) {
    const where = path === '' ? 'The value' : /^[.[]/.test(path) ? `value${path}` : path;
    throw new StorageError('unsupported-value', `${where} is ${reason}, which cannot be stored.`);
  }
  if (typeof value !== 'object' || value === null) return;
  met.add(value);
  for (const [step, member] of membersOf(value)) {
    checkRich(member, path === '' && step.startsWith('.') ? step.slice(1) : path + step, met, depth + 1);
  }
}

/** Why a value cannot be stored, whatever is inside it. */
function refusalOf(value: unknown): string | undefined {
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value) || isPlainObject(value)) return refusalOfShape(value);
  const name = builtinClass(value);
  if (VIEWS.test(name)) return undefined;
  const extra = Object.keys(value)[0];
  if (ERRORS.test(name)) {
    // Structured clone keeps the standard names only, and of the properties name, message, stack and cause.
    if (!ERRORS.test((value as Error).name)) return `an Error with the name ${(value as Error).name}`;
    return extra && !/^(name|message|stack|cause)$/.test(extra)
      ? `an Error with the property ${extra}`
      : undefined;
  }
  if (!OTHERS.test(name))
    return `an instance of ${Object.getPrototypeOf(value)?.constructor?.name || 'a class'}`;
  if (extra !== undefined) return `a ${name} with the property ${extra}`;
  return (value as { resizable?: boolean }).resizable ? 'a resizable ArrayBuffer' : undefined;
}

/** Why an array or a plain object cannot be stored beside values that JSON has no form for. */
function refusalOfShape(value: object): string | undefined {
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === 'symbol') return `an object with the key ${String(key)}`;
    if (Array.isArray(value)) {
      if (key !== 'length' && String(Number(key) >>> 0) !== key) return `an array with the property ${key}`;
    } else if (key === '__proto__')
      return 'an object with its own __proto__ beside values that JSON has no form for';
    else if (!Object.prototype.propertyIsEnumerable.call(value, key)) return `an object that hides ${key}`;
  }
  return undefined;
}

/** What a value holds, each with the step of the path that leads there. */
function* membersOf(value: object): Iterable<readonly [step: string, member: unknown]> {
  if (value instanceof Map) {
    for (const [key, member] of value) {
      yield ['.keys()', key];
      yield [`.get(${typeof key === 'string' ? JSON.stringify(key) : typeof key})`, member];
    }
  } else if (value instanceof Set) {
    for (const member of value) yield ['.values()', member];
  } else if (value instanceof Error) {
    if ('cause' in value) yield ['.cause', value.cause];
  } else if (ArrayBuffer.isView(value)) {
    yield ['.buffer', value.buffer];
  } else {
    for (const [key, member] of Object.entries(value)) {
      yield [
        Array.isArray(value) || !/^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(key)
          ? `[${Array.isArray(value) ? key : JSON.stringify(key)}]`
          : `.${key}`,
        member,
      ];
    }
  }
}
