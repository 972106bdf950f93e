/**
 * A level-1 server in memory, for what a real one does not do on purpose: losing answers after the commit, forgetting a
 * client, changing its epoch, announcing small limits. Written plainly from docs/contract.md, sections 4 to 6.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from './ports.ts';

/** A request as the server saw it. */
export interface Level1Request {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** The parsed body of a batch. */
  readonly batch: Batch | undefined;
  readonly atMs: number;
}

/** One operation of a batch. */
export interface Level1Op {
  readonly op: string;
  readonly key: string;
  readonly value?: unknown;
  readonly ifRev?: string | null;
  readonly ifSeq?: string;
}

interface Batch {
  readonly epoch?: string;
  readonly client?: string;
  readonly m?: number;
  readonly settled?: number;
  readonly void?: number;
  readonly atomic?: boolean;
  readonly ops: readonly Level1Op[];
}

interface Result {
  readonly status: number;
  readonly rev?: string | undefined;
  readonly value?: unknown;
  readonly error?: string;
  readonly type?: string;
  readonly size?: number;
}

/** Answers in the server's place when it returns true. */
type Intercept = ((request: Level1Request, response: ServerResponse) => boolean) | undefined;

/** A server that runs. */
export interface Level1Server {
  readonly url: string;
  readonly data: Map<string, { value: unknown; rev: number }>;
  readonly seen: Level1Request[];
  /** What has been written, as the change feed tells it. */
  changes: Array<Record<string, unknown>>;
  /** Writes that have applied, in their order, as `put k 1`. */
  readonly applied: string[];
  /** The most requests with writes that were under way at once. */
  mostWritesAtOnce: number;
  epoch: string;
  seq: number;
  health: Record<string, unknown>;
  answerBytes: number;
  /** Called before anything is done. */
  before: Intercept;
  /** Called when it is done, before the answer is sent. */
  after: Intercept;
  /** Carry out a batch as if it had just arrived. */
  apply(batch: Batch): { readonly status: number; readonly json: Record<string, unknown> };
  /** Forget every client. */
  forgetClients(): void;
  /** Stop listening. Started again, it has the same address and data. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

const NAME = 'urn:codeforge-storage:';
const GONE: Result = { status: 404, error: 'Key not found' };

/** Start one. */
export async function startLevel1Server(): Promise<Level1Server> {
  const clients = new Map<
    string,
    { settled: number; top: number; readonly mutations: Map<number, readonly Result[] | 'void'> }
  >();
  let writesUnderWay = 0;

  function carryOut(op: Level1Op, room: { bytes: number; values: number }): Result {
    const held = server.data.get(op.key);
    const rev = held && String(held.rev);
    if (op.op === 'head') return held ? { status: 200, rev, size: sizeOf(held.value) } : GONE;
    if (op.op === 'get') {
      if (!held) return GONE;
      const size = sizeOf(held.value);
      if (room.values > 0 && size > room.bytes)
        return { status: 413, error: 'Too many values', type: `${NAME}answer-too-large` };
      room.values += 1;
      room.bytes -= size;
      return { status: 200, rev, value: held.value };
    }
    if (op.ifSeq !== undefined && op.ifSeq !== String(server.seq))
      return { status: 412, error: 'Precondition failed' };
    if (op.op === 'delete' && !held) return GONE;
    if (op.op === 'check' && op.ifRev === (rev ?? null)) return { status: 200, rev };
    if (op.ifRev !== undefined && op.ifRev !== (rev ?? null)) {
      const fits = held && sizeOf(held.value) <= room.bytes;
      if (fits) room.bytes -= sizeOf(held.value);
      return { status: 412, error: 'Precondition failed', rev, ...(fits && { value: held.value }) };
    }
    server.seq += 1;
    if (op.op === 'put') server.data.set(op.key, { value: op.value, rev: server.seq });
    else if (op.op === 'delete') server.data.delete(op.key);
    else server.data.clear();
    const { op: type, key, value } = op;
    server.changes.push({
      type,
      ...(type !== 'clear' && { key }),
      rev: String(server.seq),
      ...(type === 'put' && { value }),
    });
    server.applied.push([op.op, op.key, op.op === 'put' ? JSON.stringify(op.value) : ''].join(' ').trim());
    return { status: 200, rev: String(server.seq) };
  }

  const problem = (status: number, name: string) => ({ status, json: { error: name, type: NAME + name } });

  function apply(batch: Batch): { status: number; json: Record<string, unknown> } {
    const { epoch, client, m = batch.void, settled = 0, ops } = batch;
    if (epoch !== undefined && epoch !== server.epoch) return problem(409, 'epoch-changed');
    const known = clients.get(client ?? '') ?? { settled: 0, top: 0, mutations: new Map() };
    const place = { epoch: server.epoch, ...(client !== undefined && { top: known.top }) };
    const stored = m === undefined ? undefined : known.mutations.get(m);
    if (m !== undefined && m <= known.settled) return problem(409, 'settled');
    if (stored === 'void' && batch.void === undefined) return problem(409, 'void');
    const store = (results: readonly Result[] | 'void'): void => {
      if (client === undefined || m === undefined) return;
      known.mutations.set(m, results);
      known.top = Math.max(known.top, m);
      known.settled = Math.max(known.settled, settled);
      for (const number of known.mutations.keys())
        if (number <= known.settled) known.mutations.delete(number);
      clients.set(client, known);
    };
    if (batch.void !== undefined) {
      if (!stored) store('void');
      const given = stored && stored !== 'void' ? { results: stored } : { void: true, results: [] };
      return { status: 200, json: { ...place, seq: server.seq, ...given } };
    }
    const room = { bytes: server.answerBytes, values: 0 };
    const writes = stored && stored !== 'void' ? stored.values() : undefined;
    const before = { data: new Map(server.data), seq: server.seq };
    const lengths = [server.changes.length, server.applied.length] as const;
    let results = ops.map((op) =>
      writes && isWrite(op) ? (writes.next().value as Result) : carryOut(op, room),
    );
    if (batch.atomic && !writes && results.some(({ status }) => status !== 200 && status !== 404)) {
      server.data.clear();
      for (const [key, entry] of before.data) server.data.set(key, entry);
      server.seq = before.seq;
      server.changes.length = lengths[0];
      server.applied.length = lengths[1];
      const failed = results.findIndex(({ status }) => status !== 200 && status !== 404);
      results = results.map((result, i) => (i === failed ? result : { status: 424, error: 'Not applied' }));
    }
    if (!stored)
      store(results.filter((_, i) => isWrite(ops[i] as Level1Op)).map(({ value: _, ...result }) => result));
    return { status: 200, json: { ...place, seq: server.seq, results } };
  }

  const isWrite = ({ op }: Level1Op): boolean => op !== 'get' && op !== 'head';

  function answer({ method, url, batch }: Level1Request): { status: number; json: Record<string, unknown> } {
    const { pathname, searchParams } = new URL(url, 'http://server');
    const place = { epoch: server.epoch, seq: server.seq };
    if (pathname === '/health') return { status: 200, json: server.health };
    if (method === 'POST' && pathname === '/api/v1/batch' && batch) return apply(batch);
    const sorted = [...server.data].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    if (pathname === '/api/v1/stats') {
      const sizeBytes = sorted.reduce((sum, [, { value }]) => sum + sizeOf(value), 0);
      return { status: 200, json: { keys: sorted.length, sizeBytes, ...place } };
    }
    if (pathname === '/api/v1/keys') {
      const after = Buffer.from(searchParams.get('after') ?? '');
      const listed = sorted
        .filter(([key]) => key.startsWith(searchParams.get('prefix') ?? ''))
        .filter(([key]) => Buffer.compare(Buffer.from(key), after) > 0)
        .map(([key, { rev, value }]) => ({ key, rev: String(rev), size: sizeOf(value) }));
      const keys = listed.slice(0, Number(searchParams.get('limit')));
      const next = keys.length < listed.length ? keys.at(-1)?.key : null;
      return { status: 200, json: { keys, next, ...place } };
    }
    if (pathname === '/api/v1/changes') {
      const [epoch, since = '0'] = searchParams.get('since')?.split('.') ?? [server.epoch];
      if (epoch !== server.epoch || Number(since) > server.seq) return problem(409, 'epoch-changed');
      const changes = server.changes.filter(({ rev }) => Number(rev) > Number(since));
      const page = changes.slice(0, Number(searchParams.get('limit') ?? changes.length));
      const more = page.length < changes.length;
      const next = `${server.epoch}.${more ? page.at(-1)?.rev : server.seq}`;
      return { status: 200, json: { ...place, changes: page, next, more } };
    }
    // Level 0, as far as the detection asks for it.
    if (pathname.startsWith('/api/storage/')) return { status: 404, json: { error: 'Key not found' } };
    return { status: 404, json: { error: 'Not Found' } };
  }

  const http = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const { method = '', url = '', headers } = incoming;
    const batch: Batch | undefined = url === '/api/v1/batch' ? { ops: [], ...JSON.parse(text) } : undefined;
    const request = { method, url, headers, text, batch, atMs: performance.now() };
    server.seen.push(request);
    const writes = batch?.m === undefined ? 0 : 1;
    writesUnderWay += writes;
    server.mostWritesAtOnce = Math.max(server.mostWritesAtOnce, writesUnderWay);
    response.on('close', () => {
      writesUnderWay -= writes;
    });
    if (server.before?.(request, response)) return;
    const { status, json } = answer(request);
    if (server.after?.(request, response)) return;
    // A turn of the event loop later, so that requests overlap as they do over a network.
    setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    }, 1);
  });
  const port = await listen(http);
  const server: Level1Server = {
    url: `http://127.0.0.1:${port}`,
    data: new Map(),
    seen: [],
    changes: [],
    applied: [],
    mostWritesAtOnce: 0,
    epoch: 'first',
    seq: 0,
    health: {
      status: 'ok',
      contract: 1,
      capabilities: ['batch', 'keys', 'changes'],
      limits: { keyBytes: 1024, valueBytes: 8_380_416, batchOps: 500, bodyBytes: 8_388_608 },
    },
    answerBytes: 8_388_608,
    before: undefined,
    after: undefined,
    apply,
    forgetClients: () => clients.clear(),
    async stop() {
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
    start: () => new Promise((done) => http.listen(port, '127.0.0.1', done)),
  };
  return server;
}

const sizeOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));
