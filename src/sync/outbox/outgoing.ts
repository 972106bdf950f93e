/**
 * Queued writes as the operations of a request of level 1.
 */
import { chunksOf } from '../../core/chunks.ts';
import { utf8Length } from '../../core/keys.ts';
import { NEVER, OP_BYTES, type WireOp } from '../../remote/level1/protocol.ts';
import { operationsOf } from '../rules/outbox.ts';
import { ALL_KEYS, type Meta, type QueuedWrite } from '../rules/state.ts';

/** The most bytes of a body, and the bytes around its operations. */
const MOST_BYTES = 2 * 1024 * 1024;
const HEAD_BYTES = 256;

/** The first writes that fit into a request of at most `bytes`. A unit has a limit of its own and is never cut. */
export function fitting(writes: readonly QueuedWrite[], bytes: number): readonly QueuedWrite[] {
  const unit = writes[0]?.unit;
  if (unit) return writes.filter((write) => write.unit?.order === unit.order);
  const [first = []] = chunksOf(writes, {
    bytes: Math.min(bytes, MOST_BYTES) - HEAD_BYTES,
    sizeOf: ({ key, value }) => OP_BYTES + utf8Length(JSON.stringify([key, value?.json])),
  });
  return first;
}

/** The operations of a request: writes, or a unit with its checks. */
export const opsOf = (writes: readonly QueuedWrite[], meta: Meta): WireOp[] =>
  operationsOf(writes).map((step) =>
    'check' in step
      ? { op: 'check', key: step.check, ifRevision: revisionOf(step, meta) }
      : wireOp(step, meta),
  );

function revisionOf(
  { base, stale }: Pick<QueuedWrite, 'base' | 'stale'>,
  { generation, epoch }: Meta,
): string | null {
  if (stale) return NEVER;
  return base?.value ? (base.generation === generation ? `${epoch}.${base.seq}` : NEVER) : null;
}

/** The operation of a queued write. Its condition is its base. */
function wireOp(write: QueuedWrite, meta: Meta): WireOp {
  const { key, value, base } = write;
  if (key === ALL_KEYS) return { op: 'clear', ifSeq: base?.generation === meta.generation ? base.seq : 0 };
  const ifRevision = revisionOf(write, meta);
  return value
    ? { op: 'put', key, text: JSON.stringify(value.json), ifRevision }
    : { op: 'delete', key, ifRevision };
}
