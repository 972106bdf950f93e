/**
 * The oracle: whether a run kept what the SDK promises (docs/guarantees.md, 1 to 6).
 *
 * It knows all calls with their outcomes, every change of the server, and what each tab has at the end. Each value that was written
 * is a text of its own and an update appends to it, so a value tells which writes it is made of.
 *
 * A key that only one tab writes is judged exactly: the calls are carried out in their order on the set of values that the key may
 * have, and a write that was rejected as "may have arrived" leads to both. For keys with several writers, rules say what cannot be.
 */
import type { Ending } from './ending.ts';
import { isRead, keysOf, type Operation, textOf, updated, writes } from './operations.ts';
import type { Change } from './server.ts';
import type { Device } from './tab.ts';
import type { Call, Client, Listener, World } from './world.ts';

/** What was broken. */
export type Kind =
  | 'lost'
  | 'applied twice'
  | 'blind overwrite'
  | 'lost update'
  | 'false condition'
  | 'torn'
  | 'conflict with itself'
  | 'stale read'
  | 'false missing'
  | 'diverged'
  | 'hang'
  | 'limit'
  | 'raw error'
  | 'status'
  | 'not recovered'
  | 'told twice'
  | 'told in a wrong order'
  | 'not told';

/** A promise that was not kept. */
export interface Violation {
  readonly kind: Kind;
  readonly text: string;
}

/** Milliseconds that a call may take beyond the option `timeout` of 10 s (docs/guarantees.md, 11). */
const MARGIN_MS = 3000;

/** Codes of calls that may have arrived. */
const IN_DOUBT = /^(unavailable|timeout|closed|quota|blocked)$/;
const CODES =
  /^(unavailable|timeout|closed|quota|blocked|forbidden|refused|too-large|conflict|unsupported|invalid-key|unsupported-value)$/;

/** Judges a run that has ended. */
export function judge(world: World, ending: Ending): Violation[] {
  const violations: Violation[] = [];
  const report = (kind: Kind, text: string): void => {
    if (!violations.some((one) => one.kind === kind && one.text === text)) violations.push({ kind, text });
  };
  for (const { kind, text } of world.findings) report(kind, text);
  for (const call of world.calls) judgeUnit(world, call, report);
  judgeCalls(world, report);
  judgeEnding(world, ending, report);
  for (const { client, content, heard } of ending.reports)
    for (const [i, listener] of client.listeners.entries())
      judgeListener(world, client, listener, heard[i] ?? 0, content, report);
  const keys = new Set([
    ...world.calls.flatMap(({ operation }) => keysOf(operation)),
    ...world.server.history.map(({ key }) => key),
  ]);
  for (const key of keys) {
    if (key.startsWith('probe:')) continue;
    const facts = factsOf(world, ending, key);
    if (facts.hasOneWriter) judgeOneWriter(facts, report);
    if (!facts.hasTexts) continue;
    judgeHistory(world, facts, report);
    for (const client of world.clients) judgeReads(facts, client, report);
  }
  return violations;
}

type Report = (kind: Kind, text: string) => void;

const nameOf = ({ client: { tab }, id, operation }: Call): string => `${tab.name} ${id}:${textOf(operation)}`;

const show = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));

function judgeCalls(world: World, report: Report): void {
  const limitMs = (world.options.storage?.timeout ?? 10_000) + MARGIN_MS;
  for (const call of world.calls) {
    const { outcome, tookMs = 0 } = call;
    if (outcome === undefined) {
      if (!call.client.tab.isDead) report('hang', `${nameOf(call)} never settles`);
      continue;
    }
    if (tookMs > limitMs) report('limit', `${nameOf(call)} took ${Math.round(tookMs)} ms`);
    if (outcome.type === 'rejected' && !CODES.test(outcome.code))
      report('raw error', `${nameOf(call)} rejects with ${outcome.code}: ${outcome.message}`);
  }
}

