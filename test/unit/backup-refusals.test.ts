import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeObject } from '../../src/backup-format/json-object.ts';
import { writeNdjson } from '../../src/backup-format/ndjson.ts';
import { readBackup } from '../../src/backup-format/reader.ts';
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
  expect((error as StorageError).message).toMatch(/Do not import this backup|--leave-out/);
  return error as StorageError;
}

async function expectRefused(file: string | Uint8Array, message: string | RegExp): Promise<void> {
  expect((await refusal(file)).message).toMatch(message);
}

const written = {
  'NDJSON with a checksum': () => bytesOf(writeNdjson(paged(RECORDS), { keys: 3 }, nodeDigest())),
  'NDJSON without a checksum': async () =>
    new TextEncoder().encode(sealed(LINES).replace(/,"sha256":"\w+"/, '')),
  'NDJSON without records': () => bytesOf(writeNdjson(paged([]), {}, nodeDigest())),
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
    await expectRefused(file.slice(0, 10), /^The file is cut: it ends at byte 10/);
    await expectRefused(`${HEADER}\n`, /^The file is cut: it ends after line 1, and the last line/);
    await expectRefused(file.slice(0, file.indexOf('{"end"')), /^The file is cut: it ends after line 4/);
    await expectRefused(file.slice(0, file.indexOf('12345')), /^Line 2 is cut/);
    await expectRefused('{"a":"é"'.slice(0, -1), /^The file is cut: it ends at byte 8, /);
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
    // The last line break may be missing, and blank lines may follow it.
    for (let at = 0; at < bytes.length - 1; at += 1) {
      await refusal(new Uint8Array(bytes.filter((_, i) => i !== at)));
      await refusal(new Uint8Array(bytes.flatMap((byte, i) => (i === at ? [byte, byte] : byte))));
    }
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
    await expectRefused([header, first, second, last].join('\n'), 'says 3 records, but the file has 2');
    await expectRefused([header, first, first, second, third, last].join('\n'), 'but the file has 4');
  });

  it('with anything behind the last line', async () => {
    const file = sealed(LINES);
    const last = file.slice(file.indexOf('{"end"'));
    for (const more of [last, '{"key":"d","value":1}\n', 'x', '\0', file])
      await expectRefused(file + more, /^Line 6 follows the last line of the backup/);
    await expectRefused(`${file.trim()} x\n`, /^Line 5 is not valid JSON/);
  });

  it('with a last line that is not as it is written', async () => {
    const [body, sha256] = [`${LINES.join('\n')}\n`, /\w{64}/.exec(sealed(LINES))?.[0] ?? ''];
    const last = (line: string, message: string | RegExp): Promise<void> =>
      expectRefused(`${body}${line}\n`, message);
    await last('{"end":true}', 'says no records, but the file has 3');
    await last('{"end":true,"count":2}', 'says 2 records, but the file has 3');
    await last('{"end":true,"count":"3"}', 'says "3" records');
    await last('{"end":false,"count":3}', '"end" is not true');
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
    ['a text', 'Not found', 'begins with "Not found": it is not a backup'],
    ['an array', '[{"key":"a"}]', 'it is not a backup'],
    [
      'another format',
      `{"format":"dump","version":1}\n{"key":"a","value":1}\n`,
      /^Line 1 is not the header.*"dump"/,
    ],
    ['a record first', '{"key":"a","value":1}\n{"end":true,"count":1}\n', /^Line 1 is not the header/],
    ['UTF-16', new Uint8Array([0xff, 0xfe, 0x7b, 0]), 'it is not a backup'],
  ];
  for (const [name, file, message] of beginnings) it(name, () => expectRefused(file, message));

  it('a newer version, saying that an upgrade reads it', async () => {
    const newer = HEADER.replace('1}', '2}');
    await expectRefused(sealed([newer]), /^Line 1 has version 2 .*: upgrade @codeforge\/storage/);
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
    [deep, 'deeper than 200 levels'],
    [`{"a":${deep.slice(1, -1)}}`, 'deeper than 200 levels'],
    ['['.repeat(100_000), ''],
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
    ['["b",1]', 'is not a JSON object'],
    ['null', 'is not a JSON object'],
    ['{"key":"b","value":1}{"key":"c","value":1}', 'is not valid JSON'],
    ['{"key":"b","value":1,}', 'is not valid JSON'],
    ['{,"key":"b","value":1}', 'is not valid JSON'],
    ['{key:"b","value":1}', 'is not valid JSON'],
    ['{1:2,"key":"b","value":1}', 'is not valid JSON'],
    ['{"key":"b","value":1]', 'is not valid JSON'],
    ['{"key":"b","value":1,"more":x}', 'is not valid JSON'],
    ['{"key":"b\tc","value":1}', 'is not valid JSON'],
    ['{"key":"b","rev":"\t","value":1}', 'is not valid JSON'],
  ];
  for (const [line, message] of lines) {
    it(`a line such as ${line.slice(0, 50)}`, async () => {
      const { message: said } = await refusal(sealed([HEADER, '', '{"key":"a","value":1}', line]));
      expect(said).toMatch(/^Line 4 /);
      expect(said).toContain(message);
    });
  }

  it('bytes that are not UTF-8', async () => {
    for (const bad of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
      const file = Buffer.concat([
        Buffer.from(`${HEADER}\n\n{"key":"`),
        Buffer.from(bad),
        Buffer.from('"}\n'),
      ]);
      await expectRefused(new Uint8Array(file), /^Line 3 is not UTF-8/);
      const object = Buffer.concat([Buffer.from('{"é":"'), Buffer.from(bad), Buffer.from('"}')]);
      await expectRefused(new Uint8Array(object), /^Byte [78] is not UTF-8/);
    }
  });

  it('a bare object, naming the byte', async () => {
    await expectRefused(
      '{"é":1,"b":tru}',
      /^The JSON object, at byte 15, has invalid JSON as the value of "b"/,
    );
    await expectRefused('{"a":1}{"b":1}', /^The JSON object, at byte 7, has text after/);
    await expectRefused('{"a":1,"":2}', /^Member 2 has a key that cannot be stored/);
    await expectRefused('{"a":1,}', 'a member has no colon');
    await expectRefused('{ \u00a0}', 'a member has no colon');
    const open = Buffer.concat([Buffer.from('{"a":1}'), Buffer.from([0xc3])]);
    await expectRefused(new Uint8Array(open), /^The file is cut: it ends at byte 8, inside a character/);
  });
});
