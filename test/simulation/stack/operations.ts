/**
 * What an app calls, as data: programs are made of it, and the oracle computes with it.
 *
 * Each value that is written is a text of its own, and an update appends its text. So each text says where it comes from.
 */
import type { KeyValueStorage } from '../../../src/api.ts';

/** Under which state of the key a write is to be done: that of the tab's latest `getEntry`, or none. */
export type Expectation = 'seen' | 'absent';

/** A call. */
export type Operation =
  | { readonly type: 'set'; readonly key: string; readonly value: unknown; readonly if?: Expectation }
  | { readonly type: 'delete'; readonly key: string; readonly if?: 'seen' }
  | { readonly type: 'update'; readonly key: string; readonly suffix: string }
  | { readonly type: 'setMany'; readonly entries: ReadonlyArray<readonly [key: string, value: unknown]> }
  | { readonly type: 'deleteMany'; readonly keys: readonly string[] }
  /** `check`: a key that must be as the tab has seen it. */
  | {
      readonly type: 'atomic';
      readonly entries: ReadonlyArray<readonly [key: string, value: unknown]>;
      readonly removes: readonly string[];
      readonly check?: string;
    }
  | { readonly type: 'clear' }
  | { readonly type: 'get' | 'has' | 'getEntry'; readonly key: string }
  | { readonly type: 'getMany'; readonly keys: readonly string[] }
  | { readonly type: 'keys' | 'count' | 'ready' };

export const set = (key: string, value: unknown, condition?: Expectation): Operation => ({
  type: 'set',
  key,
  value,
  ...(condition && { if: condition }),
});
export const remove = (key: string, condition?: 'seen'): Operation => ({
  type: 'delete',
  key,
  ...(condition && { if: condition }),
});
export const update = (key: string, suffix: string): Operation => ({ type: 'update', key, suffix });
export const setMany = (entries: Readonly<Record<string, unknown>>): Operation => ({
  type: 'setMany',
  entries: Object.entries(entries),
});
export const atomic = (
  entries: Readonly<Record<string, unknown>>,
  { removes = [], check }: { readonly removes?: readonly string[]; readonly check?: string } = {},
): Operation => ({
  type: 'atomic',
  entries: Object.entries(entries),
  removes,
  ...(check !== undefined && { check }),
});
export const clear: Operation = { type: 'clear' };
export const get = (key: string): Operation => ({ type: 'get', key });
export const has = (key: string): Operation => ({ type: 'has', key });
export const getEntry = (key: string): Operation => ({ type: 'getEntry', key });
export const listKeys: Operation = { type: 'keys' };
export const ready: Operation = { type: 'ready' };

/** What an update makes of a value. */
export const updated = (current: unknown, suffix: string): string =>
  `${current === undefined ? '' : String(current)}${suffix}`;

/** Whether a call changes nothing. */
export const isRead = ({ type }: Operation): boolean =>
  /^(get|has|getEntry|getMany|keys|count|ready)$/.test(type);

/** Whether a call may change a key. */
export function writes(operation: Operation, key: string): boolean {
  if (isRead(operation)) return false;
  if (operation.type === 'clear') return true;
  if (operation.type === 'setMany' || operation.type === 'atomic') return keysOf(operation).includes(key);
  if (operation.type === 'deleteMany') return operation.keys.includes(key);
  return 'key' in operation && operation.key === key;
}

/** The keys that a call names. */
export function keysOf(operation: Operation): readonly string[] {
  if ('key' in operation) return [operation.key];
  if ('keys' in operation) return operation.keys;
  if (operation.type === 'atomic') return [...operation.entries.map(([key]) => key), ...operation.removes];
  return 'entries' in operation ? operation.entries.map(([key]) => key) : [];
}

/** The key whose state a condition of a call is about. */
export function conditionOf(operation: Operation): string | undefined {
  if (operation.type === 'atomic') return operation.check;
  return 'key' in operation ? operation.key : undefined;
}

/**
 * Calls a storage.
 *
 * @param revision The revision that the tab has seen of the key; `null` where it was missing.
 */
export function perform(
  storage: KeyValueStorage,
  operation: Operation,
  revision: string | null,
): Promise<unknown> {
  switch (operation.type) {
    case 'set':
      if (operation.if === undefined) return storage.set(operation.key, operation.value);
      return storage.set(operation.key, operation.value, {
        ifRevision: operation.if === 'absent' ? null : revision,
      });
    case 'delete':
      return operation.if && revision !== null
        ? storage.delete(operation.key, { ifRevision: revision })
        : storage.delete(operation.key);
    case 'update':
      return storage.update(operation.key, (current) => updated(current, operation.suffix));
    case 'atomic':
      return storage.atomic([
        ...operation.entries.map(([key, value]) => ({ set: key, value })),
        ...operation.removes.map((key) => ({ delete: key })),
        ...(operation.check === undefined ? [] : [{ check: operation.check, ifRevision: revision }]),
      ]);
    case 'setMany':
      return storage.setMany(operation.entries);
    case 'deleteMany':
      return storage.deleteMany(operation.keys);
    case 'getMany':
      return storage.getMany(operation.keys);
    case 'get':
    case 'has':
    case 'getEntry':
      return storage[operation.type](operation.key);
    default:
      return storage[operation.type]();
  }
}

/** A call as a line of code. */
export function textOf(operation: Operation): string {
  const { type } = operation;
  const condition = 'if' in operation && operation.if ? `, if ${operation.if}` : '';
  if (type === 'set') return `set(${operation.key}, ${JSON.stringify(operation.value)}${condition})`;
  if (type === 'update') return `update(${operation.key}, ${operation.suffix})`;
  if (type === 'atomic')
    return `atomic(${JSON.stringify(Object.fromEntries(operation.entries))}, delete ${operation.removes}, check ${operation.check})`;
  if (type === 'setMany') return `setMany(${JSON.stringify(Object.fromEntries(operation.entries))})`;
  return `${type}(${keysOf(operation).join(', ')}${condition})`;
}
