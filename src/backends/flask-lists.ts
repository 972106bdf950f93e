/**
 * Keys, entries and counts of a server of level 1 (docs/contract.md, section 6). Loaded when an app asks for them.
 */
import type { Protocol } from '../core/backend.ts';
import { StorageError } from '../core/errors.ts';
import { compareKeys } from '../core/order.ts';
import type { Sent } from './flask-ask.ts';
import type { Delivery } from './flask-delivery.ts';
import type { JsonObject } from './flask-http.ts';
import type { Delivered, Level1 } from './flask-level1.ts';
import { entryOf, errorOf } from './flask-results.ts';

/** Keys and entries of a page. */
const KEYS = 10_000;
const ENTRIES = 500;

/** What lists and counts over `level1`. */
export function createLists(level1: Level1, delivery: Delivery): Omit<Protocol, 'run'> {
  return {
    async keys(prefix) {
      const keys: string[] = [];
      for await (const page of pagesOf(level1, prefix, KEYS)) keys.push(...page);
      return keys;
    },
    async *entries(prefix) {
      for await (const keys of pagesOf(level1, prefix, ENTRIES)) {
        const read = await delivery.deliver(keys.map((key) => ({ op: 'get', key })));
        const entries: Array<readonly [string, unknown]> = [];
        for (const [i, key] of keys.entries()) {
          const result = read[i] as Delivered;
          if (result instanceof StorageError) throw result;
          // Deleted since it was listed.
          if (result.status === 404) continue;
          const entry = await entryOf(key, result);
          if (entry === undefined) throw await errorOf('get', key, result);
          entries.push([key, entry.value]);
        }
        yield entries;
      }
    },
    stats: async () =>
      answerOf(
        await level1.read('stats', ({ keys, sizeBytes }) =>
          isCount(keys) && isCount(sizeBytes) ? { keys, sizeBytes } : undefined,
        ),
      ),
  };
}

/** What no key holds, or more of a prefix than a URL should. */
const BEYOND_URL = /[\0\p{Surrogate}].*$/su;
const PREFIX_UNITS = 400;

/** The keys under a prefix in pages. Only what a URL can say of the prefix is asked for; the rest is looked at here. */
async function* pagesOf(level1: Level1, prefix: string, limit: number): AsyncGenerator<string[]> {
  const asked = prefix.slice(0, PREFIX_UNITS).replace(BEYOND_URL, '');
  let after: string | undefined;
  do {
    const query = [
      asked === '' ? '' : `prefix=${encodeURIComponent(asked)}&`,
      after === undefined ? '' : `after=${encodeURIComponent(after)}&`,
    ].join('');
    const { keys, next } = answerOf(
      await level1.read(`keys?${query}limit=${limit}`, (json) => pageOf(json, asked, after)),
    );
    yield keys.filter((key) => key.startsWith(prefix));
    after = next;
  } while (after !== undefined);
}

function answerOf<T>(sent: Sent<T>): T {
  if (sent.error) throw sent.error;
  return sent.answer;
}

/** A page of keys, and where the next one begins. */
interface KeyPage {
  readonly keys: readonly string[];
  readonly next: string | undefined;
}

function pageOf({ keys: list, next }: JsonObject, prefix: string, after = ''): KeyPage | undefined {
  if (!Array.isArray(list)) return undefined;
  const keys: string[] = [];
  let last = after;
  for (const item of list) {
    const key: unknown = item?.key;
    // Strictly ascending, so that a walk always ends.
    if (typeof key !== 'string' || !key.startsWith(prefix) || compareKeys(key, last) <= 0) return undefined;
    keys.push(key);
    last = key;
  }
  if (next === null) return { keys, next: undefined };
  return typeof next === 'string' && compareKeys(next, last) >= 0 && next !== after
    ? { keys, next }
    : undefined;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
