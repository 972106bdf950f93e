import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readBackup } from '../../src/backup-format/read.ts';
import { writeBackup, writeObject } from '../../src/backup-format/write.ts';
import { StorageError } from '../../src/core/errors.ts';
import { bytesOf, cutAt, HEADER, nodeDigest, paged, readWhole, sealed } from './backup-files.ts';

const RECORDS = [
  { key: 'a', text: '12345678901234567890' },
  { key: 'b"\\', text: '{"x":[1,"}\\""],"y":{}}' },
  { key: 'ключ', text: '"🗝é"' },
];
const LINES = [HEADER, ...RECORDS.map(({ key, text }) => `{"key":${JSON.stringify(key)},"value":${text}}`)];

/** The refusal of a file. It fails where the file is read. */
async function refusal(file: string | Uint8Array): Promise<StorageError> {
  const error: unknown = await readWhole(file).catch((error: unknown) => error);
  const shown = typeof file === 'string' ? file.slice(0, 300) : new TextDecoder().decode(file.slice(0, 300));
  expect(error, shown).toBeInstanceOf(StorageError);
  expect((error as StorageError).code).toBe('invalid-backup');
  expect((error as StorageError).message).toContain('Nothing should be imported');
  return error as StorageError;
}

async function expectRefused(file: string | Uint8Array, message: string | RegExp): Promise<void> {
  expect((await refusal(file)).message).toMatch(message);
}

const written = {
  'NDJSON with a checksum': () => bytesOf(writeBackup(paged(RECORDS), { keys: 3 }, nodeDigest())),
  'NDJSON without a checksum': async () =>
    new TextEncoder().encode(sealed(LINES).replace(/,"sha256":"\w+"/, '')),
  'NDJSON without records': () => bytesOf(writeBackup(paged([]), {}, nodeDigest())),
  'a bare object, a member a line': () => bytesOf(writeObject(paged(RECORDS))),
  'a bare object on one line': async () =>
    new TextEncoder().encode(JSON.stringify(Object.fromEntries(RECORDS.map((r) => [r.key, r.text])))),
};

describe('a file that is cut at any byte is refused', () => {
  for (const [name, write] of Object.entries(written)) {
    it(name, async () => {
      const bytes = await write();
      const isEnded = bytes.at(-1) === 0x0a;
      const whole = isEnded ? bytes.length - 1 : bytes.length;
      for (let length = 0; length < whole; length += 1) await refusal(bytes.slice(0, length));
      // Only the last line break is missing.
      expect((await readWhole(bytes.slice(0, whole))).summary).toEqual((await readWhole(bytes)).summary);
    });
  }

  it('however its bytes come', async () => {
    const bytes = await written['NDJSON with a checksum']();
    const property = fc.asyncProperty(
      fc.nat(bytes.length - 2),
      fc.array(fc.nat(bytes.length)),
      async (length, borders) => {
        const cut = cutAt(bytes.slice(0, length), borders);
        const reading = (async () => {
          for await (const page of readBackup(cut, nodeDigest())) expect(page.length).toBeGreaterThan(0);
        })();
        await expect(reading).rejects.toMatchObject({ code: 'invalid-backup' });
      },
    );
    await fc.assert(property);
  });

  it('says what is missing', async () => {
    const file = sealed(LINES);
    await expectRefused(file.slice(0, 10), /^The file ends at byte 10, .* is cut/);
    await expectRefused(`${HEADER}\n`, /^The file ends after line 1 and is cut: its last line/);
    await expectRefused(file.slice(0, file.indexOf('{"end"')), /^The file ends after line 4 and is cut/);
    await expectRefused(file.slice(0, file.indexOf('12345')), /^Line 2 is cut/);
    await expectRefused('{"a":"é"'.slice(0, -1), /^The file ends at byte 8, /);
  });
});

