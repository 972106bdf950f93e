/** Results of operations, and their texts: what is answered, and what is kept for a retry. */
import type { Result } from './store.ts';

export const MISSING: Result = { status: 404, error: 'Key not found' };

/** Another operation of an atomic batch failed. */
export const NOT_APPLIED: Result = { status: 424, error: 'Another operation of this atomic batch failed' };

/** A value that the answer has no room for. */
export const ANSWER_TOO_LARGE: Result = {
  status: 413,
  error: 'The values of this answer are over the limit: ask for this key again',
  type: 'urn:codeforge-storage:answer-too-large',
};

export function preconditionFailed(rev: number | undefined, value?: string): Result {
  return { status: 412, error: 'Precondition failed', rev, ...(value !== undefined && { value }) };
}

/** A result as JSON; its value is spliced in as it was received. */
export function resultText({ value, ...rest }: Result): string {
  const text = withoutValue(rest);
  return value === undefined ? text : `${text.slice(0, -1)},"value":${value}}`;
}

/** What a retry is answered: the results without their values. */
export function storedText(results: readonly Result[]): string {
  return `[${results.map(withoutValue).join()}]`;
}

/** The other way round. */
export function parseStored(text: string): Result[] {
  return JSON.parse(text).map(({ rev, ...rest }: Result) =>
    rev === undefined ? rest : { ...rest, rev: Number(rev) },
  );
}

function withoutValue({ status, rev, size, error, type }: Result): string {
  // The only results of nearly every batch.
  if (error === undefined && size === undefined) return `{"status":${status},"rev":"${rev}"}`;
  return JSON.stringify({ status, error, type, rev: rev === undefined ? undefined : String(rev), size });
}