function judgeEnding({ options }: World, { reports, content, failures }: Ending, report: Report): void {
  for (const failure of failures) report('not recovered', failure);
  const level = options.level ?? 1;
  for (const { client, status, conflicts, content: own, offline } of reports) {
    const { name } = client.tab;
    const { state, pending, reason } = status;
    if (state !== 'online' || status.backend !== 'flask')
      report('status', `${name}: ${state}, though the server is there`);
    if (pending !== 0) report('status', `${name}: ${pending} writes wait, after flush()`);
    if (status.conflicts !== conflicts.length)
      report('status', `${name}: status() counts ${status.conflicts} of ${conflicts.length} conflicts`);
    if (status.level !== level) report('status', `${name}: level ${status.level}`);
    if (/cannot|not asked|does not answer|wait/.test(reason))
      report('status', `${name}: online, and the reason is ${reason}`);
    for (const key of new Set([...content.keys(), ...own.keys()])) {
      const [there, here] = [content.get(key), own.get(key)];
      if (typeof there === 'object') continue;
      if (!isSame(there, here))
        report('diverged', `${name} has ${show(here)} at ${key}, the server ${show(there)}`);
      if (offline.has(key) && !isSame(offline.get(key), there))
        report(
          offline.get(key) === undefined ? 'false missing' : 'stale read',
          `${name}, while the server is away, has ${show(offline.get(key))} at ${key}, the server ${show(there)}`,
        );
    }
  }
}

/**
 * What a listener was told: no value twice, none after a later one, and at the end what its tab has (docs/guarantees.md, 5.4).
 *
 * @param count How much it was told when its tab has read `content`.
 */
function judgeListener(
  world: World,
  { tab, device }: Client,
  { key, heard }: Listener,
  count: number,
  content: ReadonlyMap<string, unknown>,
  report: Report,
): void {
  const { server, isMirrorBehind } = world;
  const name = `${tab.name} watches ${key ?? 'all keys'}`;
  const state = new Map<string, unknown>();
  /** The last value of each key that the server had too: its place in the history. */
  const places = new Map<string, number>();
  let isCleared = false;
  for (const { type, key: told = '', value } of heard.slice(0, count)) {
    if (told.startsWith('probe:')) continue;
    if (type === 'clear') {
      for (const one of state.keys()) state.set(one, undefined);
      isCleared = true;
      continue;
    }
    // After a restore the server's present state is told, whatever was told before. Without the disk nothing numbers the commits of two
    // tabs: changes are told as they are answered, and again when they are stored (docs/guarantees.md, 5.4).
    const isToldAgain = server.isRestored || isMirrorBehind;
    if (type === 'set' && !isToldAgain && isSame(state.get(told), value))
      report('told twice', `${name}: ${show(value)} at ${told}`);
    state.set(told, value);
    const place = server.history.findLastIndex(
      (change) => change.key === told && isSame(change.value, value),
    );
    if (value === undefined || place < 0 || isToldAgain) continue;
    const before = places.get(told) ?? 0;
    if (place < before && !isQueuedLater(world, device, server.history[before] as Change, value))
      report(
        'told in a wrong order',
        `${name}: ${show(value)} at ${told} after ${show(server.history[before]?.value)}`,
      );
    places.set(told, place);
  }
  // A listener of all keys has not been told what there was before it, unless it was told that everything is gone.
  const watched = key === undefined ? [...state.keys(), ...(isCleared ? content.keys() : [])] : [key];
  for (const one of new Set(watched)) {
    if (one.startsWith('probe:') || typeof content.get(one) === 'object') continue;
    if (!isSame(state.get(one), content.get(one)))
      report(
        'not told',
        `${name}, was last told ${show(state.get(one))} at ${one}, and has ${show(content.get(one))}`,
      );
  }
}

/**
 * Whether a value is that of a write of this device whose answer was lost, so that it was added to the outbox after the server had got a
 * later change. Readers then see the write (docs/guarantees.md, 3.1), and it is told as it is committed here (5.4).
 */
const isQueuedLater = (
  { calls, network }: World,
  device: Device,
  { key, atMs }: Change,
  value: unknown,
): boolean =>
  calls.some(({ client, operation, calledAtMs, settledAtMs = Number.POSITIVE_INFINITY }) => {
    const mark = markOf(operation, key);
    if (client.device !== device || mark !== partsOf(value).at(-1)) return false;
    return (
      calledAtMs <= atMs &&
      settledAtMs >= atMs &&
      network.arrivals.some(
        ({ request, isAnswered }) =>
          !isAnswered &&
          request.tab === client.tab &&
          request.text.includes(JSON.stringify(mark).slice(1, -1)),
      )
    );
  });

