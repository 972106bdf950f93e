/** The limits that the server announces. Spec: docs/contract.md, 4.1. */

export interface Limits {
  readonly keyBytes: number;
  /** A value of that size fits into a batch, whatever its key. */
  readonly valueBytes: number;
  readonly batchOps: number;
  readonly bodyBytes: number;
  /** Values in one answer. */
  readonly answerBytes: number;
}

/** Room for what is around a value in a batch or on a line: the longest key, escaped, and the names of the members. */
export const AROUND_A_VALUE = 8192;

export function limitsOf(maxBodyBytes: number): Limits {
  return {
    keyBytes: 1024,
    valueBytes: Math.max(maxBodyBytes - AROUND_A_VALUE, maxBodyBytes >> 1),
    batchOps: 2000,
    bodyBytes: maxBodyBytes,
    answerBytes: maxBodyBytes,
  };
}
