/**
 * Checksums of exports and imports, on both servers: however the bytes are cut on their way, from one server into the
 * other, and what a refused import leaves behind.
 *
 * What every server of level 1 promises of them is in test/conformance.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { flaskSkipReason, startFlaskServer } from '../support/flask-server.ts';
import type { RunningServer } from '../support/running-server.ts';
import { startTypescriptServer } from '../support/typescript-server.ts';

const HEADER = '{"format":"codeforge-storage","version":1}\n';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const closed = (text: string, count: number, checksum = sha256(text)): string =>
  `${text}{"end":true,"count":${count},"sha256":"${checksum}"}\n`;

const records = (count: number, value: unknown): string =>
  Array.from({ length: count }, (_, i) => `${JSON.stringify({ key: `key ${i}`, value })}\n`).join('');

/** Send an import in pieces that arrive as they are cut. */
async function importing(
  url: string,
  pieces: readonly Buffer[],
  query = '',
): Promise<Record<string, unknown>> {
  const sending = request(`${url}/api/v1/import${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'transfer-encoding': 'chunked' },
    agent: false,
  });
  const answered = once(sending, 'response');
  for (const piece of pieces) sending.write(piece);
  sending.end();
  const [response] = await answered;
  const text = (await Array.fromAsync(response.setEncoding('utf8'))).join('');
  return { ...JSON.parse(text), code: response.statusCode };
}

const inPieces = (text: string, size: number): Buffer[] => {
  const bytes = Buffer.from(text);
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  );
};

const exported = async (url: string): Promise<string> => (await fetch(`${url}/api/v1/export`)).text();

const recordsOf = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{"key"'))
    .map((line) => line.replace(/"rev":"\d+",/, ''));

const starters = [
  ['the TypeScript server', startTypescriptServer, startFlaskServer],
  ['the Flask server', startFlaskServer, startTypescriptServer],
] as const;

describe.skipIf(flaskSkipReason()).each(starters)('%s', (_, start, startOther) => {
  let server: RunningServer;
  let other: RunningServer;
  beforeAll(async () => {
    [server, other] = await Promise.all([start(), startOther()]);
  });
  beforeEach(async () => {
    for (const { url } of [server, other]) await fetch(`${url}/api/storage/clear`, { method: 'POST' });
  });
  afterAll(() => Promise.all([server?.stop(), other?.stop()]));

  it('checks the bytes of an import wherever they are cut', async () => {
    const text = `${HEADER}\r\n{"key":"ключ 🗝","value":"é"}\n \n{"key":"b","value":[1.10]}\r\n\n`;
    const damaged = text.replace('1.10', '1.11');
    for (const size of [1, 2, 3, 7, 41, 64, 1000]) {
      const taken = await importing(server.url, inPieces(closed(text, 2), size));
      expect(taken, `pieces of ${size} bytes`).toMatchObject({ code: 200, imported: 2 });
      const refused = await importing(server.url, inPieces(closed(damaged, 2, sha256(text)), size));
      expect(refused, `pieces of ${size} bytes`).toMatchObject({
        code: 400,
        type: 'urn:codeforge-storage:incomplete-import',
        error: expect.stringContaining(sha256(damaged)),
      });
    }
  });

  it('checks the bytes of an import of lines of all lengths, and of a large one', async () => {
    const lines = Array.from({ length: 400 }, (_, i) =>
      JSON.stringify({ key: `${i}`, value: 'x'.repeat(i * 7) }),
    );
    const large = JSON.stringify({ key: 'large', value: 'é'.repeat(1024 * 1024) });
    const text = `${HEADER}${[...lines, large, ...lines].join('\n')}\n`;
    const taken = await importing(server.url, inPieces(closed(text, 801), 10_007));
    expect(taken).toMatchObject({ code: 200, imported: 801 });
    const refused = await importing(server.url, inPieces(closed(`${text} \n`, 801, sha256(text)), 10_007));
    expect(refused).toMatchObject({ code: 400, type: 'urn:codeforge-storage:incomplete-import' });
  });

  it('an import that is refused has stored what it says, and can be sent again', async () => {
    const text = `${HEADER}${records(1250, 1)}`;
    const broken = closed(text.replace('"key 1249","value":1', '"key 1249","value":2'), 1250, sha256(text));
    const refused = await importing(server.url, [Buffer.from(broken)]);
    expect(refused).toMatchObject({ code: 400, type: 'urn:codeforge-storage:incomplete-import' });
    expect(recordsOf(await exported(server.url))).toHaveLength(Number(refused.imported));
    // The last transaction waits for the last line.
    expect(refused.imported).toBeLessThan(1250);
    const again = await importing(server.url, [Buffer.from(closed(text, 1250))]);
    expect(again).toMatchObject({ code: 200, imported: 1250 });
  });

  it('a dry run checks too', async () => {
    const body = closed(`${HEADER}${records(3, 1)}`, 3, sha256('another'));
    const refused = await importing(server.url, [Buffer.from(body)], '?dry_run=1');
    expect(refused).toMatchObject({
      code: 400,
      imported: 0,
      type: 'urn:codeforge-storage:incomplete-import',
    });
  });

  it('what it exports goes into the other server as it is', async () => {
    const texts = {
      'ключ 🗝': '[ 1.10, 12345678901234567890 ]',
      'a\nb': '{\n"é":\r\n"\u2028"}',
      c: '"\\ud800"',
    };
    const object = Object.entries(texts).map(([key, text]) => `${JSON.stringify(key)}:${text}`);
    const headers = { 'content-type': 'application/json' };
    const body = `{${object.join()}}`;
    await fetch(`${server.url}/api/storage/import`, { method: 'POST', headers, body });
    const text = await exported(server.url);
    const last = text.trimEnd().lastIndexOf('\n') + 1;
    expect(JSON.parse(text.slice(last))).toEqual({
      end: true,
      count: 3,
      sha256: sha256(text.slice(0, last)),
    });
    expect(await importing(other.url, [Buffer.from(text)])).toMatchObject({ code: 200, imported: 3 });
    expect(recordsOf(await exported(other.url))).toEqual(recordsOf(text));
  });
});