type Conflict = Ending['reports'][number]['conflicts'][number];

/** All that is known of a key. */
interface Facts {
  readonly key: string;
  readonly history: readonly Change[];
  readonly initial: unknown;
  readonly final: unknown;
  /** All calls of the world. */
  readonly calls: readonly Call[];
  /** Calls that may change it, in their order. */
  readonly writes: readonly Call[];
  readonly hasOneWriter: boolean;
  /** Whether all values are texts. Others travel in a form of their own, and are judged only by their conflicts. */
  readonly hasTexts: boolean;
  /** Whether a restore has changed what the server had. */
  readonly isRestored: boolean;
  readonly conflictsOf: (client: Client) => readonly Conflict[];
  /** The keys of units that the server has refused for good. */
  readonly refusedUnitKeysOf: (client: Client) => readonly string[];
}

function factsOf(world: World, { reports, content }: Ending, key: string): Facts {
  const all = world.server.history.filter((change) => change.key === key);
  const firstCallMs = world.calls[0]?.calledAtMs ?? 0;
  const before = all.filter(({ atMs, isByRequest }) => !isByRequest && atMs <= firstCallMs);
  const history = all.slice(before.length);
  const calls = world.calls.filter(({ operation }) => writes(operation, key));
  const conflictsOf = ({ device }: Client): readonly Conflict[] =>
    reports.find(({ client }) => client.device === device)?.conflicts ?? [];
  const isTouched = world.server.isRestored || history.some(({ isByRequest }) => !isByRequest);
  return {
    key,
    history,
    initial: before.at(-1)?.value,
    final: content.get(key),
    calls: world.calls,
    writes: calls,
    hasOneWriter:
      new Set(calls.map(({ client }) => client)).size === 1 &&
      !isTouched &&
      !calls.some(({ client }) => client.device.hasLostData),
    hasTexts: all.every(({ value }) => value === undefined || typeof value === 'string'),
    isRestored: isTouched,
    conflictsOf: (client) => conflictsOf(client).filter((one) => one.key === key || one.key === ''),
    refusedUnitKeysOf: (client) =>
      conflictsOf(client).flatMap(({ reason, unit = [] }) => (reason === 'rejected' ? unit : [])),
  };
}

/** How far a write may have taken effect. */
type Effect = 'applied' | 'none' | 'maybe';

function effectOf({ outcome, operation }: Call): Effect {
  if (outcome?.type === 'resolved') return 'applied';
  // Each entry is a write of its own: the call rejects with the first that fails, and the others may be stored.
  if (/^(setMany|deleteMany)$/.test(operation.type) && keysOf(operation).length > 1) return 'maybe';
  return outcome === undefined || IN_DOUBT.test(outcome.code) ? 'maybe' : 'none';
}

/**
 * The same for a key that one tab writes. The server may have refused an acknowledged write for good: then it is in `conflicts()`, itself
 * or a later one that has replaced it, and the key is as it was before (docs/guarantees.md, 1.7 and 2.4).
 */
function effectIn(facts: Facts, call: Call): Effect {
  const { key, writes, history } = facts;
  const mark = markOf(call.operation, key);
  const kept = facts.conflictsOf(call.client).filter((conflict) => mayConflict(facts, conflict, call.client));
  const isTakenOut =
    (mark === undefined || !history.some(({ value }) => has(value, mark))) &&
    writes.some(({ id, operation }) => {
      const later = markOf(operation, key);
      return (
        id >= call.id &&
        kept.some(({ local }) => (later === undefined ? local === undefined : has(local?.value, later)))
      );
    });
  return effectOf(call) === 'applied' && isTakenOut ? 'maybe' : effectOf(call);
}

/** What a write makes of a value, or `undefined` where its condition is false. */
function apply(
  { operation, seen }: Call,
  key: string,
  value: unknown,
): { readonly value: unknown } | undefined {
  const { type } = operation;
  if (type === 'set' || type === 'delete') {
    if (operation.if === 'absent' && value !== undefined) return undefined;
    // A delete that has seen nothing has no condition.
    const isConditional = operation.if === 'seen' && (type === 'set' || typeof seen?.revision === 'string');
    if (isConditional && !isSame(value, seen?.value)) return undefined;
  }
  if (type === 'set') return { value: operation.value };
  if (type === 'setMany' || type === 'atomic') return { value: Object.fromEntries(operation.entries)[key] };
  if (type === 'update') return { value: updated(value, operation.suffix) };
  return { value: undefined };
}

