/** Clauses 8.6 and 8.7: the checksum of exports and imports. */
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { ensure, json, refused, same, status } from './expectations.ts';
import { expectCounted, type Imported, importing, line } from './importing.ts';
import { EXACT_TEXTS } from './modern-level0.ts';
import { checksThatNeed } from './runner.ts';
import type { Subject } from './subject.ts';

const { check, checks } = checksThatNeed('contract', 'ndjson', 'checksum');

export { checks as checksumChecks };

const HEADER = '{"format":"codeforge-storage","version":1}';

const sha256 = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex');

/** Text that ends with a line break, and the last line to it. */
const closed = (text: string, count: number, checksum: unknown = sha256(text)): string =>
  `${text}${JSON.stringify({ end: true, count, sha256: checksum })}\n`;

const aRecord = `${HEADER}\n${line('a', 'é🗝')}\n`;

/** What was exported: the bytes before the last line, and what that says. */
async function exported(
  server: Subject,
  headers: Record<string, string>,
): Promise<{ before: Uint8Array; end: Record<string, unknown> }> {
  const answer = status(await server.send('GET', '/api/v1/export', { timeout: 30_000, headers }), 200);
  const bytes = answer.headers['content-encoding'] === 'gzip' ? gunzipSync(answer.bytes) : answer.bytes;
  const at = bytes.lastIndexOf('\n', -2) + 1;
  return { before: bytes.subarray(0, at), end: JSON.parse(bytes.subarray(at).toString()) };
}

check('8.6', 'the last line of an export has the SHA-256 of the bytes before it', async (server) => {
  const states: ReadonlyArray<readonly [what: string, fill: () => Promise<unknown>]> = [
    ['nothing', async () => {}],
    ['exact texts', () => server.importObject(`{${EXACT_TEXTS.map((text, i) => `"${i}":${text}`).join()}}`)],
    ['keys and values beyond ASCII', () => server.put('ключ 🗝\n', '"é\u2028\u{1F5DD}"')],
    ['line breaks in a value', () => server.put('broken', '{\r\n"a":\n[1,\r2]}')],
    ['many keys', () => server.importObject(JSON.stringify(manyKeys()))],
    ['a value of 1 MiB', () => server.put('large', `"${'é'.repeat(512 * 1024)}"`)],
  ];
  for (const [what, fill] of states) {
    await fill();
    for (const encoding of ['identity', 'gzip']) {
      const { before, end } = await exported(server, { 'accept-encoding': encoding });
      same(end.sha256, sha256(before), `\`sha256\` of an export of ${what} (${encoding})`);
    }
  }
});

check('8.6', 'an export can be imported as it is', async (server) => {
  await server.importObject(JSON.stringify(manyKeys()));
  const { text } = status(await server.send('GET', '/api/v1/export'), 200);
  await server.wipe();
  const { imported } = json<Imported>(await importing(server, text), 200);
  same(imported, Object.keys(manyKeys()).length, '`imported`');
});

check('8.7', 'an import is checked over the bytes as they came', async (server) => {
  const bodies = {
    'as an export has it': closed(aRecord, 1),
    'no record': closed(`${HEADER}\n`, 0),
    'other line breaks and empty lines': closed(aRecord.replaceAll('\n', '\r\n \n\n'), 1),
    'spaces between tokens': closed(
      `{"version": 1, "format": "codeforge-storage"}\n{"key": "a", "value": 1}\n`,
      1,
    ),
    'no line break at the end': closed(aRecord, 1).trimEnd(),
    'empty lines at the end': `${closed(aRecord, 1)}\r\n\n`,
    'no checksum': `${aRecord}{"end":true,"count":1}\n`,
  };
  for (const [what, body] of Object.entries(bodies))
    for (const chunked of [false, true]) {
      await server.wipe();
      const answer = await importing(server, body, '', { chunked });
      ensure(
        answer.status === 200,
        `an import with ${what} must be 200, not ${answer.status} ${answer.text}`,
      );
      await expectCounted(server, answer, what);
    }
});

check('8.7', 'an import of many lines is checked as a whole', async (server) => {
  const entries = Object.entries(manyKeys());
  const text = [HEADER, ...entries.map(([key, value]) => line(key, value)), ''].join('\n');
  const { imported } = json<Imported>(
    await importing(server, closed(text, entries.length), '', { chunked: true, timeout: 30_000 }),
    200,
  );
  same(imported, entries.length, '`imported`');
  // One digit of a value in the middle: every line is well-formed, and their number is right.
  const at = text.indexOf('"n":1', text.length / 2) + 4;
  const damaged = `${text.slice(0, at)}7${text.slice(at + 1)}`;
  await server.wipe();
  const answer = await importing(server, closed(damaged, entries.length, sha256(text)), '', {
    timeout: 30_000,
  });
  refused(answer, 400, 'incomplete-import');
  await expectCounted(server, answer, 'a digit changed');
});

check('8.7', 'an import with another checksum is 400 incomplete-import', async (server) => {
  const right = sha256(aRecord);
  const wrong = {
    'the checksum of another text': sha256(`${aRecord} `),
    'the checksum without the last line break': sha256(aRecord.trimEnd()),
    'a checksum in capitals': right.toUpperCase(),
    'half a checksum': right.slice(0, 32),
    'a checksum in Base64': Buffer.from(right, 'hex').toString('base64'),
    'an empty checksum': '',
    'a checksum that is null': null,
    'a checksum that is a number': 1,
    'a checksum in a list': [right],
  };
  for (const [what, checksum] of Object.entries(wrong))
    for (const query of ['', '?dry_run=1']) {
      await server.wipe();
      const answer = await importing(server, closed(aRecord, 1, checksum), query);
      if (answer.status !== 400)
        throw new Error(`an import with ${what} must be 400, not ${answer.status} ${answer.text}`);
      refused(answer, 400, 'incomplete-import');
      await expectCounted(server, answer, what);
    }
});

/** Many enough for several transactions and pieces. */
const manyKeys = (): Record<string, unknown> =>
  Object.fromEntries(
    Array.from({ length: 3000 }, (_, i) => [`key ${i} é`, { n: 1, text: 'x'.repeat(i % 100) }]),
  );
