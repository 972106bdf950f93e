/** Violations of clauses 4.6, 5.10 to 5.14 and 9.16, and of `check`, and the clauses that the suite must name. */
import type { Operation } from './subject.ts';
import {
  answering,
  answeringJson,
  asking,
  askingBatch,
  encoded,
  isBatch,
  mutationOf,
  textOf,
  type Violation,
  without,
} from './violate.ts';
import type { Reply, Request, Violate } from './violating-server.ts';

const MUTATIONS = ['5.10', '5.11', '5.12', '5.13', '5.14'];

const JSON_HEADERS = { 'content-type': 'application/json' };

/** A check becomes a head: it answers 404 or 200, and never 412. */
const asHead = (op: Operation): object =>
  op.op === 'check' && 'ifRev' in op ? { op: 'head', key: op.key } : op;

/** Calls `change` with a reply to a mutation that was not refused. */
const answeringBatch = (change: (body: Record<string, unknown>, request: Request) => unknown): Violate =>
  answering((reply, request) =>
    isBatch(request) && reply.status === 200
      ? { body: JSON.stringify(change(JSON.parse(textOf(reply)), request)) }
      : {},
  );

/** Keeps the answers itself, after the writes are done, and looks at nothing but the number. */
function storingAfterwards(): Violate {
  const answers = new Map<string, Reply>();
  return async (request, pass) => {
    const { client, m, ops } = mutationOf(request) ?? {};
    if (m === undefined || ops === undefined) return pass(request);
    const known = answers.get(`${client}.${m}`);
    if (known) return known;
    const reply = await pass(request);
    if (reply.status !== 200) return reply;
    const { results } = JSON.parse(textOf(reply)) as { results: Array<Record<string, unknown>> };
    const body = { ...JSON.parse(textOf(reply)), results: results.map((result) => without(result, 'value')) };
    answers.set(`${client}.${m}`, { ...reply, body: JSON.stringify(body) });
    return reply;
  };
}

/** Applies mutations only in the order of their numbers. */
function ascending(): Violate {
  const highest = new Map<unknown, number>();
  return async (request, pass) => {
    const { client, m } = mutationOf(request) ?? {};
    const before = highest.get(client) ?? 0;
    if (typeof m !== 'number' || client === undefined) return pass(request);
    if (m < before) return { status: 409, headers: JSON_HEADERS, body: '{"error":"Gone by"}' };
    highest.set(client, m);
    return pass(request);
  };
}

/** After a clear every client is another one. */
function forgettingAtClear(): Violate {
  let clears = 0;
  return (request, pass) => {
    if (request.path === '/api/storage/clear') clears += 1;
    return askingBatch((batch) =>
      'client' in batch ? { ...batch, client: `${batch.client}`.slice(0, 30) + clears } : batch,
    )(request, pass);
  };
}

/** What was refused has used its number. */
const usingRefusedNumbers: Violate = async (request, pass) => {
  const reply = await pass(request);
  const { client, m } = mutationOf(request) ?? {};
  if (reply.status === 409 && m !== undefined)
    await pass({ ...request, body: encoded(JSON.stringify({ client, void: m })) });
  return reply;
};

/** A mutation that was given up applies when it arrives. */
const applyingLate: Violate = async (request, pass) => {
  const reply = await pass(request);
  if (reply.status !== 409 || !textOf(reply).includes('urn:codeforge-storage:void')) return reply;
  const batch = mutationOf(request) ?? {};
  return pass({ ...request, body: encoded(JSON.stringify(without(batch, 'm', 'settled'))) });
};

/** Says void, and does nothing. */
const forgettingVoid: Violate = async (request, pass) => {
  const batch = mutationOf(request);
  if (batch?.void === undefined || batch.client === undefined || 'ops' in batch || 'm' in batch)
    return pass(request);
  const reply = await pass({ ...request, body: encoded(JSON.stringify({ client: batch.client, ops: [] })) });
  return reply.status === 200
    ? { ...reply, body: JSON.stringify({ ...JSON.parse(textOf(reply)), void: true }) }
    : reply;
};

