/**
 * Bodies as an attacker, a broken client or a lying proxy would send them: right in most of their members, so that they get
 * deep, and wrong in some.
 *
 * They are texts, not objects: duplicate members, lone surrogates and numbers that no double holds exist in texts only.
 */
import type { Random } from './random.ts';

/** What earlier answers gave away: with the real thing a request gets further. */
export interface Loot {
  readonly revisions: string[];
  readonly epochs: string[];
  readonly cursors: string[];
}

const KEYS = [
  ...[
    'a',
    'b',
    'c',
    'keys',
    'export',
    '__proto__',
    'constructor',
    'polluted',
    'toString',
    'ключ',
    '🗝',
    ' ',
    'a/b',
  ],
  ...[
    '..',
    '%2F',
    '\\ud800',
    '\\u0000',
    '',
    '\\uffff',
    'hasOwnProperty',
    'value',
    'n'.repeat(1024),
    'n'.repeat(1025),
  ],
];
const NUMBERS = [
  ...[
    '0',
    '-0',
    '1',
    '2',
    '41',
    '-1',
    '1.5',
    '1e400',
    '-1e400',
    '9007199254740993',
    '1E2',
    '0.1e-7',
    '01',
    '+1',
    '.5',
  ],
  ...['NaN', 'Infinity', '0x10', `${'9'.repeat(400)}`, `1e${'9'.repeat(30)}`, '18446744073709551616'],
];
const STRINGS = [
  ...[
    '""',
    '"a"',
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\u0000"',
    '"é🗝"',
    '"\\x"',
    '"\\u12"',
    '"unended',
    "'a'",
  ],
  ...['"\u2028"', '"\u0001"', '"__proto__"', '"null"', '"8123"', '"-1"', `"${'s'.repeat(5000)}"`],
];
const CLIENTS = ['c'.repeat(15), 'c'.repeat(16), 'd'.repeat(64), 'e'.repeat(65), 'with spaces are wrong', ''];

/** A key, between quotes and escaped as JSON; most of them portable. */
const keyText = (random: Random): string => `"${random.pick(KEYS)}"`;

/** A key, unescaped. */
export const plainKey = (random: Random): string => random.pick(KEYS.filter((key) => !key.startsWith('\\')));

/** Any JSON text, and some that is none. */
export function jsonText(random: Random, depth = 4): string {
  if (random.chance(0.01)) return nested(random, random.pick([150, 200, 201, 5000, 100_000]));
  const leaf = random.below(depth > 0 ? 6 : 4);
  if (leaf === 0) return random.pick(['null', 'true', 'false', 'nul', 'undefined', '']);
  if (leaf === 1) return random.pick(NUMBERS);
  if (leaf < 4) return random.pick(STRINGS);
  const length = random.below(4);
  const items = Array.from({ length }, () => jsonText(random, depth - 1));
  return leaf === 4
    ? `[${items.join(',')}]`
    : objectText(
        random,
        items.map((item) => [keyText(random), item]),
      );
}

function nested(random: Random, levels: number): string {
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
  ] as const);
  return `${open.repeat(levels)}1${close.repeat(random.chance(0.8) ? levels : random.below(levels))}`;
}

/** A value that belongs there: a right one, most often. */
const value = (random: Random): string =>
  random.chance(0.8) ? random.pick(['1', '{"a":[1,{"b":null}]}', '"x"', 'null', '1.10']) : jsonText(random);

type Members = ReadonlyArray<readonly [quotedName: string, text: string]>;

/** An object of which now and then a member is missing, twice there, of another type or of another name. */
function objectText(random: Random, members: Members): string {
  const damaged = members.flatMap(([name, text]) => {
    if (random.chance(0.95)) return [[name, text]];
    const other = [name, jsonText(random, 2)];
    const renamed = [random.pick(['"__proto__"', '"constructor"', '"prototype"', keyText(random)]), text];
    return random.pick([[], [other], [other, [name, text]], [[name, text], other], [renamed]]);
  });
  const space = random.chance(0.05) ? random.pick([' ', '\n\t ', '\ufeff']) : '';
  return `{${damaged.map(([name, text]) => `${name}${space}:${space}${text}`).join(`,${space}`)}}`;
}

/** The body of a PUT of level 0. */
export const putBody = (random: Random): string => objectText(random, [['"value"', value(random)]]);

/** The body of an import of level 0. */
export const importBody = (random: Random): string =>
  objectText(
    random,
    Array.from({ length: random.below(6) }, () => [keyText(random), value(random)] as const),
  );

