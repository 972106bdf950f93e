/** Violations of section 5, and the clauses that the suite must name. */
import {
  answering,
  answeringJson,
  asking,
  askingBatch,
  cachingBatches,
  compareThenWrite,
  isBatch,
  piecewise,
  textOf,
  type Violation,
  without,
} from './violate.ts';

export const BATCH_VIOLATIONS: readonly Violation[] = [
  {
    what: 'operations in another order',
    asked: ['5.1', '5.7'],
    fails: ['5.1'],
    violate: askingBatch((batch) => ({ ...batch, ops: [...batch.ops].reverse() })),
  },
  {
    what: 'ifRev not looked at',
    asked: ['5.1', '5.2', '5.3', '5.7'],
    fails: ['5.2', '5.3'],
    violate: askingBatch((batch) => ({
      ...batch,
      ops: batch.ops.map((op) => (op.op === 'check' ? op : without(op, 'ifRev'))),
    })),
  },
  {
    what: 'ifRev compared in one step and written in another',
    asked: ['5.1', '5.2', '5.3', '5.4'],
    fails: ['5.3'],
    violate: compareThenWrite,
  },
  {
    what: 'atomic not looked at',
    asked: ['5.1', '5.3', '5.4', '5.11'],
    fails: ['5.4', '5.11'],
    violate: askingBatch((batch) => without(batch, 'atomic')),
  },
  {
    what: 'an atomic batch in pieces',
    asked: ['5.1', '5.4'],
    fails: ['5.4'],
    violate: piecewise,
  },
  {
    what: 'epoch not looked at',
    asked: ['5.3', '5.4', '5.7'],
    fails: ['5.7'],
    violate: askingBatch((batch) => without(batch, 'epoch')),
  },
  {
    what: 'batches parsed and printed again',
    asked: ['1.4', '5.1', '5.4', '10'],
    fails: ['1.4'],
    violate: askingBatch((batch) => ({ ...batch })),
  },
  {
    what: 'whole answers given again, with their reads and values',
    asked: ['5.10', '5.11', '5.12', '5.13', '5.14'],
    fails: ['5.11', '5.12', '5.14'],
    violate: cachingBatches(),
  },
  {
    what: 'a batch refused for one bad key',
    asked: ['5.1', '5.5', '5.7'],
    fails: ['5.5'],
    violate: answering((reply, request) =>
      isBatch(request) && textOf(reply).includes('invalid-key') ? { status: 400 } : {},
    ),
  },
  {
    what: 'more values in an answer than was announced',
    asked: ['5.1', '5.6', '5.7'],
    fails: ['5.6'],
    violate: answeringJson(/^\/health$/, (health) => ({
      ...health,
      limits: { ...(health.limits as object), answerBytes: 4_000_000 },
    })),
  },
  {
    what: 'names that are not names like others',
    asked: ['5.1', '5.7', '5.9'],
    fails: ['5.9'],
    violate: asking(({ body }) => ({ body: body.replaceAll('"__proto__"', '"proto"') })),
  },
];