export const MUTATION_VIOLATIONS: readonly Violation[] = [
  {
    what: 'limits below those that every server has',
    asked: ['4.1', '4.6'],
    fails: ['4.6'],
    violate: answeringJson(/^\/health$/, (health) => ({
      ...health,
      limits: { ...(health.limits as object), batchOps: 499 },
    })),
  },
  {
    what: 'fewer operations in a batch than every server takes',
    asked: ['4.1', '4.6', '5.1'],
    fails: ['4.6'],
    violate: (request, pass) =>
      (mutationOf(request)?.ops?.length ?? 0) > 100
        ? Promise.resolve({ status: 400, headers: JSON_HEADERS, body: '{"error":"Too many"}' })
        : pass(request),
  },
  {
    what: 'a check that only reads',
    asked: ['5.1', '5.2', '5.3', '5.4', '5.7'],
    fails: ['5.1', '5.3', '5.4'],
    violate: askingBatch((batch) => ({ ...batch, ops: batch.ops.map(asHead) })),
  },
  {
    what: 'a check that its atomic batch does not mind',
    asked: ['5.1', '5.3', '5.4', '5.7'],
    fails: ['5.4'],
    violate: askingBatch((batch) => (batch.atomic ? { ...batch, ops: batch.ops.map(asHead) } : batch)),
  },
  {
    what: 'a check without ifRev',
    asked: ['5.1', '5.3', '5.4', '5.8'],
    fails: ['5.8'],
    violate: askingBatch((batch) => ({
      ...batch,
      ops: batch.ops.map((op) => (op.op === 'check' && !('ifRev' in op) ? { ...op, ifRev: null } : op)),
    })),
  },
  {
    what: 'm not looked at',
    asked: ['5.1', ...MUTATIONS],
    fails: MUTATIONS,
    violate: askingBatch((batch) => without(batch, 'm')),
  },
  {
    what: 'settled not looked at',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.10', '5.11', '5.13', '5.14'],
    violate: askingBatch((batch) => without(batch, 'settled')),
  },
  {
    what: 'numbers in any notation',
    asked: ['5.1', '5.10', '5.12'],
    fails: ['5.10'],
    violate: asking(({ body }) => ({
      body: body.replace(/("(?:m|void|settled)":)(?:1e0|1\.0|10e-1)/g, '$11'),
    })),
  },
  {
    what: 'numbers that must go up',
    asked: ['5.1', '5.10', '5.12'],
    fails: ['5.10'],
    violate: ascending(),
  },
  {
    what: 'clients of any form',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.10'],
    violate: askingBatch((batch) =>
      typeof batch.client === 'string' && batch.client.length < 16
        ? { ...batch, client: batch.client.padEnd(16, '_') }
        : batch,
    ),
  },
  {
    what: 'only what applied is stored',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.11', '5.12', '5.13'],
    violate: askingBatch((batch) =>
      batch.ops.some(({ ifRev, ifSeq }) => ifRev !== undefined || ifSeq !== undefined)
        ? without(batch, 'm', 'settled')
        : batch,
    ),
  },
  {
    what: 'a refused request uses its number',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.11'],
    violate: usingRefusedNumbers,
  },
  {
    what: 'results stored after the writes, by number alone',
    asked: ['5.1', '5.10', '5.12'],
    fails: ['5.12'],
    violate: storingAfterwards(),
  },
  {
    what: 'void that is not stored',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.10', '5.11', '5.13', '5.14'],
    violate: forgettingVoid,
  },
  {
    what: 'void that hides the results of what was applied',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.13'],
    violate: answeringBatch((body, request) =>
      mutationOf(request)?.void === undefined ? body : { ...body, void: true, results: [] },
    ),
  },
  {
    what: 'a mutation that applies after it was given up',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.13', '5.14'],
    violate: applyingLate,
  },
  {
    what: 'top with the number of the request',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.14'],
    violate: answeringBatch((body, request) => {
      const { m, void: voided } = mutationOf(request) ?? {};
      return 'top' in body ? { ...body, top: Math.max(Number(body.top), Number(m ?? voided ?? 0)) } : body;
    }),
  },
  {
    what: 'no top in refusals',
    asked: ['5.1', ...MUTATIONS],
    fails: ['5.14'],
    violate: answering((reply) =>
      reply.status === 409 ? { body: JSON.stringify(without(JSON.parse(textOf(reply)), 'top')) } : {},
    ),
  },
  {
    what: 'clients forgotten at a clear',
    asked: ['5.1', '5.14'],
    fails: ['5.14'],
    violate: forgettingAtClear(),
  },
  {
    what: 'one row of numbers for all clients',
    asked: ['5.1', '5.14'],
    fails: ['5.14'],
    violate: askingBatch((batch) =>
      'client' in batch ? { ...batch, client: 'the-only-client-0001' } : batch,
    ),
  },
  {
    what: 'an account without tokens',
    asked: ['9.11', '9.16'],
    fails: ['9.16'],
    violate: answeringBatch((body) => ({ ...body, account: 'anonymous' })),
  },
  {
    what: 'an account taken by a server without tokens',
    asked: ['9.11', '9.16'],
    fails: ['9.16'],
    violate: askingBatch((batch) => without(batch, 'account')),
  },
];

/** Of a server with tokens. */
export const ACCOUNT_VIOLATIONS: readonly Violation[] = [
  {
    what: 'no account',
    asked: ['9.10', '9.11', '9.16'],
    fails: ['9.16'],
    violate: answeringBatch((body) => without(body, 'account')),
  },
  {
    what: 'the account not looked at',
    asked: ['9.10', '9.11', '9.16'],
    fails: ['9.16'],
    violate: askingBatch((batch) => without(batch, 'account')),
  },
  {
    what: 'an account for each token',
    asked: ['9.10', '9.11', '9.16'],
    fails: ['9.16'],
    violate: answeringBatch((body, request) => ({
      ...body,
      account: `${body.account}${request.headers.authorization?.length}${request.headers.authorization?.at(-1)}`,
    })),
  },
];
