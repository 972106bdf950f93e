/**
 * The network between tabs and the server. It decides what becomes of each request, and knows nothing of what bodies mean.
 */
import type { Clock, Process } from './clock.ts';

/** What becomes of a request. */
export type Fate =
  | 'deliver'
  /** The request fails at once, and never arrives. */
  | 'lose-request'
  /** It arrives. The connection ends before the answer. */
  | 'lose-answer'
  /** Neither an answer nor a failure ever comes. */
  | 'silent-request'
  | 'silent-answer'
  /** The connection ends at once. The request arrives 2 to 32 s later. */
  | 'late'
  /** It arrives after 20 s, and its answer after another 20 s. */
  | 'slow'
  /** It arrives, and a second time some seconds later. The first answer is the answer. */
  | 'repeat'
  /** Only the beginning of the answer's body arrives, as if it were all. */
  | 'cut-answer'
  /** A page of HTML with status 200. */
  | 'captive-portal'
  /** Somebody on the way answers, such as `403 html`. A JSON body is that of a server. */
  | `${number} ${'html' | 'json'}`;

/** A request as a server sees it. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** A request under way. */
export interface Sent extends Received {
  /** Counts all requests from 1. */
  readonly number: number;
  readonly tab: Sender;
  readonly sentAtMs: number;
}

/** The tab that sends. */
export interface Sender extends Process {
  readonly device: { readonly network: Fate };
}

/** An answer. */
export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** What requests arrive at. */
export interface Destination {
  handle(request: Received): Promise<Answered>;
  /** Calls `listener` when the server stops. Returns what ends that. */
  onStop(listener: () => void): () => void;
}

/** Decides about a request, or leaves it to the next rule. */
export type Rule = (request: Sent) => Fate | undefined;

/** A request that has arrived. */
export interface Arrival {
  readonly request: Sent;
  readonly atMs: number;
  readonly answer: Answered;
  /** Whether the tab got the whole answer. */
  readonly isAnswered: boolean;
}

const HTML = { 'content-type': 'text/html' };
const PAGE = '<!doctype html><title>Proxy</title><p>Not here.</p>';
/** The most milliseconds of a way. */
const LATENCY_MS = 40;

export class Network {
  /** Asked in their order. The device's network decides after them. */
  readonly rules: Rule[] = [];
  readonly arrivals: Arrival[] = [];
  private readonly clock: Clock;
  private readonly destination: Destination;
  private count = 0;
  /** undici holds the signal of a request weakly. Without this, garbage collection would decide whether it aborts. */
  private readonly kept: Request[] = [];

  constructor(clock: Clock, destination: Destination) {
    this.clock = clock;
    this.destination = destination;
  }

  /** The next requests have these fates, one after the other; all later ones have `then`, unless it is left out. */
  next(fates: readonly Fate[], then?: Fate): void {
    let at = 0;
    this.rules.push(() => fates[at++] ?? then);
  }

  /** The first request whose body contains a text has a fate, and every request after it another one. */
  breakAt(text: string, fate: Fate, then: Fate = 'lose-request'): void {
    let isBroken = false;
    this.rules.push((request) => {
      if (isBroken) return then;
      isBroken = request.text.includes(text);
      return isBroken ? fate : undefined;
    });
  }

  /** Each request whose body contains a text has a fate. */
  whenBodyHas(text: string, fate: Fate): void {
    this.rules.push((request) => (request.text.includes(text) ? fate : undefined));
  }

  /** Ends all rules. */
  heal(): void {
    this.rules.length = 0;
  }

  fetch(tab: Sender, input: Request | string, init?: RequestInit): Promise<Response> {
    return new Promise((resolve, reject) => {
      const request = new Request(input, init);
      this.kept.push(request, ...(input instanceof Request ? [input] : []));
      const { signal } = request;
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener('abort', () => reject(signal.reason));
      request.text().then((text) => this.send(tab, request, text, resolve, reject), reject);
    });
  }

  private send(
    tab: Sender,
    { method, url, headers }: Request,
    text: string,
    resolve: (response: Response) => void,
    reject: (reason: unknown) => void,
  ): void {
    const { clock } = this;
    this.count += 1;
    const sent: Sent = {
      number: this.count,
      tab,
      method,
      path: url.replace(/^https?:\/\/[^/]+/, ''),
      headers: Object.fromEntries(headers),
      text,
      sentAtMs: clock.nowMs,
    };
    const fate = this.fateOf(sent);
    const name = `#${sent.number}`;
    clock.note(`${tab.name} ${name} ${method} ${sent.path} ${text} [${fate}]`);
    // Something on the way gathers answers until they are complete, so an event stream delivers nothing: the SDK polls instead.
    if (sent.headers.accept?.includes('text/event-stream')) return;
    const latency = (): number => 1 + clock.random.next() * LATENCY_MS;
    const fail = (): void => {
      clock.schedule(tab, latency(), () => reject(new TypeError('fetch failed')), `${name} fails`);
    };
    const answer = ({ status, headers, text: body }: Answered, delayMs = latency()): void => {
      clock.schedule(
        tab,
        delayMs,
        () => resolve(new Response(/^(204|304)$/.test(`${status}`) ? null : body, { status, headers })),
        `${name} is answered ${status} ${body}`,
      );
    };
    const arrive = (delayMs: number, then: (answer: Answered) => void, stopped: () => void): void => {
      clock.schedule(
        undefined,
        delayMs,
        () => {
          const ignore = this.destination.onStop(stopped);
          void this.destination.handle(sent).then((answer) => {
            ignore();
            const isAnswered = /deliver|repeat/.test(fate);
            this.arrivals.push({ request: sent, atMs: clock.nowMs, answer, isAnswered });
            clock.note(`${name} is done: ${answer.status} ${answer.text}`);
            then(answer);
          });
        },
        `${name} arrives`,
      );
    };
    const nothing = (): void => {};

    const refusal = /^(\d+) (html|json)$/.exec(fate);
    if (refusal) {
      const status = Number(refusal[1]);
      const json = JSON.stringify({ error: 'Refused', type: 'about:blank', title: 'Refused', status });
      answer(
        refusal[2] === 'html'
          ? { status, headers: HTML, text: PAGE }
          : { status, headers: { 'content-type': 'application/json' }, text: json },
      );
    } else if (fate === 'captive-portal') answer({ status: 200, headers: HTML, text: PAGE });
    else if (fate === 'lose-request') fail();
    else if (fate === 'lose-answer') arrive(latency(), fail, fail);
    else if (fate === 'silent-answer') arrive(latency(), nothing, nothing);
    else if (fate === 'late') {
      fail();
      arrive(2000 + clock.random.next() * 30_000, nothing, nothing);
    } else if (fate === 'slow') arrive(20_000, (given) => answer(given, 20_000), fail);
    else if (fate === 'cut-answer')
      arrive(
        latency(),
        (given) => answer({ ...given, text: given.text.slice(0, clock.random.below(given.text.length)) }),
        fail,
      );
    else if (fate !== 'silent-request') {
      arrive(latency(), answer, fail);
      if (fate === 'repeat') arrive(1000 + clock.random.next() * 10_000, nothing, nothing);
    }
  }

  private fateOf(request: Sent): Fate {
    for (const rule of this.rules) {
      const fate = rule(request);
      if (fate) return fate;
    }
    return request.tab.device.network;
  }
}
