/**
 * The IndexedDB of devices: fake-indexeddb on virtual time, with the failures of real disks.
 *
 * Transactions take time. A tab that dies takes its open transactions with it: they have happened as a whole, if it had asked for
 * their commit, or not at all. A frozen tab keeps its transactions open, and others wait for them. A power cut takes any number of
 * the latest relaxed transactions with it, never a strict one or what lies before that. Large values of the
 * relaxed transactions that remain may be unreadable: Chromium keeps them in files of their own, and does not flush these files with
 * the next strict transaction. A text that ends with `#` stands for a large value.
 *
 * Spec: W3C Indexed Database API 3.0.
 */
import { bundle, type Start } from './bundle.ts';
import type { Clock, Process } from './clock.ts';

/** What a tab's disk does. Changed while the simulation runs. */
export interface DiskState {
  /** Every put fails with `QuotaExceededError`. */
  isFull: boolean;
  /** Whether a put has failed so. */
  wasFull: boolean;
  /** As many requests fail with `UnknownError`. */
  failures: number;
  /** When requests have failed so. */
  readonly failedAtMs: number[];
  /** Databases do not open, as if another tab kept an old version open. */
  isBlocked: boolean;
  /** Opening throws a `SecurityError`, as Firefox does where all cookies are blocked. */
  isForbidden: boolean;
}

/** A process that uses a disk. */
export interface DiskUser extends Process {
  readonly device: { readonly disk: DiskState; readonly databases: Databases };
}

// The parts of fake-indexeddb's classes that are used here.
interface RawRequest {
  readonly operation: () => unknown;
  readonly request: { readyState: string; result: unknown; error: unknown };
}
interface RawTransaction {
  _state: string;
  _started: boolean;
  error: unknown;
  readonly _rollbackLog: Array<() => void>;
  readonly _requests: RawRequest[];
  readonly mode: IDBTransactionMode;
  readonly durability: string;
  readonly db: RawConnection;
  _start(): void;
  _abort(error: string): void;
  _markFinished(): void;
  _execRequestAsync(request: { operation: () => unknown }): unknown;
}
interface RawConnection {
  readonly _rawDatabase: RawDatabase;
  _closed: boolean;
  _closePending: boolean;
  readonly _runningVersionchangeTransaction: boolean;
}
interface RawRecord {
  readonly key: IDBValidKey;
  readonly value: unknown;
}
interface RawStore {
  readonly records: { values(): Iterable<RawRecord>; clear(): void; put(record: RawRecord): void };
}
interface RawDatabase {
  readonly transactions: RawTransaction[];
  connections: RawConnection[];
  readonly rawObjectStores: Map<string, RawStore>;
  processTransactions(): void;
}
interface RawFactory extends IDBFactory {
  readonly _databases: Map<string, RawDatabase>;
}
interface FakeEvent {
  readonly type: string;
  eventPath: unknown[];
}
type Class<T> = (new (...args: never[]) => T) & { prototype: T };
interface Library {
  readonly Factory: new () => RawFactory;
  readonly KeyRange: typeof IDBKeyRange;
  readonly Transaction: Class<RawTransaction>;
  readonly Connection: Class<RawConnection>;
  readonly ObjectStore: Class<{
    put(value: unknown, key?: IDBValidKey): unknown;
    readonly transaction: RawTransaction;
  }>;
  readonly EventTarget: Class<{ dispatchEvent(event: FakeEvent): boolean }>;
  readonly FakeEvent: new (type: string, options?: object) => FakeEvent;
}

const SOURCE = [
  'FDBFactory',
  'FDBKeyRange',
  'FDBTransaction',
  'FDBDatabase',
  'FDBObjectStore',
  'lib/FakeEventTarget',
  'lib/FakeEvent',
]
  .map((file, i) => {
    const name = [
      'Factory',
      'KeyRange',
      'Transaction',
      'Connection',
      'ObjectStore',
      'EventTarget',
      'FakeEvent',
    ][i];
    return `export { default as ${name} } from './node_modules/fake-indexeddb/build/esm/${file}.js';`;
  })
  .join('\n');

