/**
 * A tab: the SDK's source with globals of its own. Nothing of the SDK is changed or replaced.
 *
 * A tab shares the disk, the locks and the messages of its device with the device's other tabs.
 */
import { bundle, type Edit, editOf, type Start } from './bundle.ts';
import type { Clock, Process, Task } from './clock.ts';
import type { Databases, DiskState, Disks } from './disk.ts';
import { Locks } from './locks.ts';
import type { Fate, Network } from './network.ts';

type Sdk = typeof import('../../../src/index.ts');

const GLOBALS = [
  'globalThis self window document location process navigator fetch indexedDB IDBKeyRange BroadcastChannel crypto performance Date Math',
  'AbortSignal setTimeout clearTimeout setInterval clearInterval setImmediate clearImmediate addEventListener removeEventListener',
]
  .join(' ')
  .split(' ');

const bundles = new Map<Edit | undefined, Promise<Start<Sdk>>>();
function startSdk(edit: Edit | undefined): Promise<Start<Sdk>> {
  const bundled =
    bundles.get(edit) ?? bundle<Sdk>("export * from './src/index.ts';", 'browser', GLOBALS, edit);
  bundles.set(edit, bundled);
  return bundled;
}

/** A browser profile on a machine. */
export interface Device {
  readonly name: string;
  readonly databases: Databases;
  readonly disk: DiskState;
  /** `undefined`: a browser or page without Web Locks. */
  readonly locks: Locks | undefined;
  readonly channels: Set<Channel>;
  /** What becomes of its requests. */
  network: Fate;
  /** How far its clock is ahead. */
  clockOffsetMs: number;
  /** Whether somebody has deleted writes that waited to be sent. */
  hasLostData: boolean;
  /** Whether somebody has deleted what it had seen of the server. */
  hasLostMirror: boolean;
}

/** A channel that is open. */
interface Channel {
  readonly name: string;
  readonly owner: Process;
  isClosed: boolean;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
}

export function createDevice(clock: Clock, disks: Disks, name: string, hasLocks: boolean): Device {
  return {
    name,
    databases: disks.create(),
    disk: {
      isFull: false,
      wasFull: false,
      failures: 0,
      failedAtMs: [],
      isBlocked: false,
      isForbidden: false,
    },
    locks: hasLocks ? new Locks(clock) : undefined,
    channels: new Set(),
    network: 'deliver',
    clockOffsetMs: 0,
    hasLostData: false,
    hasLostMirror: false,
  };
}

/** What a tab lives in. */
export interface Surroundings {
  readonly options: { readonly edit?: Edit | undefined };
  readonly clock: Clock;
  readonly disks: Disks;
  readonly network: Network;
}

export class Tab implements Process {
  readonly name: string;
  readonly device: Device;
  readonly sdk: Sdk;
  isDead = false;
  isFrozen = false;
  readonly postponed: Task[] = [];
  /** Since when it is frozen, and for how long it was frozen before. */
  private frozenAtMs: number | undefined;
  private frozenBeforeMs = 0;
  private readonly surroundings: Surroundings;
  private readonly listeners = new Set<readonly [type: string, listener: (event: object) => void]>();

  private constructor(name: string, device: Device, surroundings: Surroundings, start: Start<Sdk>) {
    this.name = name;
    this.device = device;
    this.surroundings = surroundings;
    this.sdk = start(this.globals());
  }

  static async create(name: string, device: Device, surroundings: Surroundings): Promise<Tab> {
    return new Tab(name, device, surroundings, await startSdk(editOf(surroundings.options.edit, 'src/')));
  }

  /** The tab ends at once, without a word. */
  crash(): void {
    const { clock, disks } = this.surroundings;
    this.isDead = true;
    clock.note(`${this.name} ends`);
    for (const channel of [...this.device.channels])
      if (channel.owner === this) this.device.channels.delete(channel);
    disks.kill(this);
    this.device.locks?.release(this);
  }

