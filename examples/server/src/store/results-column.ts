/**
 * The columns `results`: a JSON array with a result for each write. The Flask server reads and writes the
 * same column, so an item has the form that both servers have always stored: a status, and the text of an error.
 */
import { type Quota, quotaText, type Usage } from './quota.ts';
import { OUTCOME_TEXTS, type Result } from './store.ts';

/** An item of the array. Another status than these never occurs. */
interface Item {
  readonly status: number;
  readonly rev?: string;
  readonly error?: string;
  readonly type?: string;
  readonly used?: Usage;
  readonly quota?: Quota;
}

const INVALID_KEY = 'urn:codeforge-storage:invalid-key';
const VALUE_TOO_LARGE = 'urn:codeforge-storage:value-too-large';
const QUOTA_EXCEEDED = 'urn:codeforge-storage:quota-exceeded';

export function stringifyResults(results: readonly Result[]): string {
  return `[${results.map(stringifyResult).join()}]`;
}

export function parseResults(text: string): Result[] {
  return (JSON.parse(text) as Item[]).map(parseResult);
}

function stringifyResult(result: Result): string {
  // Nearly all results.
  if (result.outcome === 'ok' && result.rev !== undefined) return `{"status":200,"rev":"${result.rev}"}`;
  return JSON.stringify(itemOf(result));
}

function itemOf(result: Result): Item {
  switch (result.outcome) {
    case 'ok':
      return { status: 200, ...revItem(result.rev) };
    case 'missing':
      return { status: 404, error: OUTCOME_TEXTS.missing };
    case 'condition-failed':
      return { status: 412, error: OUTCOME_TEXTS['condition-failed'], ...revItem(result.rev) };
    case 'not-applied':
      return { status: 424, error: OUTCOME_TEXTS['not-applied'] };
    case 'invalid-key':
      return { status: 400, error: result.message, type: INVALID_KEY };
    case 'value-too-large':
      return { status: 413, error: result.message, type: VALUE_TOO_LARGE };
    case 'quota-exceeded': {
      const { used, quota } = result;
      return { status: 507, error: quotaText(used, quota), type: QUOTA_EXCEEDED, used, quota };
    }
    case 'answer-too-large':
      throw new Error('The result of a read is never stored.');
  }
}

const NOTHING: Usage = { keys: 0, bytes: 0 };

function revItem(rev: number | undefined): { rev?: string } {
  return rev === undefined ? {} : { rev: String(rev) };
}

function parseResult({ status, rev, error = '', used = NOTHING, quota = {} }: Item): Result {
  switch (status) {
    case 200:
      return { outcome: 'ok', ...(rev !== undefined && { rev: Number(rev) }) };
    case 404:
      return { outcome: 'missing' };
    case 412:
      return { outcome: 'condition-failed', ...(rev !== undefined && { rev: Number(rev) }) };
    case 400:
      return { outcome: 'invalid-key', message: error };
    case 413:
      return { outcome: 'value-too-large', message: error };
    case 507:
      return { outcome: 'quota-exceeded', used, quota };
    default:
      return { outcome: 'not-applied' };
  }
}
