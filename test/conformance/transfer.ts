/** Section 8: export and import as NDJSON. */
import { text as textOf } from 'node:stream/consumers';
import { ensure, json, refused, same, status } from './expectations.ts';
import type { Answer } from './http.ts';
import { expectCounted, type Imported, importing, line } from './importing.ts';
import { EXACT_TEXTS } from './modern-level0.ts';
import { checksThatNeed } from './runner.ts';
import type { Subject } from './subject.ts';
import { together } from './together.ts';

const { check, checks } = checksThatNeed('contract', 'ndjson');

export { checks as transferChecks };

const HEADER =
  '{"format":"codeforge-storage","version":1,"epoch":"other","seq":7,"timestamp":"2026-01-01T00:00:00Z"}';

/** An import of these lines, complete with the first and the last. */
const document = (...lines: readonly string[]): string =>
  `${[HEADER, ...lines, `{"end":true,"count":${lines.length}}`].join('\n')}\n`;

async function exported(server: Subject): Promise<string[]> {
  const { text } = status(await server.send('GET', '/api/v1/export', { timeout: 30_000 }), 200);
  return text.split('\n');
}

/** What the last line says besides the checksum, which has clauses of its own. */
function endOf(text = ''): unknown {
  const { sha256: _, ...end } = JSON.parse(text) as Record<string, unknown>;
  return end;
}

const everything = async (server: Subject): Promise<unknown> =>
  json(await server.send('GET', '/api/storage/export'), 200);

const counts = ({ imported, skipped, dryRun }: Imported): unknown => ({ imported, skipped, dryRun });

check(
  '8.1',
  'export is a header, a line a key in byte order, and a last line with their number',
  async (server) => {
    await server.put('🗝', '1');
    await server.put('\uff5e', '[ 1.10 ]');
    await server.put('a\nb', '"é"');
    const { epoch, seq } = await server.position();
    const answer = await server.send('GET', '/api/v1/export');
    const type = status(answer, 200).headers['content-type'] ?? '';
    ensure(/^application\/x-ndjson\b/.test(type), `Content-Type must be application/x-ndjson, not ${type}`);
    const [header = '', ...lines] = answer.text.split('\n');
    const { timestamp, keys = 3, ...first } = JSON.parse(header) as Record<string, unknown>;
    same(first, { format: 'codeforge-storage', version: 1, epoch, seq }, 'the first line');
    same(keys, 3, '`keys` of the first line');
    ensure(!Number.isNaN(Date.parse(String(timestamp))), `\`timestamp\` must be ISO 8601, not ${timestamp}`);
    const records = lines.slice(0, 3).map((text) => JSON.parse(text) as unknown);
    const expected = [
      { key: 'a\nb', rev: `${seq}`, value: 'é' },
      { key: '\uff5e', rev: `${seq - 1}`, value: [1.1] },
      { key: '🗝', rev: `${seq - 2}`, value: 1 },
    ];
    same(records, expected, 'the records');
    same(endOf(lines[3]), { end: true, count: 3 }, 'the last line');
    same(lines.slice(4).join(''), '', 'what follows the last line');
  },
);

check('8.1', 'export is one state of the data, however slowly it is read', async (server) => {
  const names = Array.from({ length: 24 }, (_, index) => `key-${index + 10}`);
  const value = (generation: number) => `"${String(generation).repeat(512 * 1024)}"`;
  await together(names.map((key) => server.put(key, value(0))));
  const { response } = await server.open('GET', '/api/v1/export', { timeout: 30_000 });
  await together(names.map((key) => server.put(key, value(1))));
  status(await server.delete('key-33'), 200);
  const lines = (await textOf(response)).trimEnd().split('\n').slice(1);
  const records = lines.slice(0, -1).map((text) => JSON.parse(text) as { key: string; value: string });
  same(
    records.map(({ key }) => key),
    names,
    'the keys exported',
  );
  same([...new Set(records.map((record) => record.value[0]))], ['0'], 'the generations exported');
  same(endOf(lines.at(-1)), { end: true, count: names.length }, 'the last line');
});

check('8.2', 'import stores what an export held, text for text', async (server) => {
  // Line breaks between tokens may become spaces: a record is a line.
  for (const [index, text] of [...EXACT_TEXTS, '{\n"a":\r\n[1,\r2]\n}'].entries())
    await server.put(`key 🗝 ${index + 10}`, text);
  const lines = await exported(server);
  const before = (await server.send('GET', '/api/storage/export')).text.replace(/[\r\n]/g, ' ');
  await server.wipe();
  const { epoch, seq } = await server.position();
  const answer = json<Imported>(await importing(server, lines.join('\n')), 200);
  const count = EXACT_TEXTS.length + 1;
  same(lines.filter((line) => line !== '').length, count + 2, 'the lines of the export');
  same(answer, { imported: count, skipped: 0, dryRun: false, epoch, seq: seq + count }, 'the answer');
  same((await server.send('GET', '/api/storage/export')).text, before, 'what is stored');
});

