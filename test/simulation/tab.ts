/**
 * A tab as a model: what it does between transactions, and what it remembers only in memory.
 *
 * Each thing that it does is a generator. It stops where the real one waits: for an answer, or for the disk. At each stop others go
 * on, and the tab may die.
 */
import { ALL_KEYS, type SentAs, type ServerState, type StoredJson } from '../../src/sync/rules/state.ts';
import type { Write } from './accounts.ts';
import { append, appendUnit, clearsOf, keyStateOf, type Origin, updateMirror, view } from './origin.ts';
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
  session: { readonly generation: number; readonly epoch: string } | undefined;
  /** Under this name it writes without the outbox, its next number, and the last one that was answered. */
  client: string;
  next: number;
  acknowledged: number;
  /** Whether the server has lost a mutation that it had answered. */
  hasLostMutations: boolean;
}

/** What an app asks for. */
export type Wish =
  | { readonly type: 'write'; readonly key: string; readonly value: StoredJson | undefined }
  | { readonly type: 'update'; readonly key: string; change(value: StoredJson | undefined): StoredJson }
  | {
      readonly type: 'atomic';
      readonly parts: ReadonlyArray<{
        readonly key: string;
        readonly value: StoredJson | undefined;
        readonly isConditional: boolean;
      }>;
      /** Keys that are read before, and must not have changed. */
      readonly checks: readonly string[];
    };

export const isResults = (answer: Answer | undefined): answer is Results =>
  answer !== undefined && 'results' in answer;

/** Writes of one turn: to the server if it answers and no write of the key is queued, else into the outbox. */
export function* write(tab: Tab, wishes: readonly Extract<Wish, { type: 'write' }>[]): Process {
  const { origin } = tab;
  const { accounts } = origin;
  const queued = new Set(origin.pending.keys());
  const checked = checkedIn(origin);
  const writes = wishes.map(({ key, value }) => accounts.open(origin.index, key, value));
  const direct: Write[] = [];
  const here: Write[] = [];
  for (const one of writes) {
    const { key } = one;
    const isQueued =
      queued.has(ALL_KEYS) || queued.has(key) || checked.has(key) || (key === ALL_KEYS && queued.size > 0);
    if (tab.online && !isQueued) direct.push(one);
    else {
      queued.add(key);
      here.push(one);
    }
  }
  yield undefined;
  const ops = direct.map((one): Op => {
    const { key, value } = one;
    return { op: key === ALL_KEYS ? 'clear' : value ? 'put' : 'delete', key, value, write: one };
  });
  for (const one of direct) one.direct = true;
  let sent: readonly SentAs[] | undefined = [];
  if (direct.length > 0) sent = yield* sendDirect(tab, ops);
  const left = sent ? direct : [];
  const late = [
    ...left.map((one, i) => ({ write: one, sentAs: sent?.[i] })),
    ...here.map((one) => ({ write: one })),
  ];
  // The disk takes it as a whole.
  if (late.length > 0) append(origin, late);
}

/** Send writes without the outbox. Returns the mutation where it is not known what became of them. */
function* sendDirect(
  tab: Tab,
  ops: readonly Op[],
  epoch?: string,
  atomic = false,
): Process<readonly SentAs[] | undefined> {
  const known = tab.origin.meta.seq;
  const { client, next: m } = tab;
  tab.next += 1;
  const mutation = { client, m, settled: m - 1 };
  const answer: Answer | undefined = yield { type: 'batch', epoch, mutation, atomic, ops };
  if (isResults(answer)) {
    const isForgotten = answer.top < tab.acknowledged;
    tab.hasLostMutations ||= isForgotten;
    tab.acknowledged = isForgotten ? 0 : m;
    yield* observeAnswer(tab, ops, answer, known, isForgotten);
    for (const [i, { write }] of ops.entries())
      if (write && (answer.results[i]?.status ?? 0) < 412) tab.origin.accounts.acknowledge(write);
    return undefined;
  }
  tab.online = false;
  if (answer) return [];
  tab.client = tab.newClient();
  tab.next = 1;
  tab.acknowledged = 0;
  return ops.map((_, index) => ({ client, m, index }));
}

/** Put the answer to the app's own calls into the mirror. */
export function* observeAnswer(
  tab: Tab,
  ops: readonly Op[],
  answer: Results,
  known: number,
  isForgotten = false,
): Process {
  const { session, origin } = tab;
  yield undefined;
  // A sequence number only grows.
  const isOther = session?.epoch !== answer.epoch || answer.seq < known || isForgotten;
  if (isOther) tab.online = false;
  if (isOther || session.generation !== origin.meta.generation) {
    for (const { write } of ops) if (write) write.notMirrored = true;
    if (isOther) return;
  }
  updateMirror(
    origin,
    origin.rules.observationsOf(ops, answer, session.generation, known),
    session.generation,
    answer.seq,
  );
}

/** Change what is there, seen first. */
export function* update(tab: Tab, { key, change }: Extract<Wish, { type: 'update' }>): Process {
  const { origin } = tab;
  const { accounts } = origin;
  const { pending } = origin;
  if (!tab.online || pending.has(ALL_KEYS) || pending.has(key) || checkedIn(origin).has(key))
    return updateHere(tab, key, change);
  const { session } = tab;
  const made = accounts.open(origin.index, key, undefined);
  const ops: Op[] = [{ op: 'get', key }];
  const answer: Answer | undefined = yield { type: 'batch', ops };
  if (!isResults(answer) || !session || answer.epoch !== session.epoch) {
    tab.online = false;
    return updateHere(tab, key, change);
  }
  yield* observeAnswer(tab, ops, answer, 0);
  const [{ value: current, rev } = { value: undefined, rev: undefined }] = answer.results;
  const serverState: ServerState = {
    generation: session.generation,
    epoch: session.epoch,
    seq: rev ?? answer.seq,
    value: current,
  };
  const value = change(current);
  made.value = value;
  made.isConditional = true;
  made.direct = true;
  const sent = yield* sendDirect(
    tab,
    [{ op: 'put', key, value, ifRev: rev ?? null, write: made }],
    answer.epoch,
  );
  // Refused: the app is told.
  if (!sent || sent.length === 0) return;
  append(origin, [{ write: made, sentAs: sent[0], base: serverState }]);
}

