/**
 * Writes that wait, as they travel to a server of level 1.
 */
import { chunksOf } from '../../core/chunks.ts';
import { utf8Length } from '../../core/keys.ts';
import { NEVER, OP_BYTES, type WireOp } from '../../remote/level1/protocol.ts';
import { stepsOf } from '../rules/outbox.ts';
import { ALL, type Meta, type Row } from '../rules/state.ts';

/** Bytes of a body, and what stands around the writes in it. */
const MOST_BYTES = 2 * 1024 * 1024;
const HEAD_BYTES = 256;

/** As many rows as a request should hold, of `bytes` at most. A unit, which has a limit of its own, is never cut. */
export function fitting(rows: readonly Row[], bytes: number): readonly Row[] {
  const unit = rows[0]?.unit;
  if (unit) return rows.filter((row) => row.unit?.n === unit.n);
  const [first = []] = chunksOf(rows, {
    bytes: Math.min(bytes, MOST_BYTES) - HEAD_BYTES,
    sizeOf: ({ key, held }) => OP_BYTES + utf8Length(JSON.stringify([key, held?.json])),
  });
  return first;
}

/** The operations of a request: writes, or a unit with what it checks. */
export const opsOf = (rows: readonly Row[], meta: Meta): WireOp[] =>
  stepsOf(rows).map((step) =>
    'check' in step
      ? { op: 'check', key: step.check, ifRevision: revisionOf(step, meta) }
      : wireOp(step, meta),
  );

function revisionOf({ base, stale }: Pick<Row, 'base' | 'stale'>, { era, epoch }: Meta): string | null {
  if (stale) return NEVER;
  return base?.held ? (base.era === era ? `${epoch}.${base.seq}` : NEVER) : null;
}

/** A write that waits as it travels: it holds only for what its writer had seen. */
function wireOp(row: Row, meta: Meta): WireOp {
  const { key, held, base } = row;
  if (key === ALL) return { op: 'clear', ifSeq: base?.era === meta.era ? base.seq : 0 };
  const ifRevision = revisionOf(row, meta);
  return held
    ? { op: 'put', key, text: JSON.stringify(held.json), ifRevision }
    : { op: 'delete', key, ifRevision };
}