describe('a file that is damaged is refused', () => {
  it('with any bit of it flipped', async () => {
    const bytes = await written['NDJSON with a checksum']();
    for (let at = 0; at < bytes.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const flipped = bytes.slice();
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        await refusal(flipped);
      }
    }
  });

  it('with any byte of it missing or twice', async () => {
    const bytes = [...(await written['NDJSON with a checksum']())];
    // The last line break may be missing.
    for (let at = 0; at < bytes.length - 1; at += 1)
      await refusal(new Uint8Array(bytes.filter((_, i) => i !== at)));
    for (let at = 0; at < bytes.length; at += 1)
      await refusal(new Uint8Array(bytes.flatMap((byte, i) => (i === at ? [byte, byte] : byte))));
  });

  it('with lines in another order, twice, or missing', async () => {
    const lines = sealed(LINES).trim().split('\n');
    const [header, first, second, third, last] = lines;
    for (const order of [
      [header, second, first, third, last],
      [first, header, second, third, last],
      [header, first, first, third, last],
      [header, '', first, second, third, last],
    ])
      await refusal(`${order.join('\n')}\n`);
    await expectRefused([header, first, second, last].join('\n'), 'says 3 records, and there are 2');
    await expectRefused([header, first, first, second, third, last].join('\n'), 'and there are 4');
  });

  it('with anything behind the last line', async () => {
    const file = sealed(LINES);
    const last = file.slice(file.indexOf('{"end"'));
    for (const more of [last, '\n', ' ', '{"key":"d","value":1}\n', 'x', '\0', file])
      await expectRefused(file + more, /^Line 6 follows what said to be the last line/);
    await expectRefused(`${file.trim()} x\n`, /^Line 5 follows the end of the JSON object/);
  });

  it('with a last line that is not as it is written', async () => {
    const [body, sha256] = [`${LINES.join('\n')}\n`, /\w{64}/.exec(sealed(LINES))?.[0] ?? ''];
    const last = (line: string, message: string | RegExp): Promise<void> =>
      expectRefused(`${body}${line}\n`, message);
    await last('{"end":true}', 'says no number of records, and there are 3');
    await last('{"end":true,"count":2}', 'says 2 records, and there are 3');
    await last('{"end":true,"count":"3"}', 'says "3" records');
    await last('{"end":false,"count":3}', 'its "end" is not true');
    await last(`{"end":true,"count":3,"sha255":"${sha256}"}`, 'unknown member "sha255"');
    await last(`{"end":true,"count":3,"sha256":"${sha256.toUpperCase()}"}`, 'the backup is damaged');
    await last(`{"end":true,"count":3,"sha256":"${sha256.slice(1)}"}`, 'the backup is damaged');
    await last('{"end":true,"count":3,"sha256":null}', 'the backup is damaged');
    await last(`{"end":true,"count":3,"sha256":"${'0'.repeat(64)}"}`, 'the backup is damaged');
  });
});

