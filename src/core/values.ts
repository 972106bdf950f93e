/**
 * What a value may be.
 *
 * Both backends accept the same set: plain JSON, and the part of the structured-clone algorithm that JSON text can
 * carry (docs/contract.md, Values). `snapshot` checks a value and copies it in one walk that reads each property once, at the
 * moment of the call: what the caller changes afterwards does not change what is stored, and an observing proxy around
 * plain data is read, not stored.
 *
 * Spec: HTML, Safe passage of structured data (StructuredSerialize).
 */
import type { Snapshot } from './backend.ts';
import { StorageError } from './errors.ts';

/** Deeper values are refused on both backends: a server answers 400 to them. */
const MAX_DEPTH = 200;

const ERRORS = /^(Error|(Eval|Range|Reference|Syntax|Type|URI)Error)$/;
const VIEWS = /^(DataView|(Uint8Clamped|(Big)?(Int|Uint)\d+|Float\d+)Array)$/;

/** What the others are copied by. A Blob and a File cannot change. */
const BUILTINS: Readonly<Record<string, (value: never) => object>> = {
  Map: () => new Map(),
  Set: () => new Set(),
  Date: (value: Date) => new Date(value.getTime()),
  RegExp: (value: RegExp) => new RegExp(value.source, value.flags),
  ArrayBuffer: (value: ArrayBuffer) => value.slice(0),
  Blob: (value: Blob) => value,
  File: (value: File) => value,
};

/** How a step into a value is written: a name, or a call such as `keys()`. */
const NAME = /^[\p{L}_$][\p{L}\p{N}_$]*(\(.*\))?$/u;

/**
 * Check `value` and copy it.
 *
 * @param key What it is to be stored under, for the message.
 * @throws {StorageError} `unsupported-value`, naming the path to what cannot be stored.
 */
