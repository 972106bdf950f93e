/**
 * A simulated world: devices with tabs, a network, a server, and a record of every call.
 *
 * Scripts and generated programs act through it. Time passes only inside `wait`, `until`, `settle` and what is made of them.
 */
import type { Change, KeyValueStorage } from '../../../src/api.ts';
import type { StorageOptions } from '../../../src/config.ts';
import type { Edit } from './bundle.ts';
import { Clock } from './clock.ts';
import { createDisks, type Disks } from './disk.ts';
import { Network } from './network.ts';
import { conditionOf, type Operation, perform, textOf } from './operations.ts';
import type { Violation } from './oracle.ts';
import { OldServer, ReferenceServer, type Server } from './server.ts';
import { createDevice, type Device, Tab } from './tab.ts';

/** How a call ended. */
export type Outcome =
  | { readonly type: 'resolved'; readonly value: unknown }
  | { readonly type: 'rejected'; readonly code: string; readonly message: string };

/** A call of an app. */
export interface Call {
  /** Counts all calls of a world in their order. */
  readonly id: number;
  readonly client: Client;
  readonly operation: Operation;
  /** Calls of one turn of the event loop have the same number. */
  readonly turn: number;
  readonly calledAtMs: number;
  /** What the tab has seen of the key, for a condition. */
  readonly seen: Seen | undefined;
  outcome: Outcome | undefined;
  settledAtMs: number | undefined;
  /** Milliseconds that it took. Time for which the tab was frozen does not count. */
  tookMs: number | undefined;
}

/** What a listener of `watch()` was told. */
export interface Told extends Pick<Change, 'type' | 'key' | 'value'> {
  readonly atMs: number;
}

/** A listener of a key, or of all keys. */
export interface Listener {
  readonly key: string | undefined;
  readonly sinceMs: number;
  readonly heard: Told[];
}

/** An entry that a tab has read. */
export interface Seen {
  readonly value: unknown;
  readonly revision: string | null;
}

/** What a world is like. */
export interface WorldOptions {
  readonly seed?: number;
  readonly isTraced?: boolean;
  readonly level?: 0 | 1;
  readonly hasLocks?: boolean;
  /** The options of every storage. Default `timeout`: 10 s. */
  readonly storage?: StorageOptions;
  /** A change of the SDK or the server, to see whether the oracle notices. */
  readonly edit?: Edit | undefined;
}

/** Where the server is. */
const SERVER_URL = 'http://localhost:5001';
/** Milliseconds after which a script gives up waiting. Far beyond every limit of the SDK. */
const PATIENCE_MS = 200_000;

/** Something that a script waits for never happens. */
export class NeverError extends Error {}

/** A tab with its storage. */
export class Client {
  private isClosed = false;
  readonly tab: Tab;
  readonly storage: KeyValueStorage;
  /** What `getEntry` has shown, by key. */
  readonly seen = new Map<string, Seen>();
  readonly calls: Call[] = [];
  readonly listeners: Listener[] = [];
  private readonly world: World;

  constructor(world: World, tab: Tab) {
    this.world = world;
    this.tab = tab;
    this.storage = tab.sdk.createStorage({
      useFlask: true,
      flaskUrl: SERVER_URL,
      logger: {
        info: (line: string) => world.clock.note(`${tab.name} logs ${line}`),
        warn: (line: string) => {
          world.clock.note(`${tab.name} warns ${line}`);
          world.isMirrorBehind ||= line.includes("cannot store the server's answers");
        },
      },
      timeout: 10_000,
      ...world.options.storage,
    });
  }

  get device(): Device {
    return this.tab.device;
  }

  /** Calls in one turn of the event loop. */
  turn(...operations: Operation[]): Call[] {
    const turn = this.world.nextTurn();
    return operations.map((operation) => this.call(operation, turn));
  }

  /** Listens to a key and its present value, or to all later changes. */
  watch(key?: string): void {
    const { clock } = this.world;
    if (this.isClosed) return;
    const listener: Listener = { key, sinceMs: clock.nowMs, heard: [] };
    this.listeners.push(listener);
    const hear = ({ type, key: name, value }: Change): void => {
      listener.heard.push({ type, key: name, value, atMs: clock.nowMs });
      clock.note(`${this.tab.name} is told ${type} ${name} ${JSON.stringify(value)}`);
    };
    if (key === undefined) this.storage.watch(undefined, hear);
    else this.storage.watch(key, hear, { immediate: true });
  }

  /** The app closes its storage, and then the tab is closed. */
  close(): void {
    const { clock } = this.world;
    const end = (): void => {
      if (!this.tab.isDead) this.tab.crash();
    };
    this.isClosed = true;
    clock.note(`${this.tab.name} closes`);
    this.storage.close().then(end, end);
  }

  private call(operation: Operation, turn: number): Call {
    const { clock } = this.world;
    const seen = this.seen.get(conditionOf(operation) ?? '');
    const call: Call = {
      id: this.world.calls.length + 1,
      client: this,
      operation,
      turn,
      calledAtMs: clock.nowMs,
      seen,
      outcome: undefined,
      settledAtMs: undefined,
      tookMs: undefined,
    };
    const frozenBeforeMs = this.tab.frozenMs();
    this.world.calls.push(call);
    this.calls.push(call);
    const name = `${this.tab.name} ${call.id}:${textOf(operation)}`;
    clock.note(name);
    const end = (outcome: Outcome): void => {
      call.outcome = outcome;
      call.settledAtMs = clock.nowMs;
      call.tookMs = clock.nowMs - call.calledAtMs - (this.tab.frozenMs() - frozenBeforeMs);
      const text =
        outcome.type === 'resolved' ? JSON.stringify(outcome.value) : `${outcome.code}: ${outcome.message}`;
      clock.note(`${name} ${outcome.type} ${text}`);
    };
    perform(this.storage, operation, seen?.revision ?? null).then(
      (value) => {
        if (operation.type === 'getEntry') {
          const entry = value as { value: unknown; revision: string } | undefined;
          this.seen.set(operation.key, entry ?? { value: undefined, revision: null });
        }
        end({ type: 'resolved', value });
      },
      (error) => end({ type: 'rejected', code: error.code ?? error.name, message: error.message }),
    );
    return call;
  }
}