check(
  '8.2',
  'only format and version, key and value are needed; the rest is ignored, and empty lines',
  async (server) => {
    const { seq } = await server.position();
    const least = `\n{"version":1,"format":"codeforge-storage"}\n\n${line('b', 0)}\r\n\n{"end":true,"count":1}\n\n`;
    same(json<Imported>(await importing(server, least), 200).seq, seq + 1, '`seq`');
    const lines = ['{"key":"a","rev":"99999999","value":1,"note":{}}', '{"value":2,"key":"b"}'];
    same(json<Imported>(await importing(server, document(...lines)), 200).seq, seq + 3, '`seq`');
    same(await everything(server), { a: 1, b: 2 }, 'what is stored');
  },
);

check('8.2', 'another content type is 415', async (server) => {
  for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded'])
    refused(await importing(server, document(line('a', 1)), '', { headers: { 'content-type': type } }), 415);
  same(await server.keys(), [], 'the keys');
});

check('8.2', 'a line is limits.bodyBytes and 8,192 more at most; the body has no limit', async (server) => {
  const { bodyBytes, valueBytes } = server.limits;
  const size = Math.floor(valueBytes / 2);
  const keys = Array.from({ length: Math.ceil((2 * bodyBytes) / size) + 1 }, (_, index) => `k${index + 10}`);
  const body = document(...keys.map((key) => line(key, 'x'.repeat(size - 2))));
  const answer = json<Imported>(await importing(server, body, '', { chunked: true, timeout: 30_000 }), 200);
  same(counts(answer), { imported: keys.length, skipped: 0, dryRun: false }, 'the answer');
  same(await server.keys(), keys, 'the keys');
  await server.wipe();
  const most = bodyBytes + 8192;
  const long = document(`{"key":"a","value":1${' '.repeat(most)}}`);
  const { error } = refused(await importing(server, long), 413);
  ensure(String(error).includes(`${most}`), `413 must name the limit ${most}, not say "${error}"`);
  same(await server.keys(), [], 'the keys');
});

check('8.2', 'the largest value that level 0 stores comes back from an export', async (server) => {
  const { bodyBytes } = server.limits;
  const value = `"${'x'.repeat(bodyBytes - '{"value":""}'.length)}"`;
  const stored = await server.put('k'.repeat(1024), value, { timeout: 30_000 });
  same(stored.status, 200, 'the status of a PUT of a body of limits.bodyBytes');
  const lines = await exported(server);
  await server.wipe();
  const answer = json<Imported>(await importing(server, lines.join('\n'), '', { timeout: 30_000 }), 200);
  same(counts(answer), { imported: 1, skipped: 0, dryRun: false }, 'the answer');
});

check('8.3', 'mode says what becomes of a key that exists', async (server) => {
  for (const [query, imported, skipped, b] of [
    ['', 2, 0, 1],
    ['?mode=overwrite', 2, 0, 1],
    ['?mode=skip', 1, 1, 0],
  ] as const) {
    await server.wipe();
    await server.importObject('{"b":0,"kept":0}');
    const answer = json<Imported>(await importing(server, document(line('a', 1), line('b', 1)), query), 200);
    same(counts(answer), { imported, skipped, dryRun: false }, `the answer with "${query}"`);
    same(await everything(server), { a: 1, b, kept: 0 }, `what is stored with "${query}"`);
  }
  for (const query of ['?mode=replace', '?mode=', '?mode=Skip'])
    refused(await importing(server, document(line('a', 1)), query), 400);
});

check('8.3', 'with mode=fail a key that exists is 412 key-exists, naming the key', async (server) => {
  await server.put('taken 🗝', '0');
  const body = document(line('a', 1), line('taken 🗝', 1), line('z', 1));
  const failed = await importing(server, body, '?mode=fail');
  refused(failed, 412, 'key-exists');
  same((failed.json as { key?: unknown }).key, 'taken 🗝', '`key` of 412');
  same((await server.get('taken 🗝')).text, '{"value":0}', 'the value of the key that exists');
  await server.wipe();
  const answer = json<Imported>(await importing(server, body, '?mode=fail'), 200);
  same(counts(answer), { imported: 3, skipped: 0, dryRun: false }, 'the answer where no key exists');
});

