/**
 * `npm run conformance -- <url>`: asks a server, from outside, whether it keeps docs/contract.md.
 *
 * Exit codes: 0 nothing failed; 1 something failed; 2 nothing was tested.
 */
import { parseArgs } from 'node:util';
import { exchange } from './http.ts';
import { checksOf, countClauses, type Result, runChecks } from './runner.ts';
import { authorization, type Health, Subject, type Tokens } from './subject.ts';
import { ALL_CHECKS } from './suite.ts';

const HELP = `Ask a server whether it keeps docs/contract.md.

  npm run conformance -- <url> [options]

A server that announces no contract is asked for sections 1 and 2 alone. The server must hold no keys: what it
holds is deleted, before, between and after the checks.

  --token <token>        token with scope admin, where the server takes tokens
  --read-token <token>   token of the same tenant with scope read  (9.10)
  --write-token <token>  token of the same tenant with scope write (9.10)
  --other-token <token>  token of another tenant with scope admin  (9.11); that tenant is wiped too
  --origin <origin>      an origin that the server lists, http://localhost:4173 unless told (9.13, 9.15)
  --anonymous            the operator means anyone to call without a token (9.14 is not asked)
  --wipe                 go on though the server holds keys, and delete them
  --only <clauses>       only these, such as 5.4 or 5,6.1
  --json                 print one JSON document instead of lines
  --help                 print this

Not asked, because it cannot be seen from outside: that a write is on the disk (1.3), what happens after 30 days (5.14,
7.2, 7.5), how tokens are held (9.12), how much memory a server takes, and what clients do (most of 11, and 12).

Prints a line a check: passed, failed with the reason, or not announced, where the server does not name the
capability or an option is missing. Exits with 0 when nothing failed, 1 when something did, 2 when nothing was tested.
`;

const EXIT_FAILED = 1;
const EXIT_NOT_TESTED = 2;

/** Nothing can be tested. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Options {
  readonly base: URL;
  readonly tokens: Tokens;
  readonly origin: string;
  readonly anonymous: boolean;
  readonly wipe: boolean;
  readonly only: readonly string[] | undefined;
  readonly json: boolean;
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') process.stdout.write(HELP);
  else process.exitCode = await conform(options);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = EXIT_NOT_TESTED;
}

async function conform(options: Options): Promise<number> {
  const began = performance.now();
  const server = await findServer(options);
  await refuseToWipe(server, options);
  const checks = options.only === undefined ? ALL_CHECKS : checksOf(ALL_CHECKS, options.only);
  if (checks.length === 0) throw new UsageError(`--only names no clause that can be seen from outside.`);
  const print = options.json ? () => {} : (result: Result) => process.stdout.write(`${lineOf(result)}\n`);
  const results = await runChecks(server, checks, print);
  const counts = countClauses(results);
  if (options.json) {
    const document = { url: options.base.href, level: server.level, counts, checks: results };
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  } else {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    process.stdout.write(
      `${counts.passed} clauses passed, ${counts.failed} failed, ${counts['not announced']} not announced (level ${server.level}, ${results.length} checks, ${seconds} s)\n`,
    );
  }
  return counts.failed > 0 ? EXIT_FAILED : 0;
}

function readOptions(args: readonly string[]): Options | 'help' {
  const { values, positionals } = parse(args);
  if (values.help) return 'help';
  const [url] = positionals;
  if (url === undefined || positionals.length > 1) throw new UsageError(`One URL is needed.\n\n${HELP}`);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new UsageError(`<url> must be the server's address, such as http://localhost:5001, not "${url}".`);
  const { token: admin, 'read-token': read, 'write-token': write, 'other-token': other } = values;
  return {
    base: new URL(url),
    tokens: { admin, read, write, other },
    origin: values.origin,
    anonymous: values.anonymous,
    wipe: values.wipe,
    only: values.only?.split(',').map((clause) => clause.trim()),
    json: values.json,
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        token: text,
        'read-token': text,
        'write-token': text,
        'other-token': text,
        origin: { ...text, default: 'http://localhost:4173' },
        anonymous: flag,
        wipe: flag,
        only: text,
        json: flag,
        help: flag,
      },
    });
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${HELP}`);
  }
}

async function findServer({ base, tokens, origin, anonymous }: Options): Promise<Subject> {
  const headers = authorization(tokens.admin);
  const answer = await exchange(base, 'GET', '/health', { headers, timeout: 5_000 }).catch((error) => {
    throw new UsageError(`${base.href} cannot be reached: ${error.message || error.code}`);
  });
  const health = answer.json as Health | null | undefined;
  if (answer.status !== 200 || health?.status !== 'ok') {
    const got = answer.text.slice(0, 100);
    throw new UsageError(`${base.href} is no storage server: GET /health answered ${answer.status} ${got}`);
  }
  return new Subject({ base, tokens, health, origin, anonymous });
}

/** What the checks delete must be nobody's. */
async function refuseToWipe(server: Subject, { wipe, tokens }: Options): Promise<void> {
  if (server.capabilities.includes('auth') && tokens.admin === undefined)
    throw new UsageError('The server takes tokens: give one with scope admin, --token.');
  for (const [option, token] of [
    ['--token', tokens.admin],
    ['--other-token', tokens.other],
  ] as const) {
    if (option === '--other-token' && token === undefined) continue;
    const stats = await server.send('GET', '/api/storage/stats', { token });
    const keys = (stats.json as { total_keys?: unknown } | null | undefined)?.total_keys;
    if (stats.status !== 200 || typeof keys !== 'number')
      throw new UsageError(
        `The keys of ${option} cannot be counted: ${stats.asked} answered ${stats.status} ${stats.text.slice(0, 100)}`,
      );
    if (keys > 0 && !wipe)
      throw new UsageError(
        `The server holds ${keys} keys, and the checks would delete them. Use an empty server, or --wipe.`,
      );
    const cleared = await server.send('POST', '/api/storage/clear', { token });
    if (cleared.status !== 200)
      throw new UsageError(
        `${option} must be a token with scope admin: ${cleared.asked} answered ${cleared.status}`,
      );
  }
}

function lineOf({ clause, title, outcome, reason }: Result): string {
  const head = `${outcome.padEnd(13)}  ${clause.padEnd(5)} ${title}`;
  if (outcome === 'passed') return head;
  if (outcome === 'not announced') return `${head} (${reason})`;
  return `${head}\n${`${reason}`.replaceAll(/^/gm, '    ')}`;
}