export class World {
  readonly clock: Clock;
  readonly options: WorldOptions;
  readonly disks: Disks;
  readonly server: Server;
  readonly network: Network;
  readonly devices = new Map<string, Device>();
  readonly clients: Client[] = [];
  readonly calls: Call[] = [];
  /** What a script has found broken. */
  readonly findings: Violation[] = [];
  /** Whether a tab could not store what the server has answered: its disk was full, or another tab held a transaction. */
  isMirrorBehind = false;
  private turns = 0;

  private constructor(options: WorldOptions, clock: Clock, disks: Disks, server: Server) {
    this.options = options;
    this.clock = clock;
    this.disks = disks;
    this.server = server;
    this.network = new Network(clock, server);
  }

  static async create(options: WorldOptions = {}): Promise<World> {
    const clock = new Clock(options.seed ?? 1, options.isTraced);
    const server =
      options.level === 0 ? new OldServer(clock) : await ReferenceServer.create(clock, options.edit);
    return new World(options, clock, await createDisks(clock), server);
  }

  /** The reference server. */
  get reference(): ReferenceServer {
    if (this.server instanceof ReferenceServer) return this.server;
    throw new Error('This world has a server of level 0.');
  }

  device(name: string): Device {
    const device =
      this.devices.get(name) ?? createDevice(this.clock, this.disks, name, this.options.hasLocks ?? true);
    this.devices.set(name, device);
    return device;
  }

  /** Opens a tab. The first letter of its name is the device: `a1` and `a2` share a disk. */
  async open(name: string): Promise<Client> {
    const tab = await Tab.create(name, this.device(name.slice(0, 1)), this);
    const client = new Client(this, tab);
    this.clients.push(client);
    return client;
  }

  /** Opens a tab, and waits until it has reached the server and has read what is there. */
  async openOnline(name: string): Promise<Client> {
    const client = await this.open(name);
    await this.result(client.storage.ready());
    await this.wait(1000);
    return client;
  }

  /**
   * All tabs of a device end at once, and the latest relaxed transactions may be gone.
   *
   * @param onlyValues No transaction is gone, and every large value of relaxed transactions is unreadable.
   */
  cutPower(device: Device, onlyValues = false): void {
    this.clock.note(`power cut of ${device.name}`);
    for (const { tab } of this.clients) if (tab.device === device && !tab.isDead) tab.crash();
    this.disks.cutPower(device.databases, onlyValues);
  }

  /** Somebody deletes the data that sync has on a device: its outbox and its conflicts are lost (docs/guarantees.md, 7.3). */
  deleteSyncData(device: Device): void {
    this.clock.note(`the sync database of ${device.name} is deleted`);
    device.hasLostMirror = true;
    device.hasLostData ||= this.clients.some(
      (client) =>
        client.device === device &&
        (hasOwnData(client) || client.calls.some(({ outcome }) => outcome === undefined)),
    );
    this.disks.deleteAll(device.databases, 'codeforge-sync');
  }

  /** Notes a violation, unless something is so. */
  expect(isSo: boolean, kind: Violation['kind'], text: string): void {
    if (!isSo) this.findings.push({ kind, text });
  }

  nextTurn(): number {
    this.turns += 1;
    return this.turns;
  }

  /** Time passes. */
  async wait(ms: number): Promise<void> {
    await this.clock.run(this.clock.nowMs + ms);
  }

  /** Time passes until something is so. Throws when it never is. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const isDone = await this.clock.run(this.clock.nowMs + PATIENCE_MS, isSo);
    if (!isDone) throw new NeverError(`After ${PATIENCE_MS / 1000} s there is still no ${what}.`);
  }

  /** Time passes until calls have settled, or until nobody would wait any longer. Frozen and dead tabs are not waited for. */
  async settle(calls: readonly Call[] = this.calls): Promise<void> {
    await this.clock.run(this.clock.nowMs + PATIENCE_MS, () =>
      calls.every(({ outcome, client: { tab } }) => outcome || tab.isDead || tab.isFrozen),
    );
  }

  /** Calls in one turn, and waits for them. */
  async do(client: Client, ...operations: Operation[]): Promise<readonly Call[]> {
    const calls = client.turn(...operations);
    await this.settle(calls);
    return calls;
  }

  /** Waits for a promise. Throws when it never settles. */
  async result<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const end = (): void => {
      isSettled = true;
    };
    promise.then(end, end);
    await this.until('answer', () => isSettled);
    return promise;
  }

  /** Everything works again. Requests that are late arrive, and all limits and pauses pass. */
  async heal(): Promise<void> {
    this.clock.note('everything works again');
    this.network.heal();
    for (const device of this.devices.values()) {
      device.network = 'deliver';
      Object.assign(device.disk, { isFull: false, failures: 0, isBlocked: false });
    }
    for (const { tab } of this.clients) if (tab.isFrozen && !tab.isDead) tab.thaw();
    await this.wait(60_000);
  }

  /** The tabs that are open. */
  living(): Client[] {
    return this.clients.filter(({ tab }) => !tab.isDead);
  }
}

/** Whether a device has what only that device has. */
function hasOwnData({ storage }: Client): boolean {
  const { pending, conflicts } = storage.status();
  return pending > 0 || conflicts > 0;
}
