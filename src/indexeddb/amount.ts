/**
 * How many entries one request reads.
 *
 * The engine hands over what a request has read in one piece: few small pieces cost a request each, and a large one holds
 * up everything. Around 200 KB was best for values of any size.
 */
const BYTES = 200_000;
const MOST = 250;

/** The number of entries like these that one request should read. */
export function amountFor(values: readonly unknown[]): number {
  const samples = [0, values.length >> 1, values.length - 1].map((i) => sizeOf(values[i]));
  const mean = samples.reduce((sum, size) => sum + size, 1) / samples.length;
  return Math.max(1, Math.min(MOST, Math.round(BYTES / mean)));
}

/** About how large a value is. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength;
  try {
    return JSON.stringify(value)?.length ?? 0;
  } catch {
    // A cycle, or a bigint: no text, so no better guess.
    return 1000;
  }
}
