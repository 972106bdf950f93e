/**
 * Writes that wait, as they travel to a server of level 1.
 */
import { chunksOf } from '../core/chunks.ts';
import { utf8Length } from '../core/keys.ts';
import { NEVER, OP_BYTES, type WireOp } from '../remote/level1/protocol.ts';
import { ALL, type Meta, type Row } from './rules.ts';

/** Bytes of a body, and what stands around the writes in it. */
const MOST_BYTES = 2 * 1024 * 1024;
const HEAD_BYTES = 256;

/** As many rows as a request should hold, of `bytes` at most. */
export function fitting(rows: readonly Row[], bytes: number): readonly Row[] {
  const [first = []] = chunksOf(rows, {
    bytes: Math.min(bytes, MOST_BYTES) - HEAD_BYTES,
    sizeOf: ({ key, held }) => OP_BYTES + utf8Length(JSON.stringify([key, held?.json])),
  });
  return first;
}

/** A write that waits as it travels: it holds only for what its writer had seen. */
export function wireOp({ key, held, base }: Row, meta: Meta): WireOp {
  const current = base?.era === meta.era;
  if (key === ALL) return { op: 'clear', ifSeq: current ? (base?.seq ?? 0) : 0 };
  const ifRevision = base?.held ? (current ? `${meta.epoch}.${base.seq}` : NEVER) : null;
  return held
    ? { op: 'put', key, text: JSON.stringify(held.json), ifRevision }
    : { op: 'delete', key, ifRevision };
}