export function snapshot(value: unknown, key?: string): Snapshot {
  // Most values are texts; this is the shortest way.
  if (typeof value === 'string') return { plain: true, value };
  const copies = new Map<unknown, unknown>();
  let plain = true;
  let hasBlob = false as boolean;
  /** Whether a key was met that only JSON carries. */
  let json = false;
  let depth = 0;
  /** Where the walk ended, and why. */
  let path = '';
  let reason = '';

  const refuse = (why: string): never => {
    reason = why;
    throw why;
  };

  /** A member's copy; `step` leads to it. */
  const inner = (member: unknown, step: string): unknown => {
    depth += 1;
    try {
      return copy(member);
    } catch (error) {
      path =
        (isIndex(step) ? `[${step}]` : NAME.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`) + path;
      throw error;
    } finally {
      depth -= 1;
    }
  };

  /** Known before its members are copied, so that a cycle finds it. */
  const keep = <T extends object>(value: object, made: T): T => {
    copies.set(value, made);
    return made;
  };

  const copy = (value: unknown): unknown => {
    const type = typeof value;
    if (type === 'function' || type === 'symbol') refuse(`a ${type}`);
    if (type !== 'object' || value === null) {
      plain &&= isJson(value);
      return value;
    }
    const object = value as object;
    const known = copies.get(object);
    // An object met twice, in a cycle or beside, keeps its identity: JSON cannot say that.
    plain &&= known === undefined && !('toJSON' in object);
    if (known !== undefined) return known;
    if (depth === MAX_DEPTH) refuse(`nested more than ${MAX_DEPTH} levels deep`);
    const prototype = Object.getPrototypeOf(object);
    // The prototype of arrays is an array itself, in every realm; that of a subclass is not.
    if (Array.isArray(object) && Array.isArray(prototype)) return copyMembers(object, keep(object, []));
    if (!Array.isArray(object) && isPlainPrototype(prototype)) return copyMembers(object, keep(object, {}));
    plain = false;
    return copyBuiltin(object, prototype?.constructor?.name);
  };

  const copyMembers = <T extends object>(object: object, made: T): T => {
    const names = Reflect.ownKeys(object);
    if (Array.isArray(object)) {
      (made as unknown as unknown[]).length = object.length;
      // A hole has no form in JSON.
      plain &&= names.length === object.length + 1;
    }
    for (const name of names as string[]) {
      if (Array.isArray(object) && name === 'length') continue;
      const lost =
        typeof name === 'symbol' ||
        (Array.isArray(object) ? !isIndex(name) : !Object.prototype.propertyIsEnumerable.call(object, name));
      if (lost) refuseProperty(name);
      const member = inner(object[name as never], name);
      json ||= name === '__proto__';
      if (name === '__proto__') Object.defineProperty(made, name, { value: member, ...OWN_DATA });
      else made[name as never] = member as never;
    }
    return made;
  };

  const refuseProperty = (name: unknown): void => {
    if (name !== undefined) refuse(`an object with the hidden or extra property ${String(name)}`);
  };

  const copyBuiltin = (object: object, made: string): object => {
    const tag = Object.prototype.toString.call(object).slice(8, -1);
    const symbol = Object.getOwnPropertySymbols(object)[0];
    if (tag === 'Error' && ERRORS.test(made)) {
      // Structured clone keeps the standard names only. Engines add hidden properties of their own, such as a line number.
      const { name, message, stack } = object as Error;
      if (!ERRORS.test(name)) refuse(`an Error with the name ${name}`);
      refuseProperty(symbol ?? Object.keys(object).find((key) => !/^(name|message|stack|cause)$/.test(key)));
      const error = keep(object, makeError(name, message, stack));
      if ('cause' in object) setHidden(error, 'cause', inner(object.cause, 'cause'));
      return error;
    }
    // Listing the keys of a large view takes seconds; properties of its own are ignored, as structured clone does.
    if (tag === made && VIEWS.test(tag)) {
      const { buffer, byteOffset } = object as DataView;
      const length = tag === 'DataView' ? (object as DataView).byteLength : (object as Uint8Array).length;
      const View = globals[tag] as Uint8ArrayConstructor;
      return keep(object, new View(inner(buffer, 'buffer') as ArrayBuffer, byteOffset, length));
    }
    const build = tag === made && Object.hasOwn(BUILTINS, tag) ? BUILTINS[tag] : undefined;
    if (build === undefined) refuse(`an instance of ${made || 'a class'}`);
    if ((object as ArrayBuffer).resizable) refuse('a resizable ArrayBuffer');
    // Node.js keeps its own state in symbols there.
    if (/^(Blob|File)$/.test(tag)) hasBlob = true;
    else refuseProperty(symbol ?? Object.getOwnPropertyNames(object).find((key) => key !== 'lastIndex'));
    const built = keep(object, build?.(object as never) as object);
    if (built instanceof Set)
      for (const member of object as Set<unknown>) built.add(inner(member, 'values()'));
    if (built instanceof Map) {
      for (const [key, member] of object as Map<unknown, unknown>) {
        const shown = typeof key === 'string' ? JSON.stringify(key) : typeof key;
        built.set(inner(key, 'keys()'), inner(member, `get(${shown})`));
      }
    }
    return built;
  };

  try {
    const copied = copy(value);
    if (json && !plain) refuse('an object with its own __proto__ beside values that JSON has no form for');
    return { plain, value: copied, ...(hasBlob && { hasBlob }) };
  } catch (cause) {
    const text = reason ? `is ${reason}, which cannot be stored.` : `cannot be read: ${String(cause)}`;
    const subject = key === undefined ? '' : `Key ${key}: `;
    throw new StorageError(
      'unsupported-value',
      `${subject}value${path} ${text}`,
      reason ? undefined : { cause },
    );
  }
}

/** Whether JSON gives a primitive back as it was. */
const isJson = (value: unknown): boolean =>
  typeof value === 'number'
    ? Number.isFinite(value) && !Object.is(value, -0)
    : value !== undefined && typeof value !== 'bigint';

/** The prototype of what `{}`, `Object.create(null)`, or the `{}` of another realm made. */
const isPlainPrototype = (prototype: object | null): boolean =>
  prototype === null ||
  (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf'));

/** Whether a key is an array index: an integer below 2^32 - 1. */
const isIndex = (key: string): boolean => String(Number(key) >>> 0) === key && key !== '4294967295';

const globals = globalThis as unknown as Readonly<Record<string, unknown>>;

const OWN_DATA = { enumerable: true, configurable: true, writable: true };

/** An Error of the standard class of that name. */
export function makeError(name: string, message: string, stack: string | undefined): Error {
  const known = ERRORS.test(name) ? name : 'Error';
  const error = new (globals[known] as ErrorConstructor)(message);
  setHidden(error, 'stack', stack);
  return error;
}

/** Set a property as the engine sets an Error's: not enumerable. */
export function setHidden(error: Error, name: 'stack' | 'cause', value: unknown): void {
  Object.defineProperty(error, name, { ...OWN_DATA, value, enumerable: false });
}
