/** What a run of the suite found, in the form in which tests expect it. */
import { expect } from 'vitest';
import { clausesOf, conform, type Document } from './run.ts';

export const RUN_TIMEOUT = 600_000;

/** Clauses that no server without tokens can show, and none with. */
export const ONLY_WITH_TOKENS = ['4.4', '9.10'];
export const ONLY_WITHOUT_TOKENS = ['9.14'];

/** The clauses of a server that fail, and those that it does not announce; with the counts as a note. */
export async function outcomesOf(
  url: string,
  args: readonly string[],
  annotate: (message: string) => Promise<unknown>,
): Promise<{ failed: string[]; notAnnounced: string[]; code: number | null }> {
  const { code, stdout, stderr } = await conform(url, '--json', ...args);
  expect(stderr).toBe('');
  const { counts, checks, level } = JSON.parse(stdout) as Document;
  await annotate(
    `level ${level}: ${counts.passed} clauses passed, ${counts.failed} failed, ${counts['not announced']} not announced (${checks.length} checks)`,
  );
  const ran = new Set([...clausesOf(checks, 'passed'), ...clausesOf(checks, 'failed')]);
  return {
    code,
    failed: checks
      .filter(({ outcome }) => outcome === 'failed')
      .map(({ clause, title, reason }) => `${clause} ${title}: ${reason}`),
    notAnnounced: clausesOf(checks, 'not announced').filter((clause) => !ran.has(clause)),
  };
}
