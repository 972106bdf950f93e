/**
 * The change feed of a server of level 1, from a cursor on (docs/contract.md, section 7).
 */
import { isObject, type JsonObject } from '../../core/json.ts';
import { type Level1, nameOf } from './protocol.ts';

/** A page of changes. */
export interface Changes {
  readonly epoch: string;
  readonly changes: ReadonlyArray<{
    readonly type: string;
    /** The key; empty for a clear. */
    readonly key: string;
    readonly rev: number;
    /** The value; `undefined` if the key was deleted. */
    readonly value: { readonly json: unknown } | undefined;
  }>;
  readonly seq: number;
  readonly more: boolean;
}

/** What an answer to `changes` holds, or `undefined` if it is not a whole one. */
export function changesOf({ epoch, changes, next, more }: JsonObject): Changes | undefined {
  const seq = Number(/\.(\d+)$/.exec(String(next))?.[1] ?? Number.NaN);
  if (!Array.isArray(changes) || !Number.isSafeInteger(seq) || typeof more !== 'boolean') return undefined;
  const checked = changes.map((change) => {
    if (!isObject(change)) return undefined;
    const { type, key = '', rev, value } = change;
    const whole =
      (type === 'clear' || typeof key === 'string') &&
      /^\d+$/.test(String(rev)) &&
      (type !== 'put' || 'value' in change);
    return whole
      ? {
          type: String(type),
          key: String(key),
          rev: Number(rev),
          value: type === 'put' ? { json: value } : undefined,
        }
      : undefined;
  });
  return checked.every((change) => change !== undefined)
    ? { epoch: String(epoch), changes: checked, seq, more }
    : undefined;
}

const PAGE = 1000;

/** The cursor after the server's last change. */
export async function position(level1: Level1): Promise<string> {
  const { answer, error } = await level1.batch({}, []);
  if (!answer) throw error;
  return `${answer.epoch}.${answer.seq}`;
}

/**
 * The keys that were written since a cursor, and the cursor after them. `undefined` if every key may have been written: the server was
 * cleared or restored, or no longer knows that cursor.
 */
export async function changedSince(
  level1: Level1,
  from: string,
): Promise<{ readonly keys: ReadonlySet<string>; readonly position: string } | undefined> {
  const keys = new Set<string>();
  for (let since = from; ; ) {
    const page = await level1.read(`changes?since=${encodeURIComponent(since)}&limit=${PAGE}`, changesOf);
    if (!page.answer) {
      if (/^(cursor-gone|epoch-changed)$/.test(nameOf(page.type) ?? '')) return undefined;
      throw page.error;
    }
    const { epoch, changes, seq, more } = page.answer;
    if (changes.some(({ type }) => type === 'clear')) return undefined;
    for (const { key } of changes) keys.add(key);
    since = `${epoch}.${seq}`;
    if (!more) return { keys, position: since };
  }
}
