/** The limits that the server announces in `GET /health`. Spec: docs/contract.md, 4.1. */
import { MAX_KEY_BYTES } from '../keys.ts';

/** All but `batchOps` are bytes. */
export interface Limits {
  readonly keyBytes: number;
  /** A value of this size fits into a batch with any key. */
  readonly valueBytes: number;
  readonly batchOps: number;
  readonly bodyBytes: number;
  /** The values in one answer together. */
  readonly answerBytes: number;
}

/** Bytes around a value in a batch or on a line of an import: the longest key, escaped, and the names of the members. */
export const BYTES_AROUND_VALUE = 8192;

export function limitsOf(maxBodyBytes: number): Limits {
  return {
    keyBytes: MAX_KEY_BYTES,
    valueBytes: Math.max(maxBodyBytes - BYTES_AROUND_VALUE, maxBodyBytes >> 1),
    batchOps: 2000,
    bodyBytes: maxBodyBytes,
    answerBytes: maxBodyBytes,
  };
}