type Values = readonly unknown[];

/** The values that a key may have after a write. */
function after(call: Call, key: string, values: Values, effect: Effect): Values {
  if (effect === 'none') return values;
  const made = values.flatMap((value) => {
    const result = apply(call, key, value);
    return result ? [result.value] : [];
  });
  return [...new Set(effect === 'applied' ? made : [...values, ...made])];
}

function judgeOneWriter(facts: Facts, report: Report): void {
  const { key, final } = facts;
  const [first] = facts.writes;
  if (!first) return;
  const { client } = first;
  let values: Values = [facts.initial];
  let isInDoubt = false;
  for (const call of facts.writes) {
    const effect = effectIn(facts, call);
    const next = after(call, key, values, effect);
    isInDoubt ||= effectOf(call) === 'maybe';
    if (next.length === 0) {
      report('false condition', `${nameOf(call)} resolves, and ${key} was ${values.map(show).join(' or ')}`);
      return;
    }
    const { outcome, operation } = call;
    if (
      outcome?.type === 'rejected' &&
      outcome.code === 'conflict' &&
      !/update|atomic/.test(operation.type)
    ) {
      const others = values.filter((value) => apply(call, key, value) === undefined);
      if (others.length === 0) {
        report(
          'false condition',
          `${nameOf(call)} conflicts, and ${key} was ${values.map(show).join(' or ')}`,
        );
        return;
      }
      // A device checks a condition by what it knows. It does not know whether a write in doubt has arrived.
      if (!isInDoubt) values = others;
    } else if (outcome?.type === 'resolved' && operation.type === 'update') {
      if (!next.some((value) => isSame(value, outcome.value)))
        report(
          'lost update',
          `${nameOf(call)} makes ${show(outcome.value)} of ${values.map(show).join(' or ')}`,
        );
      values = [outcome.value];
    } else values = next;
  }
  for (const call of client.calls)
    for (const [value, text] of valuesRead(call, key)) {
      // While the database cannot be read, the server answers for keys of the outbox too (docs/guarantees.md, 7.2).
      if (isDiskFailing(call)) continue;
      const possible = valuesAt(facts, call);
      if (!possible.some((one) => isSame(one, value)))
        report(
          value === undefined ? 'false missing' : 'stale read',
          `${nameOf(call)} reads ${text}, and ${key} was ${possible.map(show).join(' or ')}`,
        );
    }
  const conflicts = facts.conflictsOf(client).filter((conflict) => !mayConflict(facts, conflict, client));
  // A write is then not compared with what the device has seen, because the device does not know it (docs/guarantees.md, 7.2).
  const isUnknown = client.device.hasLostMirror || facts.writes.some(isDiskFailing);
  if (conflicts.length > 0 && !isInDoubt && !isUnknown)
    report('conflict with itself', `${key}: ${JSON.stringify(conflicts[0])}`);
  const kept = facts.conflictsOf(client).map(({ local }) => local?.value);
  if (facts.hasTexts && ![final, ...kept].some((value) => values.some((one) => isSame(one, value))))
    report(
      'lost',
      `${key} is ${show(final)} at the server, and ${values.map(show).join(' or ')} was acknowledged`,
    );
}

/** Whether the disk has failed during a call. */
const isDiskFailing = ({ client, calledAtMs, settledAtMs = 0 }: Call): boolean =>
  client.device.disk.failedAtMs.some((ms) => ms >= calledAtMs && ms <= settledAtMs);

/** Whether a conflict of a key that one tab writes has another reason than that tab's writes of it. */
function mayConflict(facts: Facts, { reason, unit }: Conflict, client: Client): boolean {
  const { key, calls } = facts;
  if (reason === 'rejected') return true;
  // What was made on a unit that the server has refused is kept too (docs/guarantees.md, 1.7).
  const refused = facts.refusedUnitKeysOf(client);
  if ((unit ?? [key]).some((one) => refused.includes(one))) return true;
  if (!unit) return false;
  // A unit is in conflict as a whole, whichever of its keys is the reason.
  const checks = client.calls.flatMap(({ operation }) =>
    operation.type === 'atomic' && operation.check !== undefined && writes(operation, key)
      ? [operation.check]
      : [],
  );
  return calls.some(
    (call) =>
      [...unit, ...checks].some((other) => writes(call.operation, other)) &&
      (call.client !== client || effectOf(call) === 'maybe'),
  );
}

