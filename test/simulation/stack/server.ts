/**
 * The servers of a simulation: the reference server's app and store over SQLite in memory, and a server of level 0.
 *
 * Requests are objects; there are no sockets. Whatever changes at a key is written down by triggers inside SQLite, so nothing that a
 * reader of the database could have seen is missed, whichever protocol it came by.
 */
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { DatabaseSync } from 'node:sqlite';
import { Writable } from 'node:stream';
import { answerOrFail } from '../../support/old-server.ts';
import { bundle, type Edit, editOf, type Start } from './bundle.ts';
import type { Clock, Process, Task } from './clock.ts';
import type { Answered, Destination, Received } from './network.ts';

/** A change of a key at the server. */
export interface Change {
  readonly key: string;
  /** `undefined`: there is none. */
  readonly value: unknown;
  readonly atMs: number;
  /** Whether a request made it. The other causes are the scripts of a simulation: a restore, another client. */
  readonly isByRequest: boolean;
}

/** A server that tabs can reach. */
export interface Server extends Destination {
  readonly history: Change[];
  /** Whether another database has taken the place of the one that was. */
  readonly isRestored: boolean;
  /** What it has now. */
  content(): Map<string, unknown>;
  /** Stores a value as a client does that is not simulated; `undefined` deletes it. */
  put(key: string, value: unknown): Promise<void>;
}

interface Library {
  readonly createApp: typeof import('../../../examples/server/src/http/routes.ts').createApp;
  readonly errorAnswer: typeof import('../../../examples/server/src/http/errors.ts').errorAnswer;
  readonly createCallers: typeof import('../../../examples/server/src/http/access/callers.ts').createCallers;
  readonly createAccessCheck: typeof import('../../../examples/server/src/http/access/checks.ts').createAccessCheck;
  readonly createLoadLimits: typeof import('../../../examples/server/src/http/transport/load.ts').createLoadLimits;
  readonly limitsOf: typeof import('../../../examples/server/src/http/transport/limits.ts').limitsOf;
  readonly send: typeof import('../../../examples/server/src/http/transport/sending.ts').send;
  readonly openDatabase: typeof import('../../../examples/server/src/store/sqlite/database.ts').openDatabase;
  readonly mintEpoch: typeof import('../../../examples/server/src/store/sqlite/database.ts').mintEpoch;
  readonly createSqliteStore: typeof import('../../../examples/server/src/store/sqlite/store.ts').createSqliteStore;
}

const SOURCE = `
  export { createApp } from './examples/server/src/http/routes.ts';
  export { errorAnswer } from './examples/server/src/http/errors.ts';
  export { createCallers } from './examples/server/src/http/access/callers.ts';
  export { createAccessCheck } from './examples/server/src/http/access/checks.ts';
  export { createLoadLimits } from './examples/server/src/http/transport/load.ts';
  export { limitsOf } from './examples/server/src/http/transport/limits.ts';
  export { send } from './examples/server/src/http/transport/sending.ts';
  export { openDatabase, mintEpoch } from './examples/server/src/store/sqlite/database.ts';
  export { createSqliteStore } from './examples/server/src/store/sqlite/store.ts';`;

const GLOBALS = [
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'setImmediate',
  'clearImmediate',
  'Date',
];

const bundles = new Map<Edit | undefined, Promise<Start<Library>>>();

const require = createRequire(import.meta.url);

const MAX_BODY_BYTES = 8 * 1024 * 1024;
const MAX_REQUESTS = 512;
const STALL_TIME = 20_000;

const silent = (): void => {};
const log = {
  error: silent,
  warn: silent,
  info: silent,
  debug: silent,
  isLevelEnabled: () => false,
  child: () => log,
};

/** Everything that is written down of a change. Temporary, so that it belongs to no copy of the database. */
const TRIGGERS = `
  CREATE TEMP TABLE changes (id INTEGER PRIMARY KEY, key TEXT, value TEXT);
  CREATE TEMP TRIGGER inserted AFTER INSERT ON main.records
    BEGIN INSERT INTO changes (key, value) VALUES (NEW.key, NEW.value); END;
  CREATE TEMP TRIGGER updated AFTER UPDATE ON main.records
    BEGIN INSERT INTO changes (key, value) VALUES (NEW.key, NEW.value); END;
  CREATE TEMP TRIGGER deleted AFTER DELETE ON main.records
    BEGIN INSERT INTO changes (key, value) VALUES (OLD.key, NULL); END;`;

/** A copy of the whole database. */
export type Backup = ReadonlyMap<string, ReadonlyArray<Record<string, unknown>>>;