check(
  '8.4',
  'an import without its last line, or with a wrong count, is 400 incomplete-import',
  async (server) => {
    const end = '{"end":true,"count":1}';
    const bodies = {
      'no last line': `${HEADER}\n${line('a', 1)}\n`,
      'half a last line': `${HEADER}\n${line('a', 1)}\n{"end":true,"cou`,
      'half a record': `${HEADER}\n${line('a', 1)}\n{"key":"b","val`,
      'only the first line': `${HEADER}\n`,
      'a count too small': `${HEADER}\n${line('a', 1)}\n${line('b', 1)}\n${end}\n`,
      'a count too large': `${HEADER}\n{"end":true,"count":1}\n`,
    };
    for (const [what, body] of Object.entries(bodies)) {
      await server.wipe();
      const answer = await importing(server, body);
      if (answer.status !== 400)
        throw new Error(`an import with ${what} must be 400, not ${answer.status} ${answer.text}`);
      // A line that breaks off is malformed as much as it is missing.
      refused(answer, 400, what.startsWith('half') ? undefined : 'incomplete-import');
      await expectCounted(server, answer, what);
    }
  },
);

check(
  '8.4',
  'an import without its first line, or with a malformed line, key or value, is 400',
  async (server) => {
    const bodies = {
      nothing: '',
      'no first line': `${line('a', 1)}\n{"end":true,"count":1}\n`,
      'another format': document(line('a', 1)).replace('codeforge-storage', 'another'),
      'another version': document(line('a', 1)).replace('"version":1', '"version":999'),
      'a line that is no JSON': document(line('a', 1), '{'),
      'a line that is no object': document(line('a', 1), '[]'),
      'a line without key': document(line('a', 1), '{"value":1}'),
      'a line without value': document(line('a', 1), '{"key":"b"}'),
      'a key that is a number': document(line('a', 1), '{"key":1,"value":1}'),
      'an empty key': document(line('a', 1), line('', 1)),
      'a key with U+0000': document(line('a', 1), line('b\0', 1)),
      'a key over 1,024 bytes': document(line('a', 1), line('k'.repeat(1025), 1)),
      'a key that is no Unicode': document(line('a', 1), '{"key":"\\ud800","value":1}'),
      'a number that JSON does not have': document(line('a', 1), '{"key":"b","value":NaN}'),
      'a value of 201 levels': document(
        line('a', 1),
        `{"key":"b","value":${'['.repeat(201)}${']'.repeat(201)}}`,
      ),
      'more after the last line': `${document(line('a', 1))}${line('b', 1)}\n`,
    };
    for (const [what, body] of Object.entries(bodies)) {
      await server.wipe();
      const answer = await importing(server, body);
      if (answer.status !== 400)
        throw new Error(`an import with ${what} must be 400, not ${answer.status} ${answer.text}`);
      refused(answer, 400);
      await expectCounted(server, answer, what);
    }
    await server.wipe();
    status(await importing(server, `${HEADER}\n${line('a', 1)}\n{"end":true,"count":1}`), 200);
  },
);

check(
  '8.5',
  'with dry_run=1 nothing is stored, and the answer is the one that the import would have had',
  async (server) => {
    await server.put('b', '0');
    const before = await server.position();
    const lines = [line('a', 1), line('b', 1), line('c', 1)];
    const bad = document(line('a', 1), line('', 1));
    for (const [mode, body] of [
      ['overwrite', document(...lines)],
      ['skip', document(...lines)],
      ['fail', document(...lines)],
      ['overwrite', bad],
      ['overwrite', `${HEADER}\n${line('a', 1)}\n`],
    ] as const) {
      const dry = await importing(server, body, `?mode=${mode}&dry_run=1`);
      same(await everything(server), { b: 0 }, `what is stored after a dry run with mode=${mode}`);
      same((await server.position()).seq, before.seq, `\`seq\` after a dry run with mode=${mode}`);
      const real = await importing(server, body, `?mode=${mode}`);
      same(dry.status, real.status, `the status of a dry run with mode=${mode}`);
      const shape = ({ json: got }: Answer): unknown => {
        const { imported, skipped, type } = got as Imported & { type?: unknown };
        return dry.status === 200 ? { imported, skipped } : { type };
      };
      same(shape(dry), shape(real), `the answer to a dry run with mode=${mode}`);
      if (dry.status === 200) same((dry.json as Imported).dryRun, true, '`dryRun`');
      await server.wipe();
      await server.put('b', '0');
      before.seq = (await server.position()).seq;
    }
  },
);