function revision(random: Random, loot: Loot): string {
  if (loot.revisions.length > 0 && random.chance(0.6)) return `"${random.pick(loot.revisions)}"`;
  return random.pick(['null', '"0"', '"1"', '"-1"', '"01"', `"${'9'.repeat(40)}"`, '""', '1', '"1.5"']);
}

function operation(random: Random, loot: Loot): string {
  const op = random.pick(['get', 'head', 'put', 'put', 'delete', 'check', 'clear', 'get']);
  const members: Array<readonly [string, string]> = [['"op"', `"${op}"`]];
  if (op !== 'clear') members.push(['"key"', keyText(random)]);
  if (op === 'put') members.push(['"value"', value(random)]);
  if (random.chance(op === 'check' ? 0.9 : 0.3))
    members.push([op === 'clear' ? '"ifSeq"' : '"ifRev"', revision(random, loot)]);
  return objectText(random, members);
}

/** A client of this fuzzer, which sends most mutations once, and some again. */
export interface FuzzClient {
  id: string;
  next: number;
}

/** A new client. */
export const newClient = (random: Random): FuzzClient => ({ id: random.bytes(16).toString('hex'), next: 1 });

/** The body of a batch. */
export function batchBody(random: Random, loot: Loot, client: FuzzClient): string {
  const length = random.chance(0.02) ? random.pick([499, 500, 501, 3000]) : random.below(6);
  const numbered = random.chance(0.6);
  if (random.chance(0.1)) Object.assign(client, newClient(random));
  const ops = Array.from({ length }, () => operation(random, loot));
  const members: Array<readonly [string, string]> = [];
  const isVoid = numbered && random.chance(0.1);
  if (!isVoid || random.chance(0.05)) members.push(['"ops"', `[${ops.join(',')}]`]);
  if (numbered) {
    const m = Math.max(0, client.next - (random.chance(0.3) ? random.below(5) : 0));
    client.next += random.pick([0, 1, 1, 1, 1000]);
    members.push([isVoid ? '"void"' : '"m"', String(m)]);
    if (random.chance(0.3))
      members.push(['"settled"', String(Math.max(0, m - random.pick([0, 1, 2, 3, 100])))]);
  }
  if (numbered || random.chance(0.1)) {
    members.unshift(['"client"', `"${random.chance(0.95) ? client.id : random.pick(CLIENTS)}"`]);
  }
  if (random.chance(0.02)) members.push(['"account"', jsonText(random, 2)]);
  if (random.chance(0.3)) members.push(['"atomic"', random.pick(['true', 'true', 'false', '1'])]);
  if (random.chance(0.3)) members.push(['"epoch"', `"${random.pick([...loot.epochs, 'none'])}"`]);
  return objectText(random, members);
}

/** The body of an import of level 1. */
export function ndjsonBody(random: Random): string {
  const count = random.below(6);
  const lines = Array.from({ length: count }, () =>
    objectText(random, [
      ['"key"', keyText(random)],
      ['"rev"', '"70"'],
      ['"value"', value(random)],
    ]),
  );
  const first = objectText(random, [
    ['"format"', '"codeforge-storage"'],
    ['"version"', '1'],
    ['"epoch"', '"k3f9"'],
    ['"seq"', '8123'],
    ['"timestamp"', '"2026-01-01T00:00:00.000Z"'],
  ]);
  const last = objectText(random, [
    ['"end"', 'true'],
    ['"count"', String(count)],
  ]);
  const all = [first, ...lines, last];
  if (random.chance(0.1)) all.splice(random.below(all.length), 1);
  if (random.chance(0.1))
    all.splice(random.below(all.length), 0, random.pick(['', ' ', 'null', '[]', first, last]));
  return (
    all.join(random.pick(['\n', '\n', '\n', '\r\n', '\n\n'])) + random.pick(['\n', '\n', '', '\n\n', '\n{'])
  );
}

/** The same with some of its bytes changed, taken out, doubled or cut off. */
export function damage(random: Random, bytes: Buffer): Buffer {
  let result: Buffer = bytes;
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const at = random.below(result.length + 1);
    const length = random.below(random.pick([2, 8, 64]));
    const [before, taken, after] = [
      result.subarray(0, at),
      result.subarray(at, at + length),
      result.subarray(at + length),
    ];
    result = random.pick([
      () => Buffer.concat([before, random.bytes(taken.length), after]),
      () => Buffer.concat([before, after]),
      () => Buffer.concat([before, taken, taken, after]),
      () =>
        Buffer.concat([
          before,
          Buffer.from(random.pick(['"', '{', '}', '\\', '\r\n', '\0', ':', ','])),
          taken,
          after,
        ]),
      () => before,
    ])();
  }
  return result;
}