/** The reference server. */
export class ReferenceServer implements Server {
  readonly history: Change[] = [];
  isRestored = false;
  private readonly clock: Clock;
  private readonly library: Library;
  private readonly database: DatabaseSync;
  private readonly stopListeners = new Set<() => void>();
  private process: Process & { readonly postponed: Task[] } = newProcess();
  private serve: (incoming: Incoming, outgoing: Outgoing) => Promise<void>;

  private constructor(clock: Clock, start: Start<Library>) {
    this.clock = clock;
    const crypto = require('node:crypto');
    const randomBytes = (length: number): Buffer =>
      Buffer.from(Array.from({ length }, () => clock.random.below(256)));
    this.library = start({
      ...clock.timersOf(() => this.process),
      Date: clock.dateOf(),
      require: (name: string) => (name === 'node:crypto' ? { ...crypto, randomBytes } : require(name)),
    });
    this.database = this.library.openDatabase(':memory:');
    this.database.exec(TRIGGERS);
    this.serve = this.start();
  }

  static async create(clock: Clock, edit?: Edit): Promise<ReferenceServer> {
    const own = editOf(edit, 'examples/server/');
    const bundled = bundles.get(own) ?? bundle<Library>(SOURCE, 'node', GLOBALS, own);
    bundles.set(own, bundled);
    return new ReferenceServer(clock, await bundled);
  }

  content(): Map<string, unknown> {
    const rows = this.database.prepare('SELECT key, value FROM records WHERE value IS NOT NULL').all();
    return new Map(rows.map(({ key, value }) => [String(key), JSON.parse(String(value))]));
  }

  async put(key: string, value: unknown): Promise<void> {
    const request = {
      method: value === undefined ? 'DELETE' : 'PUT',
      path: `/api/storage/${encodeURIComponent(key)}`,
      headers: { 'content-type': 'application/json' },
      text: value === undefined ? '' : JSON.stringify({ value }),
    };
    let isDone = false;
    void this.handle(request, false).then(() => {
      isDone = true;
    });
    await this.clock.run(Number.POSITIVE_INFINITY, () => isDone);
  }

  async handle(sent: Received, isByRequest = true): Promise<Answered> {
    const incoming = new Incoming(this.clock, this.process, sent);
    const outgoing = new Outgoing();
    const finished = new Promise((done) => outgoing.once('finish', done));
    await this.serve(incoming, outgoing);
    await finished;
    this.collect(isByRequest);
    return { status: outgoing.statusCode, headers: outgoing.fields, text: outgoing.chunks.join('') };
  }

  onStop(listener: () => void): () => void {
    this.stopListeners.add(listener);
    return () => this.stopListeners.delete(listener);
  }

  /** The process is killed, and starts again. What it was working on is gone; what is committed stays. */
  restart(): void {
    this.clock.note('the server restarts');
    this.process.isDead = true;
    for (const listener of [...this.stopListeners]) listener();
    this.stopListeners.clear();
    this.process = newProcess();
    this.serve = this.start();
  }

  backUp(): Backup {
    const tables = this.database.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table'").all();
    return new Map(
      tables.map(({ name }) => [String(name), this.database.prepare(`SELECT * FROM main.${name}`).all()]),
    );
  }

  /** Puts a copy in the place of everything. A restored database has a new epoch, unless its operator forgets that. */
  restore(backup: Backup, hasNewEpoch = true): void {
    this.clock.note('the server is restored');
    this.isRestored = true;
    for (const [table, rows] of backup) {
      this.database.exec(`DELETE FROM main.${table}`);
      for (const row of rows) {
        const columns = Object.keys(row);
        this.database
          .prepare(`INSERT INTO main.${table} (${columns}) VALUES (${columns.map(() => '?')})`)
          .run(...(Object.values(row) as string[]));
      }
    }
    if (hasNewEpoch) this.library.mintEpoch(this.database);
    this.collect(false);
    this.restart();
  }

  /** The operator has deleted the database. */
  empty(): void {
    this.restore(new Map([...this.backUp()].map(([table, rows]) => [table, table === 'meta' ? rows : []])));
  }

