/**
 * A server of level 1 as a model: what docs/contract.md 5.2 to 5.4, 5.7, 5.10 to 5.14, 6.1 and 7.1 to 7.5 say, in memory.
 *
 * Whatever it does happens at once. A value knows the write that made it, so that the accounts can tell what replaced what.
 */
import type { Mutation } from '../../src/remote/level1/protocol.ts';
import type { StoredJson } from '../../src/sync/rules/state.ts';
import type { Unit, Write } from './accounts.ts';

/** One operation of a batch. */
export interface Op {
  readonly op: 'get' | 'put' | 'delete' | 'clear' | 'check';
  readonly key: string;
  readonly value?: StoredJson | undefined;
  /** Absent: unconditional. `null`: only where the key does not exist. 0: never. */
  readonly ifRev?: number | null | undefined;
  readonly ifSeq?: number | undefined;
  /** For whose sake it is. */
  readonly write?: Write | undefined;
  /** The unit that a check is for. */
  readonly unit?: Unit | undefined;
  /** Whether it comes out of an outbox: then it must not replace what its writer had not seen. */
  readonly queued?: boolean;
}

/** What travels to the server. */
export type Request =
  | {
      readonly type: 'batch';
      readonly epoch?: string | undefined;
      readonly mutation?: (Mutation & { readonly settled?: number }) | undefined;
      /** Whose `top` is asked for, in a batch without writes. */
      readonly client?: string | undefined;
      /** Whether all operations apply, or none. */
      readonly atomic?: boolean | undefined;
      readonly ops: readonly Op[];
    }
  | ({ readonly type: 'void' } & Mutation)
  | {
      readonly type: 'changes';
      readonly since?: { readonly epoch: string; readonly seq: number } | undefined;
      readonly limit: number;
    }
  | { readonly type: 'keys' };

/** What became of one operation. A stored result holds no value. */
export interface Result {
  readonly status: 200 | 404 | 412 | 424;
  readonly rev?: number | undefined;
  readonly value?: StoredJson | undefined;
}

export interface Change {
  readonly type: 'put' | 'delete' | 'clear';
  readonly key: string;
  readonly rev: number;
  readonly value?: StoredJson | undefined;
}

/** What travels back: results, a page, or the name of an error (9.2). */
export type Answer =
  | {
      readonly epoch: string;
      readonly seq: number;
      readonly results: readonly Result[];
      readonly top: number;
    }
  | { readonly epoch: string; readonly seq: number; readonly isVoid: true }
  | {
      readonly epoch: string;
      readonly seq: number;
      readonly changes: readonly Change[];
      readonly more: boolean;
    }
  | {
      readonly epoch: string;
      readonly seq: number;
      readonly keys: ReadonlyArray<{ readonly key: string; readonly rev: number }>;
    }
  | { readonly error: 'epoch-changed' | 'settled' | 'void' | 'too-large' };

/** What a key holds, or where it was deleted. */
export interface Entry {
  readonly value: StoredJson | undefined;
  readonly rev: number;
  readonly write: Write | undefined;
}

interface Client {
  readonly settled: number;
  readonly top: number;
  /** Those above `settled`, with their results. */
  readonly mutations: ReadonlyMap<number, readonly Result[] | 'void'>;
}

const NEW_CLIENT: Client = { settled: 0, top: 0, mutations: new Map() };

/** All that a restore brings back. */
export interface State {
  seq: number;
  clearedAt: number;
  clearedBy?: Write | undefined;
  readonly entries: Map<string, Entry>;
  readonly clients: Map<string, Client>;
  readonly applied: Set<Write>;
}

/** What the accounts want to know of a server. */
export interface Watcher {
  /** A write is about to change a key, or, as a clear, everything. */
  applies(op: Op, before: Entry | undefined, server: Server): void;
  /** A batch is about to change what its operations are about. */
  appliesBatch(ops: readonly Op[], isAtomic: boolean, server: Server): void;
  /** An operation has made its atomic batch fail. */
  refuses(op: Op, entry: Entry | undefined, server: Server): void;
  appliedTwice(write: Write): void;
}

export interface Server {
  epoch: string;
  /** The sequence number of each backup that it was restored to. */
  readonly restores: number[];
  /** How many servers there had been with the last of each epoch. */
  readonly incarnations: Map<string, number>;
  state: State;
  handle(request: Request): Answer;
}

export const copyOf = (state: State): State => ({
  ...state,
  entries: new Map(state.entries),
  clients: new Map(state.clients),
  applied: new Set(state.applied),
});

/** Whether what was seen of an incarnation up to a sequence number is still so. */
export const isStill = ({ restores }: Server, incarnation: number, seq: number): boolean =>
  incarnation > 0 && restores.slice(incarnation - 1).every((restored) => restored >= seq);

/** Put a server back to a backup. */
export function restoreTo(server: Server, state: State, epoch: string): void {
  server.state = copyOf(state);
  server.epoch = epoch;
  server.restores.push(state.seq);
  server.incarnations.set(epoch, server.restores.length + 1);
}

