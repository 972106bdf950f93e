/**
 * A fuzzing campaign against one server, and what counts as a finding: a 5xx but 503 and 507, an answer that is not JSON
 * where it should be, or none.
 */
import { type Loot, newClient } from './fuzz-bodies.ts';
import { type FuzzRequest, fuzzRequest } from './fuzz-requests.ts';
import { randomOf } from './random.ts';
import { type Heard, type RawAnswer, sendRaw } from './raw-http.ts';

/** What was found wrong, the request with it. */
interface Finding {
  readonly execution: number;
  readonly complaint: string;
  readonly request: string;
}

/** What a campaign came to. */
export interface Campaign {
  readonly executions: number;
  readonly statuses: ReadonlyMap<number, number>;
  readonly findings: readonly Finding[];
}

interface CampaignOptions {
  readonly url: string;
  readonly seed: number;
  readonly executions: number;
  /** Headers of most requests. */
  readonly headers?: readonly string[];
  /** Whether to send several requests before the first answer. */
  readonly pipelining: boolean;
}

const TIME_LIMIT = 30_000;
const MOST_FINDINGS = 10;
const LANES = 4;
/** Milliseconds that an answer may take; and that are waited for one to what is no HTTP. */
const ANSWER_LIMIT = 15_000;
const SILENCE = 40;

/** Send so many requests, or as many as the time allows. The seed repeats them, as far as they do not hold loot. */
export async function fuzz({
  url,
  seed,
  executions,
  headers = [],
  pipelining,
}: CampaignOptions): Promise<Campaign> {
  const loot: Loot = { revisions: [], epochs: [], cursors: [] };
  const statuses = new Map<number, number>();
  const findings: Finding[] = [];
  const deadline = Date.now() + TIME_LIMIT;
  let done = 0;

  async function lane(first: number): Promise<void> {
    const surroundings = { loot, client: newClient(randomOf(seed + first)), pipelining, headers };
    for (let i = first; i < executions; i += LANES) {
      if (Date.now() > deadline || findings.length >= MOST_FINDINGS) return;
      const request = fuzzRequest(randomOf(seed + i * 0x9e3779b9), surroundings);
      const { pieces, methods, isHttp } = request;
      const heard = await sendRaw(url, { pieces, methods, patienceMs: isHttp ? ANSWER_LIMIT : SILENCE });
      done += 1;
      for (const { status, body } of heard.answers) {
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        plunder(loot, body);
      }
      const complaint = complaintAbout(request, heard);
      if (complaint !== undefined)
        findings.push({ execution: i, complaint, request: printable(Buffer.concat(pieces)) });
    }
  }

  await Promise.all(Array.from({ length: LANES }, (_, first) => lane(first)));
  return { executions: done, statuses, findings };
}

/** For people. */
export const figures = ({ executions, statuses, findings }: Campaign): string =>
  `${executions} executions, ${findings.length} findings; answers by status: ` +
  [...statuses]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${status}: ${count}`)
    .join(', ');

/** Keep what makes later requests get further. */
function plunder({ revisions, epochs, cursors }: Loot, body: string): void {
  const find = (pattern: RegExp, into: string[]): void => {
    const found = pattern.exec(body)?.[1];
    if (found !== undefined && into.push(found) > 20) into.shift();
  };
  find(/"rev":"(\d+)"/, revisions);
  find(/"epoch":"([^"]+)"/, epochs);
  find(/"next":"([^"]+\.\d+)"/, cursors);
}

function complaintAbout(request: FuzzRequest, { answers, rest, closed }: Heard): string | undefined {
  for (const [i, answer] of answers.entries()) {
    const complaint = complaintAboutAnswer(answer, request.methods[i] ?? '', request.isHttp);
    if (complaint !== undefined) return complaint;
  }
  if (!request.isHttp) return undefined;
  if (rest.length > 0) return `bytes that are no answer: ${printable(rest)}`;
  const last = answers.at(-1);
  // Nothing follows an event stream, or an answer that says so.
  if (isEventStream(last) || closes(last) || answers.length === request.methods.length) return undefined;
  return `${answers.length} answers of ${request.methods.length}, ${closed ? 'and the connection was closed' : 'in time'}`;
}

function complaintAboutAnswer(answer: RawAnswer, method: string, isHttp: boolean): string | undefined {
  const { status, headers, body } = answer;
  if (status >= 500 && status !== 503 && status !== 507) return `a ${status}: ${body}`;
  if (method === 'HEAD' || status === 204 || status === 304 || isEventStream(answer)) return undefined;
  const type = headers.get('content-type')?.split(';')[0];
  if (type === 'application/x-ndjson' && status === 200) return undefined;
  // gunicorn's own, about what is no HTTP.
  if (type === 'text/html' && closes(answer) && !isHttp) return undefined;
  if (type !== 'application/json' && type !== 'application/problem+json')
    return `a ${status} of type ${type}: ${body}`;
  try {
    JSON.parse(body);
  } catch {
    return `a ${status} that is no JSON: ${printable(Buffer.from(body))}`;
  }
  return undefined;
}

const isEventStream = (answer: RawAnswer | undefined): boolean =>
  answer?.headers.get('content-type') === 'text/event-stream';

const closes = (answer: RawAnswer | undefined): boolean =>
  /close/i.test(answer?.headers.get('connection') ?? '');

/** With runs of the same bytes cut short. */
const printable = (bytes: Buffer): string => {
  const text = bytes.toString('latin1');
  const short = text.replace(/(.{1,12}?)\1{20,}/gs, (run, unit: string) => `${unit}<${run.length} bytes>`);
  return JSON.stringify(short).slice(0, 1500);
};