/** The values that a read may see of a key that only its own tab writes. */
function valuesAt(facts: Facts, read: Call): Values {
  let values: Values = [facts.initial];
  for (const call of facts.writes) {
    const effect = effectIn(facts, call);
    const isBefore = call.id < read.id;
    if (!isBefore && (call.turn === read.turn || call.calledAtMs >= (read.settledAtMs ?? 0))) break;
    const isSure = isBefore && (call.turn === read.turn || (call.settledAtMs ?? Infinity) <= read.calledAtMs);
    values = after(call, facts.key, values, effect === 'applied' && !isSure ? 'maybe' : effect);
  }
  return values;
}

/** What a call has read of a key, with a text for people. */
function valuesRead(
  { operation, outcome }: Call,
  key: string,
): Array<readonly [value: unknown, text: string]> {
  if (!isRead(operation) || outcome?.type !== 'resolved') return [];
  const { value } = outcome;
  if (operation.type === 'get' && operation.key === key) return [[value, show(value)]];
  if (operation.type === 'getEntry' && operation.key === key) {
    const entry = value as { readonly value: unknown } | undefined;
    return [[entry?.value, show(entry?.value)]];
  }
  if (operation.type === 'getMany' && operation.keys.includes(key)) {
    const one = (value as unknown[])[operation.keys.indexOf(key)];
    return [[one, show(one)]];
  }
  return [];
}

/** The parts of a value: the value that was set, and what updates have appended. */
const partsOf = (value: unknown): string[] => String(value).split(/(?=\+)/);

const isSame = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);

/** What a write leaves in a value, if it is not a deletion. */
function markOf(operation: Operation, key: string): string | undefined {
  if (operation.type === 'set' && operation.key === key) return String(operation.value);
  if (operation.type === 'update' && operation.key === key) return operation.suffix;
  if (operation.type === 'setMany' || operation.type === 'atomic') {
    const entry = operation.entries.find(([name]) => name === key);
    return entry && String(entry[1]);
  }
  return undefined;
}

const has = (value: unknown, mark: string): boolean => value !== undefined && partsOf(value).includes(mark);

/** Rules that hold for any number of writers. */
function judgeHistory(world: World, facts: Facts, report: Report): void {
  const { key, history, isRestored } = facts;
  if (isRestored) return;
  const values = [facts.initial, ...history.map(({ value }) => value)];
  for (const [i, { value }] of history.entries()) {
    judgeOverwrite(world, facts, i, report);
    if (value === undefined) continue;
    const before = values[i];
    const call = facts.writes.find(({ operation }) => markOf(operation, key) === partsOf(value).at(-1));
    // A unit that finds its own values writes them once more (docs/guarantees.md, 7.1).
    const isSameUnit = call?.operation.type === 'atomic' && isSame(value, before);
    if (values.indexOf(value) <= i && !(isSameUnit && call.client.device.disk.wasFull))
      report('applied twice', `${show(value)} at ${key}`);
    const parts = partsOf(value);
    if (new Set(parts).size < parts.length) report('applied twice', `${show(value)} at ${key}`);
    if (!call) continue;
    if (call.operation.type === 'update') {
      const base = parts.slice(0, -1).join('') || undefined;
      if (
        !isSame(base, before) &&
        values.slice(0, i + 1).some((one) => isSame(one, base)) &&
        base !== undefined
      )
        report('lost update', `${nameOf(call)} replaces ${show(before)} by ${show(value)}`);
    }
    if (
      call.outcome?.type === 'resolved' &&
      apply(call, key, before) === undefined &&
      !mayBeLocal(facts, call)
    )
      report('false condition', `${nameOf(call)} replaces ${show(before)}`);
  }
  for (const call of facts.writes) {
    judgeConditionSent(world, facts, call, report);
    judgeLost(facts, call, report);
  }
}

