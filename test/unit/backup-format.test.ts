import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../src/backup-format/digest.ts';
import type { BackupRecord } from '../../src/backup-format/format.ts';
import { backupFileName } from '../../src/backup-format/format.ts';
import { writeObject } from '../../src/backup-format/json-object.ts';
import { writeNdjson } from '../../src/backup-format/ndjson.ts';
import { readBackup } from '../../src/backup-format/reader.ts';
import { bytesOf, cutAt, HEADER, nodeDigest, paged, read, readWhole, sealed } from './backup-files.ts';

const text = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

const RECORDS: readonly BackupRecord[] = [
  { key: 'a', text: '12345678901234567890' },
  { key: 'a"\\\n\u0001{', text: '1.10' },
  { key: 'beyond doubles', text: '[1e400,-1E-400,{"x":1,"x":2}]' },
  { key: '__proto__', text: '{"b":1,"a":{"a":2},"a":-0.0E+5}' },
  { key: 'end', text: '"\\\\\\"\\u00e9\\/ {[,:\\\\"' },
  { key: 'ключ', text: '{"$cf":[["Date","2026-11-25T07:00:00.000Z"]]}' },
  { key: '🗝', text: '["🗝","\u2028",[ ],{ } , true,null]' },
];

const key = fc
  .oneof(fc.string({ unit: 'grapheme', minLength: 1 }), fc.string({ unit: 'binary', minLength: 1 }))
  .filter((drawn) => !drawn.includes('\0'));
const value = fc.record({ json: fc.jsonValue(), space: fc.constantFrom(0, 1, '\t') });
const records = fc.array(
  fc.record({
    key,
    text: value.map(({ json, space }) => JSON.stringify(json, undefined, space)),
  }),
);
const borders = fc.array(fc.nat(3000));

describe('writing', () => {
  it('NDJSON is a header, a record a line, and a last line with count and checksum', async () => {
    const timestamp = '2026-11-25T07:00:00.000Z';
    const records = [
      { key: 'a', text: '1' },
      { key: 'b', text: '{\r\n  "x": 1\n}' },
    ];
    const header = { timestamp, keys: 2, epoch: 'k3f9', seq: 8124 };
    const file = text(await bytesOf(writeNdjson(paged(records), header, nodeDigest())));
    const lines = [
      `{"format":"codeforge-storage","version":1,"timestamp":"${timestamp}","keys":2,"epoch":"k3f9","seq":8124}`,
      '{"key":"a","value":1}',
      '{"key":"b","value":{    "x": 1 }}',
    ];
    expect(file).toBe(sealed(lines));
    expect((await readWhole(file)).summary).toEqual({
      form: 'ndjson',
      header: { version: 1, ...header },
      count: 2,
      checksum: 'verified',
    });
  });

  it('a bare object is one that JSON.parse reads', async () => {
    const file = text(await bytesOf(writeObject(paged(RECORDS))));
    const parsed: unknown = JSON.parse(file);
    expect(Object.entries(parsed as object)).toEqual(RECORDS.map((r) => [r.key, JSON.parse(r.text)]));
    expect(text(await bytesOf(writeObject(paged([]))))).toBe('{\n}\n');
  });

  it('comes in pieces of about 64 KiB', async () => {
    const many = Array.from({ length: 3000 }, (_, i) => ({ key: `k${i}`, text: `"${'x'.repeat(100)}"` }));
    for (const written of [writeNdjson(paged(many), {}, nodeDigest()), writeObject(paged(many))]) {
      const sizes: number[] = [];
      for await (const piece of written) sizes.push(piece.length);
      expect(Math.max(...sizes)).toBeLessThan(66_000);
      expect(sizes.length).toBeLessThan(10);
    }
  });

  it('asks for a page only after what came before it was taken', async () => {
    const page = [{ key: 'k', text: `"${'x'.repeat(70_000)}"` }];
    let asked = 0;
    async function* pages(): AsyncGenerator<BackupRecord[]> {
      for (; asked < 50; ) {
        asked += 1;
        yield page;
      }
    }
    for (const write of [() => writeNdjson(pages(), {}, nodeDigest()), () => writeObject(pages())]) {
      asked = 0;
      const written = write();
      for (let taken = 1; taken <= 5; taken += 1) {
        await written.next();
        // Whatever could run by itself has run.
        await new Promise(setImmediate);
        expect(asked).toBe(taken);
      }
      await written.return();
      expect(asked).toBe(5);
    }
  });

  it('the name of the file has the local date', () => {
    const at = new Date(2026, 0, 5, 23, 59);
    expect(backupFileName(at)).toBe('codeforge-backup-2026-01-05.ndjson');
    expect(backupFileName(at, 'json')).toBe('codeforge-backup-2026-01-05.json');
  });
});