function updateHere(
  { origin }: Tab,
  key: string,
  change: (value: StoredJson | undefined) => StoredJson,
): void {
  const found = view(origin, key);
  if (!found) return;
  const made = origin.accounts.open(origin.index, key, change(found.value));
  made.isConditional = true;
  append(origin, [{ write: made }]);
}

/** The keys that units check which wait. */
const checkedIn = ({ pending, rules }: Origin): ReadonlySet<string> =>
  rules.checkedBy([...pending.values()].flat());

/** Several writes as a whole. */
export function* atomic(tab: Tab, wish: Extract<Wish, { type: 'atomic' }>): Process {
  const { origin, session } = tab;
  const { accounts, pending } = origin;
  const { parts, checks } = wish;
  const conditions = [...parts.flatMap(({ key, isConditional }) => (isConditional ? [key] : [])), ...checks];
  const isQueued = (): boolean => {
    const checked = checkedIn(origin);
    return (
      !tab.online ||
      pending.has(ALL_KEYS) ||
      checks.some((key) => pending.has(key)) ||
      parts.some(({ key }) => pending.has(key) || checked.has(key))
    );
  };
  if (isQueued()) return atomicHere(tab, wish);
  const revs = new Map<string, number | null>();
  let epoch: string | undefined;
  if (conditions.length > 0) {
    const gets = conditions.map((key): Op => ({ op: 'get', key }));
    const answer: Answer | undefined = yield { type: 'batch', ops: gets };
    if (!isResults(answer) || !session || answer.epoch !== session.epoch) {
      tab.online = false;
      return atomicHere(tab, wish);
    }
    yield* observeAnswer(tab, gets, answer, 0);
    epoch = answer.epoch;
    for (const [i, key] of conditions.entries()) revs.set(key, answer.results[i]?.rev ?? null);
    // What was read is not what is here: the app is told.
    if (isQueued()) return;
  }
  const made = parts.map(({ key, value }) => accounts.open(origin.index, key, value));
  const unit = accounts.openUnit(made, []);
  for (const one of made) one.direct = true;
  const ops = made.flatMap((one): Op[] => {
    const { key, value } = one;
    const ifRev = revs.get(key);
    if (value) return [{ op: 'put', key, value, ifRev, write: one }];
    const check: Op[] = ifRev === undefined ? [] : [{ op: 'check', key, ifRev }];
    return [...check, { op: 'delete', key, write: one }];
  });
  for (const key of checks) ops.push({ op: 'check', key, ifRev: revs.get(key) });
  const sent = yield* sendDirect(tab, ops, epoch, true);
  // Whether its conditions were met only the server knows: the app is told that it may have arrived.
  if (sent && conditions.length === 0) appendUnit(origin, unit, sent);
}

/** Put a unit into the outbox, on what is here. What it checks of a key with a queued write is a write of the same value. */
function atomicHere({ origin }: Tab, { parts, checks }: Extract<Wish, { type: 'atomic' }>): void {
  const { accounts, meta, incarnation } = origin;
  const conditions = [...parts.flatMap(({ key, isConditional }) => (isConditional ? [key] : [])), ...checks];
  if (conditions.some((key) => !view(origin, key))) return;
  const isWaiting = (key: string): boolean =>
    keyStateOf(origin, key).writes.length > 0 || clearsOf(origin).length > 0;
  const rewritten = checks.filter(isWaiting).map((key) => {
    return { key, value: view(origin, key)?.value, isConditional: true };
  });
  const made = [...parts, ...rewritten].map(({ key, value, isConditional }) => {
    const one = accounts.open(origin.index, key, value);
    one.isConditional = isConditional;
    return one;
  });
  const checked = checks
    .filter((key) => !isWaiting(key))
    .map((key) => {
      const saw = keyStateOf(origin, key).serverState;
      return { key, saw, incarnation: saw?.generation === meta.generation ? incarnation : 0 };
    });
  appendUnit(origin, accounts.openUnit(made, checked));
}

/** Read from the server; what it shows goes into the mirror. */
export function* read(tab: Tab, key: string): Process {
  const { origin } = tab;
  const isQueued = keyStateOf(origin, key).writes.length > 0 || clearsOf(origin).length > 0;
  if (!tab.online || isQueued) return void view(origin, key);
  const ops: Op[] = [{ op: 'get', key }];
  const answer: Answer | undefined = yield { type: 'batch', ops };
  if (isResults(answer)) yield* observeAnswer(tab, ops, answer, 0);
  else tab.online = false;
}

/** One process of an origin at a time, unless a lease is taken over. */
export function* withLock<T>(origin: Origin, work: () => Process<T>): Process<T> {
  const me = {};
  while (origin.lockHolder !== undefined) yield undefined;
  origin.lockHolder = me;
  try {
    return yield* work();
  } finally {
    if (origin.lockHolder === me) origin.lockHolder = undefined;
  }
}