/**
 * Whether the state that a conditional write expects may be one that another write of its device waits to make: an earlier one of its
 * tab, or one of another tab that was called before it was settled.
 */
function mayBeLocal({ key, writes }: Facts, call: Call): boolean {
  const expected = 'if' in call.operation && call.operation.if === 'seen' ? call.seen?.value : undefined;
  return writes.some(
    ({ id, client, operation, outcome, calledAtMs }) =>
      (client === call.client ? id < call.id : calledAtMs < (call.settledAtMs ?? 0)) &&
      client.device === call.client.device &&
      (operation.type === 'update'
        ? outcome?.type === 'resolved' && isSame(outcome.value, expected)
        : (markOf(operation, key) ?? '') === String(expected ?? '')),
  );
}

/** The writes of an `atomic()` are at the server together, in the state that it checks. */
function judgeUnit({ server: { history, isRestored }, calls }: World, call: Call, report: Report): void {
  const { operation, seen, client } = call;
  if (operation.type !== 'atomic' || isRestored) return;
  const found = operation.entries.map(([key, value]) =>
    history.find((change) => change.key === key && isSame(change.value, value)),
  );
  const [first] = found.filter((change) => change !== undefined);
  if (!first) return;
  // A write that the server has committed in the same transaction hides the one before it.
  const isHidden = (key: string): boolean =>
    history.some((change) => change.key === key && change.atMs === first.atMs);
  for (const [i, [key]] of operation.entries.entries())
    if (found[i]?.atMs !== first.atMs && !isHidden(key))
      report('torn', `${nameOf(call)}: ${key} is not at the server together with ${first.key}`);
  const { check } = operation;
  if (check === undefined) return;
  const isLocal = calls.some(
    (other) => other.id < call.id && other.client.device === client.device && writes(other.operation, check),
  );
  const before = history.filter((change) => change.key === check && change.atMs < first.atMs).at(-1)?.value;
  if (!isLocal && call.outcome?.type === 'resolved' && !isSame(before, seen?.value))
    report('false condition', `${nameOf(call)} takes effect, and ${check} was ${show(before)}`);
}

/** Whether a write may have replaced a value: it was sent before it was acknowledged, or its device may have seen the value. */
function mayReplace(
  world: World,
  { key, writes: calls }: Facts,
  call: Call,
  replaced: Change,
  atMs: number,
): boolean {
  const { settledAtMs = Number.POSITIVE_INFINITY, client, outcome } = call;
  if (outcome?.type !== 'resolved' || settledAtMs >= atMs) return true;
  const isOwn = calls.some(
    ({ operation, client: { device } }) =>
      device === client.device && has(replaced.value, markOf(operation, key) ?? ''),
  );
  return (
    isOwn ||
    world.network.arrivals.some(({ request, atMs: arrivedAtMs, isAnswered }) => {
      if (request.tab.device !== client.device) return false;
      const isFirstAttempt = arrivedAtMs === atMs && request.sentAtMs < settledAtMs;
      return isFirstAttempt || (isAnswered && arrivedAtMs >= replaced.atMs && arrivedAtMs <= settledAtMs);
    })
  );
}

/** A write that was acknowledged before it was sent replaces only what its device may have seen. */
function judgeOverwrite(world: World, facts: Facts, at: number, report: Report): void {
  const { key, history, writes: calls } = facts;
  const [replaced, change] = [history[at - 1], history[at]];
  if (replaced?.value === undefined || !change) return;
  const { value, atMs } = change;
  const candidates = calls.filter(({ operation, calledAtMs }) => {
    const mark = markOf(operation, key);
    return calledAtMs <= atMs && (value === undefined ? mark === undefined : mark === partsOf(value).at(-1));
  });
  if (candidates.length > 0 && !candidates.some((call) => mayReplace(world, facts, call, replaced, atMs)))
    report(
      'blind overwrite',
      `${candidates.map(nameOf).join(' or ')} replaces ${show(replaced.value)}, which its device had not seen`,
    );
}

