/** Imports of level 1: what is sent and what comes back. */
import { same } from './expectations.ts';
import type { Answer } from './http.ts';
import type { Asked, Subject } from './subject.ts';

const NDJSON = { 'content-type': 'application/x-ndjson' };

/** What is answered to one. */
export interface Imported {
  readonly imported?: unknown;
  readonly skipped?: unknown;
  readonly dryRun?: unknown;
  readonly epoch?: unknown;
  readonly seq?: unknown;
}

/** The line of a record. */
export const line = (key: string, value: unknown): string => JSON.stringify({ key, value });

/** Send one. */
export const importing = (server: Subject, body: string, query = '', asked: Asked = {}): Promise<Answer> =>
  server.send('POST', `/api/v1/import${query}`, { body, headers: NDJSON, ...asked });

/** An import that ended early says how much it has stored. */
export async function expectCounted(server: Subject, answer: Answer, what: string): Promise<void> {
  const { imported } = answer.json as Imported;
  const stored = (await server.keys()) as unknown[];
  same(
    imported,
    stored.length,
    `\`imported\` of an import with ${what}, of which is stored ${JSON.stringify(stored)}`,
  );
}
