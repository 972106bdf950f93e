/**
 * A tab as a model: what it does between transactions, and what it remembers only in memory.
 *
 * Each thing that it does is a generator. It stops where the real one waits: for an answer, or for the disk. At each stop others go
 * on, and the tab may die.
 */
import { ALL, type Held, type Mark, type Seen } from '../../src/sync/rules.ts';
import type { Write } from './accounts.ts';
import { append, clearsOf, learn, type Origin, placeOf, view } from './origin.ts';
import type { Answer, Op, Request } from './server.ts';
import type { Results } from './tried-rules.ts';

/** Goes on with an answer, or without one where it is lost. What stops without a request waits for its disk. */
export type Process<T = void> = Generator<Request | undefined, T, Answer | undefined>;

export interface Tab {
  readonly name: string;
  readonly origin: Origin;
  /** Writes that it sends in one request. */
  readonly most: number;
  /** A name that nobody has had. */
  readonly newClient: () => string;
  online: boolean;
  /** Of which incarnation of the server's data answers are. */
  session: { readonly era: number; readonly epoch: string } | undefined;
  /** Under this name it writes without the outbox, its next number, and the last one that was answered. */
  client: string;
  next: number;
  acknowledged: number;
  /** Whether the server has lost a mutation that it had answered. */
  sawForgotten: boolean;
}

/** What an app asks for. */
export type Wish =
  | { readonly type: 'write'; readonly key: string; readonly held: Held | undefined }
  | { readonly type: 'update'; readonly key: string; change(held: Held | undefined): Held };

export const isResults = (answer: Answer | undefined): answer is Results =>
  answer !== undefined && 'results' in answer;

/** Writes of one turn: to the server where it is there and nothing waits for a key, else here. */
export function* write(tab: Tab, wishes: readonly Extract<Wish, { type: 'write' }>[]): Process {
  const { origin } = tab;
  const { accounts } = origin;
  const waiting = new Set(origin.pending.keys());
  const writes = wishes.map(({ key, held }) => accounts.open(origin.index, key, held));
  const direct: Write[] = [];
  const here: Write[] = [];
  for (const one of writes) {
    const { key } = one;
    const waits = waiting.has(ALL) || waiting.has(key) || (key === ALL && waiting.size > 0);
    if (tab.online && !waits) direct.push(one);
    else {
      waiting.add(key);
      here.push(one);
    }
  }
  yield undefined;
  const ops = direct.map((one): Op => {
    const { key, held } = one;
    return { op: key === ALL ? 'clear' : held ? 'put' : 'delete', key, held, write: one };
  });
  for (const one of direct) one.direct = true;
  let marks: readonly Mark[] | undefined = [];
  if (direct.length > 0) marks = yield* sendDirect(tab, ops);
  const left = marks ? direct : [];
  const late = [
    ...left.map((one, i) => ({ write: one, mark: marks?.[i] })),
    ...here.map((one) => ({ write: one })),
  ];
  // The disk takes it as a whole.
  if (late.length > 0) append(origin, late);
}

/** Send writes without the outbox. Returns their marks where it is not known what became of them. */
function* sendDirect(tab: Tab, ops: readonly Op[], epoch?: string): Process<readonly Mark[] | undefined> {
  const known = tab.origin.meta.seq;
  const { client, next: m } = tab;
  tab.next += 1;
  const mutation = { client, m, settled: m - 1 };
  const answer: Answer | undefined = yield { type: 'batch', epoch, mutation, ops };
  if (isResults(answer)) {
    const isForgotten = answer.top < tab.acknowledged;
    tab.sawForgotten ||= isForgotten;
    tab.acknowledged = isForgotten ? 0 : m;
    yield* learned(tab, ops, answer, known, isForgotten);
    for (const [i, { write }] of ops.entries())
      if (write && answer.results[i]?.status !== 412) tab.origin.accounts.acknowledge(write);
    return undefined;
  }
  tab.online = false;
  if (answer) return [];
  tab.client = tab.newClient();
  tab.next = 1;
  tab.acknowledged = 0;
  return ops.map((_, at) => ({ client, m, at }));
}

/** Put the answer to the app's own calls into the mirror. */
export function* learned(
  tab: Tab,
  ops: readonly Op[],
  answer: Results,
  known: number,
  isForgotten = false,
): Process {
  const { session, origin } = tab;
  yield undefined;
  if (session?.epoch !== answer.epoch || isForgotten) tab.online = false;
  if (session?.epoch !== answer.epoch || session.era !== origin.meta.era || isForgotten) {
    for (const { write } of ops) if (write) write.unlearned = true;
    if (session?.epoch !== answer.epoch || isForgotten) return;
  }
  learn(origin, origin.rules.newsOf(ops, answer, session.era, known), session.era, answer.seq);
}

/** Change what is there, seen first. */
export function* update(tab: Tab, { key, change }: Extract<Wish, { type: 'update' }>): Process {
  const { origin } = tab;
  const { accounts } = origin;
  const { pending } = origin;
  if (!tab.online || pending.has(ALL) || pending.has(key)) return updateHere(tab, key, change);
  const { session } = tab;
  const made = accounts.open(origin.index, key, undefined);
  const ops: Op[] = [{ op: 'get', key }];
  const answer: Answer | undefined = yield { type: 'batch', ops };
  if (!isResults(answer) || !session || answer.epoch !== session.epoch) {
    tab.online = false;
    return updateHere(tab, key, change);
  }
  yield* learned(tab, ops, answer, 0);
  const [{ held: current, rev } = { held: undefined, rev: undefined }] = answer.results;
  const seen: Seen = { era: session.era, epoch: session.epoch, seq: rev ?? answer.seq, held: current };
  const held = change(current);
  made.held = held;
  made.direct = true;
  const marks = yield* sendDirect(
    tab,
    [{ op: 'put', key, held, ifRev: rev ?? null, write: made }],
    answer.epoch,
  );
  // Refused: the app is told.
  if (!marks || marks.length === 0) return;
  append(origin, [{ write: made, mark: marks[0], base: seen }]);
}

function updateHere({ origin }: Tab, key: string, change: (held: Held | undefined) => Held): void {
  const found = view(origin, key);
  if (!found) return;
  append(origin, [{ write: origin.accounts.open(origin.index, key, change(found.held)) }]);
}

/** Read from the server; what it shows is learned. */
export function* read(tab: Tab, key: string): Process {
  const { origin } = tab;
  const waits = placeOf(origin, key).rows.length > 0 || clearsOf(origin).length > 0;
  if (!tab.online || waits) return void view(origin, key);
  const ops: Op[] = [{ op: 'get', key }];
  const answer: Answer | undefined = yield { type: 'batch', ops };
  if (isResults(answer)) yield* learned(tab, ops, answer, 0);
  else tab.online = false;
}

/** One process of an origin at a time, unless a lease is taken over. */
export function* inTurn<T>(origin: Origin, work: () => Process<T>): Process<T> {
  const me = {};
  while (origin.turn !== undefined) yield undefined;
  origin.turn = me;
  try {
    return yield* work();
  } finally {
    if (origin.turn === me) origin.turn = undefined;
  }
}