  /** The browser suspends the tab. It keeps its locks and its transactions. */
  freeze(): void {
    const { clock } = this.surroundings;
    clock.note(`${this.name} freezes`);
    this.isFrozen = true;
    this.frozenAtMs ??= clock.nowMs;
  }

  thaw(): void {
    const { clock } = this.surroundings;
    clock.note(`${this.name} continues`);
    this.frozenBeforeMs = this.frozenMs();
    this.frozenAtMs = undefined;
    clock.thaw(this);
  }

  /** Milliseconds for which it was frozen until now. */
  frozenMs(): number {
    const { nowMs } = this.surroundings.clock;
    return this.frozenBeforeMs + nowMs - (this.frozenAtMs ?? nowMs);
  }

  /** Tells the page of an event, such as `online`. */
  tell(type: string): void {
    for (const [name, listener] of [...this.listeners]) if (name === type) listener(new Event(type));
  }

  private globals(): Record<string, unknown> {
    const { clock, disks, network } = this.surroundings;
    const { device, listeners } = this;
    const math = Object.create(Math, Object.getOwnPropertyDescriptors(Math));
    Object.defineProperty(math, 'random', { value: () => clock.random.next() });
    const globals: Record<string, unknown> = {
      ...clock.timersOf(() => this),
      ...disks.globalsOf(this),
      Date: clock.dateOf(() => device.clockOffsetMs),
      Math: math,
      AbortSignal: this.abortSignals(),
      BroadcastChannel: channelsOf(this, clock),
      performance: { now: () => clock.nowMs },
      crypto: {
        subtle: crypto.subtle,
        getRandomValues(bytes: Uint8Array) {
          for (let i = 0; i < bytes.length; i++) bytes[i] = clock.random.below(256);
          return bytes;
        },
      },
      navigator: { onLine: true, ...(device.locks && { locks: device.locks.managerOf(this) }) },
      fetch: (input: Request | string, init?: RequestInit) => network.fetch(this, input, init),
      addEventListener: (type: string, listener: (event: object) => void) => listeners.add([type, listener]),
      removeEventListener(type: string, listener: (event: object) => void) {
        for (const entry of listeners)
          if (entry[0] === type && entry[1] === listener) listeners.delete(entry);
      },
      window: undefined,
      document: undefined,
      location: undefined,
      process: undefined,
    };
    Object.setPrototypeOf(globals, globalThis);
    globals.globalThis = globals;
    globals.self = globals;
    return globals;
  }

  /** `AbortSignal`, whose time limits are virtual. */
  private abortSignals(): unknown {
    const { clock } = this.surroundings;
    const timeout = (ms: number): AbortSignal => {
      const controller = new AbortController();
      clock.schedule(this, ms, () =>
        controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
      );
      return controller.signal;
    };
    return new Proxy(AbortSignal, {
      get(target, name) {
        if (name === 'timeout') return timeout;
        const value = Reflect.get(target, name);
        return typeof value === 'function' && name !== 'prototype' ? value.bind(target) : value;
      },
    });
  }
}

/** `BroadcastChannel` of a tab. Messages arrive in about a millisecond. */
function channelsOf(owner: Tab, clock: Clock): unknown {
  const { channels } = owner.device;
  return class implements Channel {
    readonly name: string;
    readonly owner = owner;
    isClosed = false;
    onmessage: Channel['onmessage'] = null;

    constructor(name: string) {
      this.name = name;
      channels.add(this);
    }

    postMessage(message: unknown): void {
      if (this.isClosed) throw new DOMException('The channel is closed', 'InvalidStateError');
      for (const other of channels) {
        if (other === this || other.name !== this.name || other.owner.isDead) continue;
        const data = structuredClone(message);
        clock.schedule(
          other.owner,
          0.1 + clock.random.next(),
          () => !other.isClosed && other.onmessage?.({ data }),
          `${other.owner.name} hears ${JSON.stringify(message)}`,
        );
      }
    }

    close(): void {
      this.isClosed = true;
      channels.delete(this);
    }
  };
}