describe('what is no backup is refused, saying what it is', () => {
  const page = '<!doctype html><title>Sign in</title>';
  const beginnings: ReadonlyArray<
    readonly [name: string, file: string | Uint8Array, message: string | RegExp]
  > = [
    ['an empty file', '', 'The file is empty'],
    ['white space', ' \r\n\t\n', 'The file is empty'],
    ['a byte order mark', '\uFEFF', 'The file is empty'],
    ['a page', page, /^The file begins with "<!doctype html>.*an HTML or XML page/],
    ['a text', 'Not found', 'begins with "Not found": it is no backup'],
    ['an array', '[{"key":"a"}]', 'it is no backup'],
    [
      'another format',
      `{"format":"dump","version":1}\n{"key":"a","value":1}\n`,
      /^Line 1 is no header.*"dump"/,
    ],
    ['a record first', '{"key":"a","value":1}\n{"end":true,"count":1}\n', /^Line 1 is no header/],
    ['UTF-16', new Uint8Array([0xff, 0xfe, 0x7b, 0]), 'it is no backup'],
  ];
  for (const [name, file, message] of beginnings) it(name, () => expectRefused(file, message));

  it('a newer version, saying that an upgrade reads it', async () => {
    const newer = HEADER.replace('1}', '2}');
    await expectRefused(sealed([newer]), /^Line 1 says version 2 .*: upgrade @codeforge\/storage/);
    for (const version of ['0', '"1"', 'null', '1.5e-3', '-1'])
      await expectRefused(sealed([HEADER.replace('1}', `${version}}`)]), /version of the format/);
    await expectRefused(sealed(['{"format":"codeforge-storage"}']), /version of the format/);
  });
});

describe('a malformed record is refused, saying where it is', () => {
  const deep = '['.repeat(201) + ']'.repeat(201);
  const values: ReadonlyArray<readonly [value: string, message: string]> = [
    ['', 'valid JSON'],
    ['01', 'valid JSON'],
    ['NaN', 'valid JSON'],
    ["'x'", 'valid JSON'],
    ['"\t"', 'valid JSON'],
    ['[1,]', 'valid JSON'],
    ['[1}', 'valid JSON'],
    ['1 2', 'valid JSON'],
    ['"\\x"', 'valid JSON'],
    ['1:2', 'valid JSON'],
    ['\u00a01', 'valid JSON'],
    [deep, 'is nested over 200 levels deep'],
    [`{"a":${deep.slice(1, -1)}}`, 'is nested over 200 levels deep'],
    ['['.repeat(100_000), 'is nested over 200 levels deep'],
  ];
  for (const [value, message] of values) {
    it(`a value such as ${value.slice(0, 20)}`, async () => {
      for (const line of [`{"key":"b","value":${value}}`, `{"value":${value} , "key":"b"}`]) {
        const { message: said } = await refusal(sealed([HEADER, '{"key":"a","value":1}', line]));
        expect(said).toMatch(/^Line 3 /);
        expect(said).toContain(message);
      }
      const { message: said } = await refusal(`{"a":1,"b":${value}}`);
      expect(said).toMatch(/^The JSON object, at byte \d+, /);
      expect(said).toContain(message);
    });
  }

  const lines: ReadonlyArray<readonly [line: string, message: string]> = [
    ['{"key":"b"}', 'has no "key" or no "value"'],
    ['{"value":1}', 'has no "key" or no "value"'],
    ['{}', 'has no "key" or no "value"'],
    ['{"key":5,"value":1}', 'has a key that cannot be stored'],
    ['{"key":"","value":1}', 'has a key that cannot be stored'],
    ['{"key":"\\u0000","value":1}', 'has a key that cannot be stored'],
    ['{"key":"\\ud800","value":1}', 'has a key that cannot be stored'],
    [`{"key":"${'é'.repeat(513)}","value":1}`, 'has a key that cannot be stored'],
    ['["b",1]', 'is no JSON object'],
    ['null', 'is no JSON object'],
    ['{"key":"b","value":1}{"key":"c","value":1}', 'follows the end of the JSON object'],
    ['{"key":"b","value":1,}', 'without a colon'],
    ['{,"key":"b","value":1}', 'without a colon'],
    ['{key:"b","value":1}', 'the name of a member'],
    ['{1:2,"key":"b","value":1}', 'a name that is no string'],
    ['{"key":"b","value":1]', 'a closing bracket'],
    ['{"key":"b","value":1,"more":x}', 'no valid JSON under "more"'],
    ['{"key":"b\tc","value":1}', 'no valid JSON under "key"'],
    ['{"key":"b","rev":"\t","value":1}', 'no valid JSON under "rev"'],
  ];
  for (const [line, message] of lines) {
    it(`a line such as ${line.slice(0, 50)}`, async () => {
      const { message: said } = await refusal(sealed([HEADER, '', '{"key":"a","value":1}', line]));
      expect(said).toMatch(/^Line 4 /);
      expect(said).toContain(message);
    });
  }

  it('bytes that are no UTF-8', async () => {
    for (const bad of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
      const file = Buffer.concat([
        Buffer.from(`${HEADER}\n\n{"key":"`),
        Buffer.from(bad),
        Buffer.from('"}\n'),
      ]);
      await expectRefused(new Uint8Array(file), /^Line 3 is no UTF-8/);
      const object = Buffer.concat([Buffer.from('{"é":"'), Buffer.from(bad), Buffer.from('"}')]);
      await expectRefused(new Uint8Array(object), /^Byte [78] is no UTF-8/);
    }
  });

  it('a bare object, naming the byte', async () => {
    await expectRefused('{"é":1,"b":tru}', /^The JSON object, at byte 15, holds no valid JSON under "b"/);
    await expectRefused('{"a":1}{"b":1}', /^The JSON object, at byte 7, follows the end/);
    await expectRefused('{"a":1,"":2}', /^Member 2 has a key that cannot be stored/);
    await expectRefused('{"a":1,}', 'without a colon');
    await expectRefused('{ \u00a0}', 'without a colon');
    const open = Buffer.concat([Buffer.from('{"a":1}'), Buffer.from([0xc3])]);
    await expectRefused(new Uint8Array(open), /^The file ends at byte 8, inside a character/);
  });
});