/** An empty server. */
export function createServer(watcher: Watcher): Server {
  const server: Server = {
    epoch: 'e1',
    restores: [],
    incarnations: new Map([['e1', 1]]),
    state: { seq: 0, clearedAt: 0, entries: new Map(), clients: new Map(), applied: new Set() },
    handle(request) {
      if (request.type === 'batch') return batch(request);
      if (request.type === 'void') return giveUp(request);
      return request.type === 'keys' ? keys() : changes(request);
    },
  };

  function batch({
    epoch,
    mutation,
    client = mutation?.client,
    atomic = false,
    ops,
  }: Extract<Request, { type: 'batch' }>): Answer {
    if (epoch !== undefined && epoch !== server.epoch) return { error: 'epoch-changed' };
    const known = clientOf(client);
    const stored = mutation && known.mutations.get(mutation.m);
    if (mutation && mutation.m <= known.settled) return { error: 'settled' };
    if (stored === 'void') return { error: 'void' };
    const writes = stored?.values();
    const failed = !stored && atomic ? ops.find((op) => refusalOf(op)?.status === 412) : undefined;
    if (failed) watcher.refuses(failed, server.state.entries.get(failed.key), server);
    else if (!stored) watcher.appliesBatch(ops, atomic, server);
    const results = ops.map((op): Result => {
      if (writes && op.op !== 'get') return { ...(writes.next().value as Result), value: undefined };
      return failed && op !== failed && op.op !== 'get' ? { status: 424 } : apply(op);
    });
    if (mutation && !stored)
      store(
        mutation,
        results.filter((_, i) => ops[i]?.op !== 'get'),
        mutation.settled,
      );
    return { epoch: server.epoch, seq: server.state.seq, results, top: known.top };
  }

  function giveUp(mutation: Mutation): Answer {
    const known = clientOf(mutation.client);
    if (mutation.m <= known.settled) return { error: 'settled' };
    const stored = known.mutations.get(mutation.m);
    const { epoch, state } = server;
    if (stored && stored !== 'void') return { epoch, seq: state.seq, results: stored, top: known.top };
    if (!stored) store(mutation, 'void');
    return { epoch, seq: state.seq, isVoid: true };
  }

  const clientOf = (client: string | undefined): Client =>
    server.state.clients.get(client ?? '') ?? NEW_CLIENT;

  function store({ client, m }: Mutation, results: readonly Result[] | 'void', given = 0): void {
    const known = clientOf(client);
    const settled = Math.max(known.settled, given);
    const mutations = new Map([...known.mutations, [m, results] as const].filter(([n]) => n > settled));
    server.state.clients.set(client, { settled, top: Math.max(known.top, m), mutations });
  }

  /** The result of an operation that changes nothing. */
  function refusalOf(op: Op): Result | undefined {
    const { state } = server;
    if (op.op === 'clear')
      return op.ifSeq !== undefined && op.ifSeq !== state.seq ? { status: 412, rev: state.seq } : undefined;
    const entry = state.entries.get(op.key);
    const exists = entry?.value !== undefined;
    const current = exists ? { rev: entry.rev, value: entry.value } : {};
    if (op.op === 'get' || (op.op === 'delete' && !exists))
      return exists ? { status: 200, ...current } : { status: 404 };
    if (op.ifRev !== undefined && (op.ifRev === null ? exists : !exists || entry.rev !== op.ifRev))
      return { status: 412, ...current };
    return op.op === 'check' ? { status: 200 } : undefined;
  }

  function apply(op: Op): Result {
    const { state } = server;
    const refusal = refusalOf(op);
    if (refusal) return refusal;
    const entry = op.op === 'clear' ? undefined : state.entries.get(op.key);
    watcher.applies(op, entry, server);
    // A sweep is many deletes for the sake of one clear.
    if (op.write?.key === op.key) {
      if (state.applied.has(op.write)) watcher.appliedTwice(op.write);
      state.applied.add(op.write);
    }
    state.seq += 1;
    if (op.op === 'clear') {
      state.clearedAt = state.seq;
      state.clearedBy = op.write;
      state.entries.clear();
    } else state.entries.set(op.key, { value: op.value, rev: state.seq, write: op.write });
    return { status: 200, rev: state.seq };
  }

  function keys(): Answer {
    const found = [...server.state.entries].flatMap(([key, { value, rev }]) => (value ? [{ key, rev }] : []));
    return { epoch: server.epoch, seq: server.state.seq, keys: found };
  }

  function changes({ since, limit }: Extract<Request, { type: 'changes' }>): Answer {
    const { state, epoch } = server;
    if (since && (since.epoch !== epoch || since.seq > state.seq)) return { error: 'epoch-changed' };
    const from = since?.seq ?? 0;
    const all: Change[] = [];
    for (const [key, { rev, value }] of state.entries)
      if (rev > from) all.push({ type: value ? 'put' : 'delete', key, rev, value });
    if (state.clearedAt > from) all.push({ type: 'clear', key: '', rev: state.clearedAt });
    all.sort((a, b) => a.rev - b.rev);
    const page = all.slice(0, limit);
    const more = all.length > limit;
    return { epoch, seq: more ? (page.at(-1)?.rev ?? from) : state.seq, changes: page, more };
  }

  return server;
}
