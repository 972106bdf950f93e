/**
 * Keys, and texts of an exact size that say which key and which version they are.
 *
 * A text is flat in memory when it is handed out, so that no contestant pays for putting it together.
 */

export const keyOf = (index: number): string => `key-${String(index).padStart(6, '0')}`;

export const keysOf = (count: number): string[] => Array.from({ length: count }, (_, index) => keyOf(index));

/** Text that hardly compresses. */
const POOL_LENGTH = 1 << 18;
const pool = poolOf(POOL_LENGTH);

/** The value of a key in a version: as many ASCII characters as `size` says. */
export function textOf(index: number, version: number, size = 1000): string {
  const head = `${keyOf(index)}|${version}|`;
  const from = (index * 7919 + version * 104_729) % (POOL_LENGTH - size);
  return JSON.parse(JSON.stringify(head + pool.slice(from, from + size - head.length)));
}

/** A record as an app would store it, of about 1 KB. */
export function recordOf(index: number, version: number): object {
  return {
    id: index,
    key: keyOf(index),
    version,
    title: textOf(index, version, 60),
    tags: ['work', 'later', String(version)],
    done: index % 2 === 0,
    position: { x: index / 7, y: version / 3 },
    history: Array.from({ length: 6 }, (_, at) => ({ at: at * 1000 + version, by: `user-${at}` })),
    body: textOf(index, version, 600),
  };
}

/** xorshift32: the same text in each run. */
function poolOf(length: number): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  let state = 2463534242;
  let text = '';
  for (let i = 0; i < length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    text += letters[state & 63];
  }
  return text;
}
