/**
 * Which values can be stored.
 *
 * Both backends accept the same values: plain JSON, and the part of the structured-clone algorithm that JSON text can express
 * (docs/contract.md, Values). `snapshot` checks a value and copies it in one pass, which reads each property once, during the
 * call. Later changes by the caller do not change the stored value. A proxy around plain data is copied as that data.
 *
 * Spec: HTML, Safe passage of structured data (StructuredSerialize).
 */
import type { Snapshot } from './backend.ts';
import { StorageError } from './errors.ts';

/** Deeper values are refused on both backends, because a server answers 400 to them. */
const MAX_DEPTH = 200;

const ERRORS = /^(Error|(Eval|Range|Reference|Syntax|Type|URI)Error)$/;
const VIEWS = /^(DataView|(Uint8Clamped|(Big)?(Int|Uint)\d+|Float\d+)Array)$/;

/** How instances of the other supported classes are copied. Blobs and Files are immutable. */
const BUILTINS: Readonly<Record<string, (value: never) => object>> = {
  Map: () => new Map(),
  Set: () => new Set(),
  Date: (value: Date) => new Date(value.getTime()),
  RegExp: (value: RegExp) => new RegExp(value.source, value.flags),
  ArrayBuffer: (value: ArrayBuffer) => value.slice(0),
  Blob: (value: Blob) => value,
  File: (value: File) => value,
};

/** A step of a path that is written with a dot: a name, or a call such as `keys()`. */
const NAME = /^[\p{L}_$][\p{L}\p{N}_$]*(\(.*\))?$/u;

/**
 * An Error as data. It is an array whose last item is the cause, because an old server sorts the members of objects, and in a
 * cycle the cause must come last.
 */
export type ErrorForm = [name: string, message: string, stack: string | undefined, cause?: unknown];

/**
 * Checks `value` and copies it.
 *
 * @param key The key to be written, for error messages.
 * @param toForms If given, Errors are copied as forms, and each form is added to it.
 * @param fromForms Arrays that are copied as the Errors whose forms they are.
 * @throws {StorageError} `unsupported-value`, with the path to the part that cannot be stored.
 */