describe('what is written is read as it was, wherever the bytes are cut', () => {
  it('as NDJSON, verified', async () => {
    const property = fc.asyncProperty(records, borders, async (records, borders) => {
      const bytes = await bytesOf(writeNdjson(paged(records, 3), {}, nodeDigest()));
      const found = await read(cutAt(bytes, borders));
      // A line break between tokens has become a space.
      const expected = records.map(({ key, text }) => ({ key, text: text.replace(/\n/g, ' ') }));
      expect(found.records).toEqual(expected);
      expect(found.summary).toMatchObject({ count: records.length, checksum: 'verified' });
    });
    await fc.assert(property);
  });

  it('as a bare object', async () => {
    const property = fc.asyncProperty(records, borders, async (records, borders) => {
      const bytes = await bytesOf(writeObject(paged(records, 3)));
      const found = await read(cutAt(bytes, borders));
      expect(found.records).toEqual(records);
      expect(found.summary).toEqual({ form: 'json', count: records.length, checksum: 'absent' });
    });
    await fc.assert(property);
  });

  it('with every digit, escape and order of members, a byte at a time', async () => {
    for (const written of [writeNdjson(paged(RECORDS), {}, nodeDigest()), writeObject(paged(RECORDS))]) {
      const bytes = await bytesOf(written);
      expect((await read(cutAt(bytes, [...bytes.keys()]))).records).toEqual(RECORDS);
    }
  });

  it('with the digest for browsers as with that of Node', async () => {
    const ours = await bytesOf(writeNdjson(paged(RECORDS), {}, sha256()));
    expect(text(ours)).toBe(text(await bytesOf(writeNdjson(paged(RECORDS), {}, nodeDigest()))));
    expect((await read(cutAt(ours, []), sha256())).summary.checksum).toBe('verified');
  });

  it('any bytes have the same digest in browsers as in Node, in any pieces', () => {
    const property = fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (parts) => {
      const [ours, theirs] = [sha256(), nodeDigest()];
      for (const part of parts) ours.update(part);
      theirs.update(new Uint8Array(Buffer.concat(parts)));
      expect(ours.hex()).toBe(theirs.hex());
    });
    fc.assert(property);
  });

  it('values of 200 levels and of megabytes', async () => {
    const deep = '['.repeat(200) + ']'.repeat(200);
    const large = JSON.stringify('\\"ö'.repeat(1_000_000));
    const records = [
      { key: 'deep', text: deep },
      { key: 'large', text: large },
    ];
    for (const written of [writeNdjson(paged(records), {}, nodeDigest()), writeObject(paged(records))])
      expect((await readWhole(await bytesOf(written))).records).toEqual(records);
  });
});