/** A conditional write that has arrived before it resolved has had the state that it expects. */
function judgeConditionSent({ network }: World, facts: Facts, call: Call, report: Report): void {
  const { operation, outcome, settledAtMs = 0 } = call;
  if (!('if' in operation) || operation.if === undefined || outcome?.type !== 'resolved') return;
  const mark = markOf(operation, facts.key);
  if (mark === undefined || facts.history.some(({ value }) => has(value, mark))) return;
  const arrival = network.arrivals.find(
    ({ request, atMs }) => request.text.includes(JSON.stringify(mark).slice(1, -1)) && atMs <= settledAtMs,
  );
  if (!arrival) return;
  const there = [{ value: facts.initial }, ...facts.history.filter(({ atMs }) => atMs <= arrival.atMs)].at(
    -1,
  );
  if (apply(call, facts.key, there?.value) === undefined)
    report('false condition', `${nameOf(call)} resolves, and the server had ${show(there?.value)}`);
}

/** An acknowledged write is at the server or in conflicts, or a later one of its device stands for it. */
function judgeLost(facts: Facts, call: Call, report: Report): void {
  const { key, history } = facts;
  if (effectOf(call) !== 'applied' || call.operation.type === 'clear') return;
  if (call.client.device.hasLostData) return;
  const { device } = call.client;
  const later = facts.writes.filter(
    (other) =>
      other !== call &&
      other.client.device === device &&
      effectOf(other) !== 'none' &&
      // Between two tabs either order may come out where both write at once.
      (other.client === call.client
        ? other.id > call.id
        : (other.settledAtMs ?? Number.POSITIVE_INFINITY) >= call.calledAtMs),
  );
  const kept = facts.conflictsOf(call.client);
  const mark = markOf(call.operation, key);
  if (mark === undefined) {
    const states = [{ atMs: 0, value: facts.initial }, ...history];
    const isDeleted = states.some(
      ({ value }, i) => value === undefined && (states[i + 1]?.atMs ?? Infinity) >= call.calledAtMs,
    );
    if (!isDeleted && later.length === 0 && !kept.some(({ local }) => local === undefined))
      report('lost', `${nameOf(call)} was acknowledged, and ${key} was never deleted`);
    return;
  }
  const isFound =
    history.some(({ value }) => has(value, mark)) || kept.some(({ local }) => has(local?.value, mark));
  const isReplaced = later.some(({ operation, outcome }) =>
    operation.type === 'update' && outcome?.type === 'resolved'
      ? false
      : operation.type !== 'update' || outcome === undefined,
  );
  if (!isFound && !isReplaced) report('lost', `${nameOf(call)} was acknowledged, and is nowhere`);
}

/** A tab never reads what is older than it was told before, nor that something is missing which was not. */
function judgeReads(facts: Facts, client: Client, report: Report): void {
  const { key, history, isRestored } = facts;
  if (isRestored || client.device.hasLostData) return;
  const values = [facts.initial, ...history.map(({ value }) => value)];
  /** What the tab was told, with the time: a place in the history. */
  const told: Array<{ readonly atMs: number; readonly place: number }> = [];
  for (const call of client.calls) {
    const { settledAtMs = 0 } = call;
    if (effectOf(call) === 'applied' && writes(call.operation, key)) {
      const mark = markOf(call.operation, key);
      const place =
        history.findIndex(
          ({ value, atMs }) => mark !== undefined && has(value, mark) && atMs <= settledAtMs,
        ) + 1;
      if (place > 0) told.push({ atMs: settledAtMs, place });
    }
    for (const [value, text] of valuesRead(call, key)) {
      const floor = Math.max(
        0,
        ...told.filter(({ atMs }) => atMs <= call.calledAtMs).map(({ place }) => place),
      );
      const places = values.flatMap((one, place) => (isSame(one, value) ? [place] : []));
      const isOwn = facts.writes.some(
        (other) =>
          other.client.device === client.device &&
          other.calledAtMs <= settledAtMs &&
          (value === undefined
            ? markOf(other.operation, key) === undefined
            : has(value, markOf(other.operation, key) ?? '')),
      );
      if (places.every((place) => place < floor) && (places.length > 0 || value === undefined) && !isOwn)
        report(
          value === undefined ? 'false missing' : 'stale read',
          `${nameOf(call)} reads ${text} after ${show(values[floor])}`,
        );
      const place = places.find((one) => one >= floor);
      if (place !== undefined) told.push({ atMs: settledAtMs, place });
    }
  }
}