  private start(): (incoming: Incoming, outgoing: Outgoing) => Promise<void> {
    const { library } = this;
    const config = {
      host: '127.0.0.1',
      tokens: [],
      tokensFile: undefined,
      allowedOrigins: '*',
      maxBodyBytes: MAX_BODY_BYTES,
      requiresCondition: false,
      stallTime: STALL_TIME,
    } as const;
    const store = library.createSqliteStore(this.database, library.limitsOf(MAX_BODY_BYTES).answerBytes);
    const { signal } = new AbortController();
    const callers = library.createCallers(config, log as never);
    const app = library.createApp({
      store,
      config,
      callers,
      log: log as never,
      draining: signal,
      stopping: signal,
    });
    const check = library.createAccessCheck(config, callers);
    const limits = library.createLoadLimits(MAX_REQUESTS, MAX_REQUESTS, MAX_BODY_BYTES);
    // As http/transport/server.ts does it, but for what HTTP itself refuses.
    return async (incomingObject, outgoingObject) => {
      const incoming = incomingObject as unknown as IncomingMessage;
      const outgoing = outgoingObject as unknown as ServerResponse;
      const decision = check(incoming);
      const load = limits(incoming, outgoing, undefined);
      const answer =
        'answer' in decision
          ? decision.answer
          : await app({ incoming, outgoing, caller: decision.caller, load, id: '', audit: silent }).catch(
              (error) => library.errorAnswer(error, log as never),
            );
      await library.send(incoming, outgoing, answer, decision.headers, {
        stallTime: STALL_TIME,
        log: log as never,
      });
    };
  }

  /** Moves what the triggers have written into the history. */
  private collect(isByRequest: boolean): void {
    for (const { key, value } of this.database.prepare('SELECT key, value FROM changes ORDER BY id').all())
      this.history.push({
        key: String(key),
        value: value === null ? undefined : JSON.parse(String(value)),
        atMs: this.clock.nowMs,
        isByRequest,
      });
    this.database.exec('DELETE FROM changes');
  }
}

/** A server of level 0 as deployed long ago, which sorts the members of objects. */
export class OldServer implements Server {
  readonly history: Change[] = [];
  readonly isRestored = false;
  private readonly clock: Clock;
  private readonly data = new Map<string, unknown>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  content(): Map<string, unknown> {
    return new Map(this.data);
  }

  async put(key: string, value: unknown): Promise<void> {
    this.change(false, () => (value === undefined ? this.data.delete(key) : this.data.set(key, value)));
  }

  async handle({ method, path, text }: Received): Promise<Answered> {
    const [status, body] = this.change(true, () => answerOrFail(this.data, method, path, text));
    return { status, headers: { 'content-type': 'application/json' }, text: JSON.stringify(body) };
  }

  onStop(): () => void {
    return () => {};
  }

  private change<T>(isByRequest: boolean, work: () => T): T {
    const before = new Map(this.data);
    const result = work();
    for (const key of new Set([...before.keys(), ...this.data.keys()])) {
      const value = this.data.get(key);
      if (before.get(key) !== value) this.history.push({ key, value, atMs: this.clock.nowMs, isByRequest });
    }
    return result;
  }
}

const newProcess = (): Process => ({ name: 'server', isDead: false, isFrozen: false, postponed: [] });

/** What a handler reads of a request. The body arrives one task after somebody listens for its end. */
class Incoming extends EventEmitter {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly string[];
  readonly httpVersion = '1.1';
  readonly destroyed = false;
  readonly socket = { destroySoon: silent };
  complete: boolean;
  private readonly begin: () => void;

  constructor(clock: Clock, process: Process, { method, path, headers, text }: Received) {
    super();
    this.method = method;
    this.url = path;
    this.headers = {
      host: 'localhost:5001',
      ...(text && { 'content-length': String(Buffer.byteLength(text)) }),
      ...headers,
    };
    this.rawHeaders = Object.entries(this.headers).flat();
    this.complete = text === '';
    this.begin = () =>
      clock.schedule(process, 0, () => {
        if (this.complete) return;
        this.complete = true;
        this.emit('data', Buffer.from(text));
        this.emit('end');
        this.emit('close');
      });
  }

  override on(name: string, listener: (...args: unknown[]) => void): this {
    super.on(name, listener);
    if (name === 'end') this.begin();
    return this;
  }

  override once(name: string, listener: (...args: unknown[]) => void): this {
    super.once(name, listener);
    if (name === 'end') this.begin();
    return this;
  }

  resume(): this {
    return this;
  }
}

/** What a handler writes. */
class Outgoing extends Writable {
  statusCode = 200;
  headersSent = false;
  fields: Record<string, string> = {};
  readonly chunks: string[] = [];
  readonly socket = { bytesWritten: 0, writableLength: 0 };

  constructor() {
    super({ decodeStrings: false });
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk.toString());
    done();
  }

  writeHead(status: number, fields: Record<string, string>): this {
    this.statusCode = status;
    this.fields = fields;
    this.headersSent = true;
    return this;
  }
}