describe('reading', () => {
  it('a page has at most 500 records and 1 Mi characters, or one larger record', async () => {
    const small = Array.from({ length: 1234 }, (_, i) => ({ key: `k${i}`, text: '0' }));
    const large = Array.from({ length: 5 }, (_, i) => ({ key: `k${i}`, text: `"${'x'.repeat(600_000)}"` }));
    for (const write of [
      (records: readonly BackupRecord[]) => writeNdjson(paged(records), {}, nodeDigest()),
      (records: readonly BackupRecord[]) => writeObject(paged(records)),
    ]) {
      const sizes = async (records: readonly BackupRecord[]): Promise<number[]> =>
        (await readWhole(await bytesOf(write(records)))).pages.map((page) => page.length);
      expect(await sizes(small)).toEqual([500, 500, 234]);
      expect(await sizes(large)).toEqual([1, 1, 1, 1, 1]);
      expect(await sizes([])).toEqual([]);
    }
  });

  it('records may have their members in any order, more of them, twice, and spaces', async () => {
    const lines = [
      '{"key":"a","value":1.10}',
      '{"key":"b","rev":"70","value":1.10}',
      '{"value":1.10,"key":"c"}',
      ' { "key" : "d" , "value" : 1.10 , "more" : { "key" : "no" } } ',
      '{"key":"e","value":1.10,"rev":"70"}',
      '{"key":"no","value":0,"value":1.10,"key":"f"}',
      '{"end":true,"key":"g","value":1.10}',
      '{"k\\u0065y":"h\\"","value":1.10}',
      '{"key":"i\\\\","value":1.10}',
      '{"key":"j","rev":"x\\"y","value":1.10}',
    ];
    const { records } = await readWhole(sealed([HEADER, ...lines]));
    const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h"', 'i\\', 'j'];
    const revs: Record<string, string> = { b: '70', e: '70', j: 'x"y' };
    expect(records).toEqual(
      keys.map((key) => (revs[key] ? { key, text: '1.10', rev: revs[key] } : { key, text: '1.10' })),
    );
  });

  it('keys may come unsorted and twice, in both forms', async () => {
    const expected = ['b', 'a', 'b'].map((key, i) => ({ key, text: String(i) }));
    const lines = expected.map(({ key, text }) => `{"key":"${key}","value":${text}}`);
    expect((await readWhole(sealed([HEADER, ...lines]))).records).toEqual(expected);
    expect((await readWhole('{"b":0,"a":1,"b":2}')).records).toEqual(expected);
  });

  it('empty lines, CRLF and a byte order mark are passed over, and count in the checksum', async () => {
    const lines = ['', HEADER, '', '{"key":"a","value":1}\r', ' \t\r', '{"key":"b","value":"x" }\r'];
    for (const mark of ['', '\uFEFF']) {
      const whole = sealed([mark + lines.join('\n')]).replace('"count":0', '"count":2');
      const { records, summary } = await readWhole(whole);
      expect(records).toEqual([
        { key: 'a', text: '1' },
        { key: 'b', text: '"x"' },
      ]);
      expect(summary.checksum).toBe('verified');
      await expect(readWhole(whole.replace(' \t\r', ''))).rejects.toThrow('SHA-256');
    }
    await expect(readWhole(`\uFEFF${sealed([HEADER])}`)).rejects.toThrow('SHA-256');
    expect((await readWhole('\uFEFF \r\n{ "a" : 1 }\r\n')).records).toEqual([{ key: 'a', text: '1' }]);
  });

  it('the last line may lack its line break and the checksum, and blank lines may follow it', async () => {
    const file = `${HEADER}\n{"key":"a","value":1}\n{"end":true,"count":1}`;
    for (const end of ['', '\n', '\r\n', '\n\n \r\n']) {
      const { summary } = await readWhole(file + end);
      expect(summary).toEqual({ form: 'ndjson', header: { version: 1 }, count: 1, checksum: 'absent' });
    }
  });

  it('a bare object may have any keys, those of a header and of a last line too', async () => {
    for (const keys of [['format', 'version'], ['key', 'value'], ['end', 'count'], []]) {
      const file = `{${keys.map((name) => `"${name}":"x"`).join()}}`;
      for (const end of ['', '\n', ' \n\n'])
        expect((await readWhole(file + end)).records.map(({ key }) => key)).toEqual(keys);
    }
    const entries = [
      { key: 'format', text: '"codeforge-storage"' },
      { key: 'version', text: '1' },
    ];
    expect((await readWhole(await bytesOf(writeObject(paged(entries))))).records).toEqual(entries);
  });

  it('what reads no further ends the source', async () => {
    const many = Array.from({ length: 2000 }, (_, i) => ({ key: `k${i}`, text: '0' }));
    const bytes = await bytesOf(writeObject(paged(many)));
    let isEnded = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* cutAt(bytes, [20_000]);
      } finally {
        isEnded = true;
      }
    }
    for await (const page of readBackup(source(), nodeDigest())) {
      expect(page.length).toBe(500);
      break;
    }
    expect(isEnded).toBe(true);
  });
});
