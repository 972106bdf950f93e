/**
 * Checks, each of one clause of docs/contract.md, and running them: one after the other, each on an empty server.
 *
 * A clause whose capability the server does not announce, or that needs a token that was not given, is not run and not
 * passed: it is `not announced`.
 */
import type { Subject } from './subject.ts';

/** What a check needs of a server: the contract's level 1, a capability, or a token of the run. */
export type Need =
  | 'contract'
  | 'batch'
  | 'etag'
  | 'keys'
  | 'changes'
  | 'sse'
  | 'ndjson'
  | 'checksum'
  | 'auth'
  | 'read-token'
  | 'write-token'
  | 'other-token';

/** What one clause promises, and how that is seen from outside. */
export interface Check {
  /** Its number in docs/contract.md. */
  readonly clause: string;
  /** The promise, in a sentence. */
  readonly title: string;
  readonly needs: readonly Need[];
  /** Run beside the others: it takes long, and does not mind what they store. */
  readonly alongside?: boolean;
  readonly run: (server: Subject) => Promise<void>;
}

/** What became of a check. */
export interface Result {
  readonly clause: string;
  readonly title: string;
  readonly outcome: 'passed' | 'failed' | 'not announced';
  /** Why it did not pass. */
  readonly reason?: string;
}

/** Thrown by a check that finds out that its clause cannot be seen on this server. */
export class NotAnnounced extends Error {
  override readonly name = 'NotAnnounced';
}

/** Milliseconds that a check may take, and one beside all the others. */
const CHECK_TIMEOUT = 45_000;
const ALONGSIDE_TIMEOUT = 300_000;

/** The end of a run: no line of its own, unless it fails. */
const LEAVE_EMPTY: Check = {
  clause: '2.6',
  title: 'POST /api/storage/clear leaves the server empty at the end',
  needs: [],
  run: (server) => server.wipe(),
};

/** A list of checks that all need the same. */
export function checksThatNeed(...common: readonly Need[]) {
  const checks: Check[] = [];
  return {
    checks: checks as readonly Check[],
    check(
      clause: string,
      title: string,
      run: Check['run'],
      { needs = [], alongside = false }: { needs?: readonly Need[]; alongside?: boolean } = {},
    ): void {
      checks.push({ clause, title, needs: [...common, ...needs], alongside, run });
    },
  };
}

/** The checks of these clauses and sections, such as `5.4` and `6`. */
export function checksOf(checks: readonly Check[], asked: readonly string[]): Check[] {
  return checks.filter(({ clause }) => asked.some((of) => of === clause || of === clause.split('.')[0]));
}

/**
 * Run checks in the order of their clauses, and tell each result in that order.
 *
 * The server must be empty before, and is empty afterwards.
 */
export async function runChecks(
  server: Subject,
  checks: readonly Check[],
  tell: (result: Result) => void = () => {},
): Promise<Result[]> {
  const ordered = checks.toSorted((a, b) => compareClauses(a.clause, b.clause));
  const alongside = new Map(
    ordered.filter((check) => check.alongside).map((check) => [check, runCheck(server, check)]),
  );
  const results: Result[] = [];
  for (const check of ordered) {
    const result = await (alongside.get(check) ?? runCheck(server, check));
    results.push(result);
    tell(result);
  }
  const left = await runCheck(server, LEAVE_EMPTY);
  if (left.outcome === 'failed') {
    results.push(left);
    tell(left);
  }
  return results;
}

/** Of which clauses every check that ran passed, some failed, or none could run. */
export function countClauses(results: readonly Result[]): Record<Result['outcome'], number> {
  const counts = { passed: 0, failed: 0, 'not announced': 0 };
  for (const ofClause of Map.groupBy(results, ({ clause }) => clause).values()) {
    const outcomes = new Set(ofClause.map(({ outcome }) => outcome));
    const whole = (['failed', 'passed', 'not announced'] as const).find((outcome) => outcomes.has(outcome));
    counts[whole ?? 'not announced'] += 1;
  }
  return counts;
}

async function runCheck(server: Subject, check: Check): Promise<Result> {
  const { clause, title, needs, alongside, run } = check;
  const missing = needs.map((need) => reasonWithout(server, need)).find((reason) => reason !== undefined);
  if (missing !== undefined) return { clause, title, outcome: 'not announced', reason: missing };
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timeout = alongside ? ALONGSIDE_TIMEOUT : CHECK_TIMEOUT;
  const timer = setTimeout(() => reject(new Error(`took over ${timeout / 1000} s`)), timeout);
  try {
    if (!alongside) await server.wipe();
    await Promise.race([run(server), late]);
    return { clause, title, outcome: 'passed' };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { clause, title, outcome: error instanceof NotAnnounced ? 'not announced' : 'failed', reason };
  } finally {
    clearTimeout(timer);
  }
}

function reasonWithout(server: Subject, need: Need): string | undefined {
  if (need === 'contract') return server.level === 0 ? 'the server announces no contract' : undefined;
  const name = need.endsWith('-token') ? 'auth' : need;
  if (!server.capabilities.includes(name)) return `the server announces no ${name}`;
  const token = /^(read|write|other)-token$/.exec(need)?.[1] as 'read' | 'write' | 'other' | undefined;
  return token && server.tokens[token] === undefined ? `--${need} is missing` : undefined;
}

function compareClauses(a: string, b: string): number {
  const [first = 0, second = 0] = a.split('.').map(Number);
  const [otherFirst = 0, otherSecond = 0] = b.split('.').map(Number);
  return first - otherFirst || second - otherSecond;
}