export function snapshot(
  value: unknown,
  key?: string,
  toForms?: ErrorForm[],
  fromForms?: ReadonlySet<unknown>,
): Snapshot {
  // The fast path: most values are strings.
  if (typeof value === 'string') return { plain: true, value };
  const copies = new Map<unknown, unknown>();
  let plain = true;
  let hasBlob = false as boolean;
  let hasError = false as boolean;
  /** Whether the value has a property that only JSON can express. */
  let json = false;
  /** The path to the part that is being copied. If a part is refused, the path to that, and the reason. */
  const path: string[] = [];
  let reason = '';

  const refuse = (why: string): never => {
    reason = why;
    throw why;
  };

  /** Copies a member. `step` is its step of the path. */
  const inner = (member: unknown, step: string): unknown => {
    path.push(step);
    const copied = copy(member);
    path.pop();
    return copied;
  };

  /** Registers a copy before its members are copied, so that a cycle finds it. */
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
    // An object that appears twice, also in a cycle, keeps its identity. JSON cannot express that.
    plain &&= known === undefined && !('toJSON' in object);
    if (known !== undefined) return known;
    if (path.length === MAX_DEPTH) refuse(`nested more than ${MAX_DEPTH} levels deep`);
    if (fromForms?.has(object)) return copyError(object, object as ErrorForm);
    const prototype = Object.getPrototypeOf(object);
    // In every realm the prototype of arrays is an array. The prototype of a subclass is not.
    if (Array.isArray(object) && Array.isArray(prototype)) return copyMembers(object, object.slice());
    if (!Array.isArray(object) && isPlainPrototype(prototype)) return copyMembers(object, { ...object });
    plain = false;
    return copyBuiltin(object, prototype?.constructor?.name);
  };

  /** Copies the members of `made`, which is a shallow copy of `object`. */
  const copyMembers = <T extends object>(object: object, made: T): T => {
    keep(object, made);
    const names = Object.keys(made);
    const all = Reflect.ownKeys(object);
    const isArray = Array.isArray(made);
    if (isArray) {
      // Indexes come first, in ascending order. JSON cannot express holes.
      const isDense = names.length === made.length && names.at(-1) === String(made.length - 1);
      plain &&= isDense || made.length === 0;
    }
    // Symbols, and what is not enumerable or no index: all but the length of an array.
    if (all.length > names.length + Number(isArray))
      refuseProperty(all.find((name) => !names.includes(name as string) && !(isArray && name === 'length')));
    for (const name of names) {
      const member = made[name as never] as unknown;
      json ||= name === '__proto__';
      if (typeof member === 'object' && member !== null) made[name as never] = inner(member, name) as never;
      else if (typeof member !== 'string' && typeof member !== 'boolean') inner(member, name);
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
      const form = formOf(object as Error);
      if (!ERRORS.test(form[0])) refuse(`an Error with the name ${form[0]}`);
      refuseProperty(symbol ?? Object.keys(object).find((key) => !/^(name|message|stack|cause)$/.test(key)));
      return copyError(object, form);
    }
    // Listing the keys of a large view takes seconds. Its own properties are ignored, as in structured clone.
    if (tag === made && VIEWS.test(tag)) {
      const { buffer, byteOffset } = object as DataView;
      const length = tag === 'DataView' ? (object as DataView).byteLength : (object as Uint8Array).length;
      const View = globals[tag] as Uint8ArrayConstructor;
      return keep(object, new View(inner(buffer, 'buffer') as ArrayBuffer, byteOffset, length));
    }
    const build = tag === made && Object.hasOwn(BUILTINS, tag) ? BUILTINS[tag] : undefined;
    if (build === undefined) refuse(`an instance of ${made || 'a class'}`);
    if ((object as ArrayBuffer).resizable) refuse('a resizable ArrayBuffer');
    // Node.js stores internal state in symbols of these.
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

  /** Copies an Error, given as its form, or to its form. */
  const copyError = (object: object, [name, message, stack, ...cause]: ErrorForm): object => {
    plain = false;
    hasError = true;
    const form: ErrorForm = [name, message, stack];
    const made = keep(object, toForms ? form : makeError(form));
    toForms?.push(form);
    if (cause.length > 0) {
      form[3] = inner(cause[0], 'cause');
      if (!toForms) setCause(made as Error, form[3]);
    }
    return made;
  };

  try {
    const copied = copy(value);
    if (json && !plain) refuse('an object with its own __proto__ beside values that JSON has no form for');
    const checked: Snapshot = { plain, value: copied };
    return hasBlob || hasError ? { ...checked, hasBlob, hasError } : checked;
  } catch (cause) {
    const text = reason ? `is ${reason}, which cannot be stored.` : `cannot be read: ${String(cause)}`;
    const subject = key === undefined ? '' : `Key ${key}: `;
    throw new StorageError(
      'unsupported-value',
      `${subject}value${path.map(shownStep).join('')} ${text}`,
      reason ? undefined : { cause },
    );
  }
}

/** A step of a path, as it is written. */
const shownStep = (step: string): string =>
  isIndex(step) ? `[${step}]` : NAME.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;

/** Whether JSON restores a primitive exactly. */
const isJson = (value: unknown): boolean =>
  typeof value === 'number'
    ? Number.isFinite(value) && !Object.is(value, -0)
    : value !== undefined && typeof value !== 'bigint';

/** Whether this is the prototype of `{}` in any realm, or of `Object.create(null)`. */
const isPlainPrototype = (prototype: object | null): boolean =>
  prototype === null ||
  prototype === Object.prototype ||
  (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf'));

/** Whether a key is an array index: an integer below 2^32 - 1. */
const isIndex = (key: string): boolean => String(Number(key) >>> 0) === key && key !== '4294967295';

const globals = globalThis as unknown as Readonly<Record<string, unknown>>;

const OWN_DATA = { enumerable: true, configurable: true, writable: true };

/** The form of an Error, with its cause itself. */
export function formOf(error: Error): ErrorForm {
  const { name, message, stack } = error;
  const form: ErrorForm = [name, String(message), typeof stack === 'string' ? stack : undefined];
  if ('cause' in error) form[3] = error.cause;
  return form;
}

/** The Error of a form, of the standard class of its name and without a cause. */
export function makeError([name, message, stack]: ErrorForm): Error {
  const known = ERRORS.test(name) ? name : 'Error';
  const error = new (globals[known] as ErrorConstructor)(message);
  setHidden(error, 'stack', stack);
  return error;
}

export const setCause = (error: Error, cause: unknown): void => setHidden(error, 'cause', cause);

/** Sets a property as engines set the properties of Errors: it is not enumerable. */
function setHidden(error: Error, name: 'stack' | 'cause', value: unknown): void {
  Object.defineProperty(error, name, { ...OWN_DATA, value, enumerable: false });
}
