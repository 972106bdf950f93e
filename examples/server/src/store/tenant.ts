/** Whose data it is that a caller without a token reads and writes. */
export const ANONYMOUS_TENANT = 'default';
