/** Data for servers, and what they hold, as the texts that they are. */

import { readBackup } from '../../src/backup-format/reader.ts';
import { createDigest } from '../../src/cli/files/archive.ts';

/** Key and text of a value. */
export type Texts = Readonly<Record<string, string>>;

/** Values whose texts an old server would print in another way, and some that it would spoil. */
export const EXACT: Texts = {
  '12345678901234567890': '12345678901234567890',
  'a/b/../c': '1.10',
  keys: '{"z":1e2, "a":[1.50,"\\u00e9\\/"] ,"z2":{}}',
  __proto__own: '{"__proto__":{"x":1},"constructor":null}',
  'ключ 🗝': '"line\\nbreak \\ud83d\\udddd"',
  ' ': 'null',
  empty: '""',
  envelope: '{"$cf":[["Date","2026-11-25T07:00:00.000Z"]]}',
  escaped: '{"$cf$":1}',
  big: JSON.stringify('x'.repeat(300_000)),
};

/** Values that programs of doubles keep. */
export const ORDINARY: Texts = Object.fromEntries(
  Object.entries(EXACT).filter(([key]) => key !== '12345678901234567890'),
);

/** The form in which old programs exchange them. */
export const asObject = (texts: Texts): string =>
  `{${Object.entries(texts).map(([key, text]) => `${JSON.stringify(key)}:${text}`)}}`;

/** Store them at a server of either level. */
export async function store(url: string, texts: Texts): Promise<void> {
  const response = await fetch(`${url}/api/storage/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: asObject(texts),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
}

/** What a backup holds. */
export async function textsOf(backup: Uint8Array | string): Promise<Texts> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(backup);
  }
  const found = new Map<string, string>();
  for await (const page of readBackup(chunks(), createDigest()))
    for (const { key, text } of page) found.set(key, text);
  return Object.fromEntries(found);
}

/** What a server of level 1 holds. */
export async function heldBy(url: string): Promise<Texts> {
  return textsOf(await (await fetch(`${url}/api/v1/export`)).text());
}

/** The lines of a backup. */
export function backupOf(entries: ReadonlyArray<readonly [key: string, text: string]>): string {
  const records = entries.map(([key, text]) => `{"key":${JSON.stringify(key)},"value":${text}}\n`);
  const before = `{"format":"codeforge-storage","version":1}\n${records.join('')}`;
  const digest = createDigest();
  digest.update(Buffer.from(before));
  return `${before}${JSON.stringify({ end: true, count: entries.length, sha256: digest.hex() })}\n`;
}

/** The lines of a backup with `count` values of a megabyte. */
export function largeBackup(count: number): string {
  const value = JSON.stringify('x'.repeat(1024 * 1024));
  return backupOf(Array.from({ length: count }, (_, i) => [String(i), value]));
}
