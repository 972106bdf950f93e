/**
 * One schedule: a server, origins with their tabs, and everything that can go wrong between them, all drawn from a seed.
 *
 * After a number of steps everything heals: what is under way ends, and each origin meets the server. Then the accounts are closed.
 */
import { randomOf } from '../faults/random.ts';
import { createAccounts, type Fault } from './accounts.ts';
import { createApp, oddsOf } from './chance.ts';
import { establish, handshake, pull } from './handshake.ts';
import { createOrigin, differences, type Origin } from './origin.ts';
import { replayOutbox } from './replay.ts';
import { type Answer, copyOf, createServer, type Request, restoreTo, type State } from './server.ts';
import { type Process, type Tab, withLock } from './tab.ts';
import { answerText, stateOf, textOf } from './trace.ts';
import type { Rules } from './tried-rules.ts';

/** What came of a schedule. */
export interface Outcome {
  readonly faults: ReadonlyArray<{ readonly fault: Fault; readonly text: string }>;
  readonly steps: number;
  readonly acknowledged: number;
  readonly crashes: number;
  readonly restores: number;
  readonly conflicts: number;
  readonly trace: readonly string[];
}

interface Backup {
  readonly state: State;
  /** How many restores it is younger than. */
  readonly restores: number;
}

/** Something that a tab is doing. */
interface Running {
  readonly tab: Tab;
  readonly kind: 'app' | 'establish' | 'drain' | 'pull';
  readonly process: Process<unknown>;
  /** Under way; nothing while it waits for its disk. */
  call: Call | undefined;
}

/** A request under way, or its answer. */
interface Call {
  readonly request: Request;
  /** Who waits for it; nobody when it was voided. */
  caller: Running | undefined;
  answer: Answer | undefined;
}

const HEALING = 8;

type Batch = Extract<Request, { type: 'batch' }>;

/** Whether a request sends values out of an outbox. */
const isSending = (request: Request): request is Batch =>
  request.type === 'batch' &&
  request.mutation !== undefined &&
  request.ops[0]?.queued === true &&
  (request.ops.length > 1 || request.ops[0].value !== undefined);

/** What is refused alone is never sent again. */
function refuse({ atomic, ops }: Batch): void {
  if (atomic || ops.length === 1) for (const { write } of ops) if (write) write.refused = true;
}

