/** Ways to break clauses: what a violating server does to requests and answers. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Operation } from './subject.ts';
import type { Reply, Request, Violate } from './violating-server.ts';

/** One way to break clauses. */
export interface Violation {
  readonly what: string;
  /** What is asked: clauses and sections. */
  readonly asked: readonly string[];
  /** What must fail of that; the rest must pass. */
  readonly fails: readonly string[];
  readonly violate: Violate;
}

type Batch = { readonly atomic?: boolean; readonly client?: string; readonly ops: readonly Operation[] };

// Bodies travel as latin1 here, so that bytes that are no UTF-8 get through.
export const textOf = ({ body }: Reply): string => body.toString();
export const encoded = (text: string): string => Buffer.from(text).toString('latin1');
export const decoded = (text: string): string => Buffer.from(text, 'latin1').toString();

/** Change what is asked for. */
export const asking =
  (change: (request: Request) => Partial<Request>): Violate =>
  (request, pass) =>
    pass({ ...request, ...change(request) });

/** Change what is answered. */
export const answering =
  (change: (reply: Reply, request: Request) => Partial<Reply>): Violate =>
  async (request, pass) => {
    const reply = await pass(request);
    return { ...reply, ...change(reply, request) };
  };

/** Change the JSON that a path answers with 200. */
export const answeringJson = (path: RegExp, change: (body: Record<string, unknown>) => unknown): Violate =>
  answering((reply, request) =>
    path.test(request.path) && reply.status === 200
      ? { body: JSON.stringify(change(JSON.parse(textOf(reply)))) }
      : {},
  );

export const isBatch = ({ method, path }: Request): boolean => method === 'POST' && path === '/api/v1/batch';

/** The members of a batch, which may have no operations. */
type Members = Partial<Batch> & { readonly m?: unknown; readonly void?: unknown };

/** The batch in a body that is one, also one that gives a mutation up. */
export function mutationOf(request: Request): Members | undefined {
  try {
    const batch = JSON.parse(decoded(request.body));
    return isBatch(request) && typeof batch === 'object' ? batch : undefined;
  } catch {
    return undefined;
  }
}

/** The batch in a body that is one, if it has operations. */
function batchOf(request: Request): Batch | undefined {
  const batch = mutationOf(request);
  return Array.isArray(batch?.ops) && batch.ops.every(Boolean) ? (batch as Batch) : undefined;
}

/** Change the batches that are asked for. */
export const askingBatch = (change: (batch: Batch) => object): Violate =>
  asking((request) => {
    const batch = batchOf(request);
    const changed = batch && change(batch);
    // What stays the same keeps its bytes, and their number.
    return changed === undefined || changed === batch ? {} : { body: encoded(JSON.stringify(changed)) };
  });

export const without = (object: object, ...names: readonly string[]): object =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));

export const dropHeader = (...names: readonly string[]): Violate =>
  asking(({ headers }) => ({ headers: without(headers, ...names) as Record<string, string> }));

export const dropParameter = (name: string): Violate =>
  asking(({ path }) => ({ path: path.replace(new RegExp(`([?&])${name}=[^&]*`), '$1') }));

/** Write without looking at the same time: read, wait a little, write. */
export const compareThenWrite: Violate = async (request, pass) => {
  const [op, ...others] = batchOf(request)?.ops ?? [];
  if (op?.op !== 'put' || typeof op.ifRev !== 'string' || others.length > 0) return pass(request);
  const run = async (ops: readonly object[]) => pass({ ...request, body: encoded(JSON.stringify({ ops })) });
  const found = JSON.parse(textOf(await run([{ op: 'get', key: op.key }])));
  if (found.results[0]?.rev !== op.ifRev) return pass(request);
  await delay(5);
  return run([without(op, 'ifRev')]);
};

/** Carry out the operations of an atomic batch one by one. */
export const piecewise: Violate = async (request, pass) => {
  const batch = batchOf(request);
  const plain = batch?.ops.every(({ op, key, ifRev }) => op === 'put' && key !== '' && ifRev === undefined);
  if (!batch?.atomic || !plain) return pass(request);
  let last: Record<string, unknown> = {};
  const results: unknown[] = [];
  for (const op of batch.ops) {
    last = JSON.parse(textOf(await pass({ ...request, body: encoded(JSON.stringify({ ops: [op] })) })));
    results.push(...(last.results as unknown[]));
  }
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...last, results }),
  };
};

/** Pages by their number of keys so far, not by the last key. */
export function pagingByOffset(): Violate {
  const offsets = new Map<string, number>();
  return async (request, pass) => {
    const url = new URL(request.path, 'http://localhost');
    const limit = url.searchParams.get('limit');
    if (url.pathname !== '/api/v1/keys' || limit !== '10') return pass(request);
    const offset = offsets.get(url.searchParams.get('after') ?? '') ?? 0;
    const reply = await pass({ ...request, path: '/api/v1/keys?limit=10000' });
    const page = JSON.parse(textOf(reply));
    const keys = page.keys.slice(offset, offset + 10);
    const next = offset + 10 < page.keys.length ? keys.at(-1).key : null;
    if (next !== null) offsets.set(next, offset + 10);
    return { ...reply, body: JSON.stringify({ ...page, keys, next }) };
  };
}

/** Answers that were given once, by client and body. */
export function cachingBatches(): Violate {
  const answers = new Map<string, Reply>();
  return async (request, pass) => {
    const known = batchOf(request)?.client === undefined ? undefined : answers.get(request.body);
    if (known) return known;
    const reply = await pass(request);
    if (reply.status === 200) answers.set(request.body, reply);
    return reply;
  };
}