let started: Promise<Start<Library>> | undefined;

/** Milliseconds of a task of the library. */
const TASK_MS = 0.01;
/** Milliseconds between two looks where the library polls: it does while it waits for a connection to close. */
const POLL_MS = 5;
const POLLING = /closeConnection|waitForOthersClosed/;
/** The most milliseconds that pass before a transaction begins. */
const LATENCY_MS = 2;

/** The share of the large values of relaxed transactions that a power cut makes unreadable. */
const LOST_VALUES = 0.5;
/** What a record holds of a large value, as JSON. */
const LARGE = /#"/;
/** A value that no request can read. */
const UNREADABLE = {
  get value(): never {
    return fail('UnknownError');
  },
};

/** A state of a database that may be on the disk after a power cut. */
type Content = ReadonlyMap<string, readonly RawRecord[]>;

/** The databases of one device. */
export interface Databases {
  readonly factory: RawFactory;
  /** For each database the states since the last strict transaction, that one included. */
  readonly durable: Map<string, Content[]>;
  /** The records that relaxed transactions have stored. */
  readonly relaxed: WeakSet<RawRecord>;
}

/** The disks of a simulation. */
export interface Disks {
  create(): Databases;
  /** What a tab sees as `indexedDB` and `IDBKeyRange`. */
  globalsOf(user: DiskUser): { readonly indexedDB: object; readonly IDBKeyRange: typeof IDBKeyRange };
  /** Ends the transactions and connections of a tab that is gone. */
  kill(user: DiskUser): void;
  /** The engine closes the connections of a tab, as Chromium does when its storage process ends. */
  disconnect(user: DiskUser): void;
  /** Whether a tab has a transaction under way that writes. */
  isWriting(user: DiskUser): boolean;
  /**
   * Takes the latest relaxed transactions away, as chance will have it. All tabs of the device must be dead.
   *
   * @param onlyValues No transaction is lost, and every large value of relaxed transactions is.
   */
  cutPower(databases: Databases, onlyValues: boolean): void;
  /** Deletes every database whose name begins so. */
  deleteAll(databases: Databases, prefix: string): void;
}