/** Run the schedule of a seed. */
export function run(seed: number, rules: Rules, traced = false): Outcome {
  const random = randomOf(seed);
  const trace: string[] = [];
  const note = (text: () => string): void => {
    if (traced) trace.push(`${String(tick).padStart(4)} ${text()}`);
  };
  /** What is on a disk, where that has changed. */
  const told = (origin: Origin): string => {
    const state = stateOf(origin);
    const isNew = states.get(origin) !== state;
    states.set(origin, state);
    return isNew ? `\n       origin ${origin.index}: ${state}` : '';
  };
  const states = new Map<Origin, string>();
  let tick = 0;
  let names = 0;
  let crashes = 0;
  /** Whether batches may be found too large. */
  let isRefusing = true;
  const accounts = createAccounts(() => tick);
  const server = createServer(accounts);
  const newClient = (): string => `c${++names}`;
  const odds = oddsOf(random);
  const { keys } = odds;
  const act = createApp(random, odds);
  const origins = odds.policies.map((policy, i) => createOrigin(i, policy, rules, accounts));
  const tabs: Tab[] = [];
  const running: Running[] = [];
  const calls: Call[] = [];
  const backups: Backup[] = [{ state: copyOf(server.state), restores: 0 }];

  function openTab(origin: Origin): Tab {
    const name = `tab ${++names} of origin ${origin.index}`;
    const tab: Tab = {
      name,
      origin,
      most: odds.most,
      newClient,
      online: false,
      session: undefined,
      client: newClient(),
      next: 1,
      acknowledged: 0,
      hasLostMutations: false,
    };
    tabs.push(tab);
    return tab;
  }

  function start(tab: Tab, kind: Running['kind'], process: Process<unknown>): void {
    const one: Running = { tab, kind, process, call: undefined };
    running.push(one);
    note(() => `${tab.name} begins: ${kind}`);
    goOn(one, undefined);
  }

  function goOn(one: Running, answer: Answer | undefined): void {
    one.call = undefined;
    const { done, value } = one.process.next(answer);
    if (done) {
      running.splice(running.indexOf(one), 1);
      note(() => `${one.tab.name} has ended: ${one.kind} ${told(one.tab.origin)}`);
    } else if (value) {
      one.call = { request: value, caller: one, answer: undefined };
      calls.push(one.call);
      note(() => `${one.tab.name} ${one.kind} sends ${textOf(value)} ${told(one.tab.origin)}`);
    } else note(() => `${one.tab.name} ${one.kind} waits ${told(one.tab.origin)}`);
  }

  const forget = (call: Call): void => {
    calls.splice(calls.indexOf(call), 1);
  };

  /** A request arrives, or an answer. */
  function deliver(call: Call): void {
    const { caller } = call;
    if (call.answer) {
      forget(call);
      note(() => `${caller?.tab.name} ${caller?.kind} is answered ${answerText(call.answer as Answer)}`);
      if (caller) goOn(caller, call.answer);
      return;
    }
    const isRefused = isRefusing && isSending(call.request) && random.chance(odds.refused);
    call.answer = isRefused ? { error: 'too-large' } : server.handle(call.request);
    if (isRefused) refuse(call.request);
    note(() => `the server takes ${textOf(call.request)}: ${answerText(call.answer as Answer)}`);
    if (!caller) forget(call);
  }

  /** The caller gives up, or sends again; what was sent may still arrive. */
  function lose(call: Call): void {
    const { caller } = call;
    const isLate = call.answer === undefined && random.chance(0.5);
    call.caller = undefined;
    if (!isLate) forget(call);
    note(() => `lost${isLate ? ', for now' : ''}: ${textOf(call.request)}`);
    if (!caller) return;
    if (random.chance(odds.resent)) {
      caller.call = { request: call.request, caller, answer: undefined };
      calls.push(caller.call);
      note(() => `${caller.tab.name} sends it again`);
    } else goOn(caller, undefined);
  }

  function crash(tab: Tab): void {
    crashes += 1;
    note(() => `${tab.name} dies`);
    tabs.splice(tabs.indexOf(tab), 1);
    for (const one of running.filter((other) => other.tab === tab)) {
      running.splice(running.indexOf(one), 1);
      if (one.call?.answer) forget(one.call);
      else if (one.call) one.call.caller = undefined;
      one.process.return(undefined);
    }
    openTab(tab.origin);
  }

  function restore(): void {
    accounts.restores(server, keys);
    const { state, restores } = random.pick(backups);
    // One of another history would not be an earlier state of this one.
    const keeps = restores === server.restores.length && random.chance(0.3);
    restoreTo(server, state, keeps ? server.epoch : `e${++names}`);
    // A restore stops the server, so nothing that depends on no epoch outlives it.
    for (const call of [...calls])
      if (!call.answer && (keeps || call.request.type !== 'batch' || call.request.epoch === undefined)) {
        if (call.caller) lost(call);
        else forget(call);
      }
    note(() => `the server is restored to ${state.seq}, ${keeps ? 'silently' : server.epoch}`);
    if (!keeps) return;
    // Where it says nothing of it, that is noticed only before its numbers have grown again.
    for (const tab of [...tabs]) crash(tab);
    for (const origin of origins) {
      const [tab] = tabs.filter((other) => other.origin === origin);
      if (tab && origin.meta.level)
        handshake(tab, origin.meta, { epoch: server.epoch, seq: state.seq }, server.incarnations);
    }
  }

  function lost(call: Call): void {
    const { caller } = call;
    forget(call);
    if (caller) goOn(caller, undefined);
  }

  const does = (tab: Tab, kind: Running['kind']): boolean =>
    running.some((one) => one.tab === tab && one.kind === kind);

  /** What a tab does by itself. */
  function tabActs(tab: Tab): void {
    if (!tab.online) {
      if (!does(tab, 'establish')) start(tab, 'establish', establish(tab, server.incarnations));
    } else if (tab.origin.pending.size > 0 && !does(tab, 'drain')) start(tab, 'drain', draining(tab));
    else if (!does(tab, 'pull')) start(tab, 'pull', pull(tab, odds.page));
  }

  function* draining(tab: Tab): Process {
    if (yield* withLock(tab.origin, () => replayOutbox(tab))) tab.online = false;
  }

  function step(): void {
    const kind = random.next();
    const tab = random.pick(tabs);
    if (kind < odds.fault) {
      if (random.chance(odds.restores)) {
        if (random.chance(0.4))
          backups.push({ state: copyOf(server.state), restores: server.restores.length });
        else restore();
        return;
      }
      const what = random.next();
      if (what < 0.5 && calls.length > 0) lose(random.pick(calls));
      else if (what < 0.7) crash(tab);
      else if (what < 0.85) {
        note(() => `the clock of origin ${tab.origin.index} jumps`);
        tab.origin.lockHolder = undefined;
      } else tab.online = false;
      return;
    }
    if (kind < odds.app) {
      if (!does(tab, 'app')) start(tab, 'app', act(tab));
    } else if (kind < odds.own) tabActs(tab);
    else progress();
  }

  function progress(): void {
    const waiting = running.filter(({ call }) => !call);
    const at = random.below(calls.length + waiting.length);
    const call = calls[at];
    if (call) deliver(call);
    else if (waiting.length > 0) goOn(waiting[at - calls.length] as Running, undefined);
  }

  for (const origin of origins) for (let i = random.below(2); i >= 0; i--) openTab(origin);
  for (; tick < odds.steps; tick++) step();

  note(() => 'everything heals');
  const settleAll = (): void => {
    for (let i = 0; i < 2000 && running.length > 0; i++, tick++) progress();
    if (running.length > 0) accounts.fail('diverged', 'something never ends');
  };
  isRefusing = false;
  settleAll();
  for (let round = 0; round < HEALING; round++) {
    // What was voided long ago may still arrive.
    for (const call of [...calls]) if (random.chance(0.5)) deliver(call);
    for (const origin of origins) {
      const tab = openTab(origin);
      start(tab, 'establish', establish(tab, server.incarnations));
      settleAll();
      start(tab, 'pull', pull(tab, odds.page));
      settleAll();
    }
  }
  const storedJsonOf = (key: string) => server.state.entries.get(key)?.value;
  for (const origin of origins)
    for (const text of differences(origin, keys, storedJsonOf)) accounts.fail('diverged', text);
  accounts.close(
    server,
    origins.map(({ conflicts, pending, units }) => ({
      conflicts,
      queued: [...pending.values()].flat(),
      units: conflicts.flatMap(({ unit }) => (unit === undefined ? [] : (units.get(unit) ?? []))),
    })),
  );
  return {
    faults: accounts.faults,
    steps: tick,
    acknowledged: accounts.acknowledged(),
    crashes,
    restores: server.restores.length,
    conflicts: origins.reduce((sum, { conflicts }) => sum + conflicts.length, 0),
    trace,
  };
}