/** Creates the disks of a simulation. */
export async function createDisks(clock: Clock): Promise<Disks> {
  started ??= bundle<Library>(SOURCE, 'browser', ['globalThis', 'setImmediate']);
  const setImmediate = (work: () => void) => {
    if (!POLLING.test(String(work))) return clock.schedule(undefined, TASK_MS, work);
    // It says nothing about the SDK how often the library looks.
    const poll = (): void => {
      clock.steps -= 1;
      work();
    };
    return clock.schedule(undefined, POLL_MS, poll);
  };
  const globals: object = Object.create(globalThis, { setImmediate: { value: setImmediate } });
  const library = (await started)({ globalThis: globals, setImmediate });
  const { Factory, KeyRange, Transaction, Connection, ObjectStore, EventTarget, FakeEvent } = library;

  /** Which tab a request or a connection belongs to. */
  const users = new WeakMap<object, DiskUser>();
  const delayed = new WeakSet<RawTransaction>();
  const killed = new WeakSet<RawTransaction>();
  const userOf = ({ db }: RawTransaction): DiskUser | undefined => users.get(db);

  const start = Transaction.prototype._start;
  Transaction.prototype._start = function (this: RawTransaction): void {
    const user = userOf(this);
    if (killed.has(this)) return;
    if (user?.isFrozen) {
      this._started = true;
      postpone(user, () => this._start());
    } else if (user && !delayed.has(this) && this.mode !== 'versionchange') {
      delayed.add(this);
      this._started = true;
      clock.schedule(user, clock.random.next() * LATENCY_MS, () => start.call(this));
    } else start.call(this);
  };

  const dispatch = EventTarget.prototype.dispatchEvent;
  EventTarget.prototype.dispatchEvent = function (event): boolean {
    if (this instanceof Transaction && event.type === 'complete') remember(this);
    const user = users.get(this);
    if (user === undefined) return dispatch.call(this, event);
    const { result, transaction } = this as unknown as { result: unknown; transaction: RawTransaction };
    if (/^(upgradeneeded|success)$/.test(event.type) && result instanceof Connection) users.set(result, user);
    if (user.isDead) {
      // Otherwise a database without its stores would stay.
      if (event.type === 'upgradeneeded') transaction._abort('AbortError');
      else if (event.type === 'success' && result instanceof Connection) shut(result);
      return true;
    }
    if (!user.isFrozen || event.type === 'upgradeneeded') return dispatch.call(this, event);
    postpone(user, () => dispatch.call(this, event));
    return true;
  };

  const put = ObjectStore.prototype.put;
  ObjectStore.prototype.put = function (...args): unknown {
    const request = put.apply(this, args);
    const last = this.transaction._requests.at(-1);
    const disk = userOf(this.transaction)?.device.disk;
    if (!last || !disk?.isFull) return request;
    disk.wasFull = true;
    Object.assign(last, { operation: () => fail('QuotaExceededError') });
    return request;
  };
  const execute = Transaction.prototype._execRequestAsync;
  Transaction.prototype._execRequestAsync = function (this: RawTransaction, request): unknown {
    const disk = userOf(this)?.device.disk;
    if (!disk?.failures) return execute.call(this, request);
    disk.failures -= 1;
    disk.failedAtMs.push(clock.nowMs);
    return execute.call(this, { ...request, operation: () => fail('UnknownError') });
  };

  function postpone(user: DiskUser, work: () => void): void {
    user.postponed.push({ at: 0, order: 0, owner: user, work, label: '', isCancelled: false });
  }

  function shut(connection: RawConnection): void {
    connection._closePending = true;
    connection._closed = true;
    const database = connection._rawDatabase;
    database.connections = database.connections.filter((other) => other !== connection);
  }

  const contentOf = ({ rawObjectStores }: RawDatabase): Content =>
    new Map([...rawObjectStores].map(([name, { records }]) => [name, [...records.values()]]));

  /** Notes a state for power cuts. */
  function remember(transaction: RawTransaction): void {
    const device = userOf(transaction)?.device;
    if (transaction.mode === 'readonly' || !device) return;
    for (const [name, raw] of device.databases.factory._databases)
      if (raw === transaction.db._rawDatabase) {
        const isStrict = transaction.durability === 'strict' || transaction.mode === 'versionchange';
        const { durable, relaxed } = device.databases;
        const states = durable.get(name) ?? [];
        const content = contentOf(raw);
        if (!isStrict)
          for (const [store, records] of content) {
            const old = new Set(states.at(-1)?.get(store));
            for (const record of records) if (!old.has(record)) relaxed.add(record);
          }
        durable.set(name, [...(isStrict ? [] : states), content]);
      }
  }

  /** Ends a transaction without a word: it has happened, if it was being committed and chance says so, or not. */
  function cut(transaction: RawTransaction): RawRequest[] {
    killed.add(transaction);
    const left = transaction._requests.splice(0).filter(({ request }) => request.readyState !== 'done');
    if (transaction._state === 'committing' && clock.random.chance(0.5)) {
      for (const { operation } of left) attempt(operation);
      remember(transaction);
    } else for (const undo of transaction._rollbackLog.reverse()) undo();
    transaction._markFinished();
    return left;
  }

  return {
    create: () => ({ factory: new Factory(), durable: new Map(), relaxed: new WeakSet() }),
    globalsOf(user) {
      const { factory } = user.device.databases;
      const ofUser = <T extends object>(request: T): T => {
        users.set(request, user);
        return request;
      };
      return {
        IDBKeyRange: KeyRange,
        indexedDB: {
          open(name: string, version?: number) {
            if (user.device.disk.isForbidden) fail('SecurityError');
            if (!user.device.disk.isBlocked)
              return ofUser(version === undefined ? factory.open(name) : factory.open(name, version));
            // It never opens.
            return { addEventListener() {}, removeEventListener() {} };
          },
          deleteDatabase: (name: string) => ofUser(factory.deleteDatabase(name)),
          databases: () => factory.databases(),
          cmp: (a: unknown, b: unknown) => factory.cmp(a, b),
        },
      };
    },
    kill(user) {
      for (const raw of user.device.databases.factory._databases.values()) {
        for (const transaction of [...raw.transactions]) {
          if (userOf(transaction) !== user || transaction._state === 'finished') continue;
          if (transaction.mode === 'versionchange') transaction._abort('AbortError');
          else cut(transaction);
        }
        for (const connection of [...raw.connections]) if (users.get(connection) === user) shut(connection);
        raw.processTransactions();
      }
    },
    disconnect(user) {
      for (const raw of user.device.databases.factory._databases.values())
        for (const connection of [...raw.connections]) {
          if (users.get(connection) !== user || connection._closed) continue;
          if (connection._runningVersionchangeTransaction) continue;
          for (const transaction of [...raw.transactions]) {
            if (transaction.db !== connection || transaction._state === 'finished') continue;
            // The requests fail. The transaction itself says nothing.
            for (const { request } of cut(transaction))
              clock.schedule(user, 0, () => {
                Object.assign(request, {
                  readyState: 'done',
                  result: undefined,
                  error: new DOMException('The connection was closed', 'AbortError'),
                });
                const event = new FakeEvent('error', { bubbles: true, cancelable: true });
                event.eventPath = [connection, transaction];
                dispatch.call(request as never, event);
              });
          }
          shut(connection);
          raw.processTransactions();
          clock.schedule(user, 0, () => dispatch.call(connection as never, new FakeEvent('close')));
        }
    },
    isWriting: (user) =>
      [...user.device.databases.factory._databases.values()].some((raw) =>
        raw.transactions.some(
          (transaction) =>
            userOf(transaction) === user &&
            transaction.mode === 'readwrite' &&
            transaction._started &&
            transaction._state !== 'finished',
        ),
      ),
    cutPower({ factory, durable, relaxed }, onlyValues) {
      for (const [name, states] of durable) {
        const content = onlyValues ? states.at(-1) : clock.random.pick(states);
        const left = [...(content ?? [])].map(([store, records]) => {
          const isLost = (record: RawRecord): boolean =>
            relaxed.has(record) && isLarge(record) && (onlyValues || clock.random.chance(LOST_VALUES));
          return [
            store,
            records.map((one) => (isLost(one) ? { key: one.key, value: UNREADABLE } : one)),
          ] as const;
        });
        durable.set(name, [new Map(left)]);
        for (const [store, records] of left) {
          const raw = factory._databases.get(name)?.rawObjectStores.get(store)?.records;
          raw?.clear();
          for (const record of records) raw?.put(record);
        }
      }
    },
    deleteAll({ factory, durable }, prefix) {
      for (const name of [...factory._databases.keys()])
        if (name.startsWith(prefix)) {
          factory.deleteDatabase(name);
          durable.delete(name);
        }
    },
  };
}

function fail(name: string): never {
  throw new DOMException('The simulated disk failed', name);
}

function isLarge({ value }: RawRecord): boolean {
  // One that is unreadable stays so.
  return value !== UNREADABLE && LARGE.test(JSON.stringify(value));
}

function attempt(work: () => unknown): void {
  try {
    work();
  } catch {
    // The operation fails as it would have failed.
  }
}
