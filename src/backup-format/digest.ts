/**
 * SHA-256 in plain JavaScript, for browsers: Web Crypto can only hash data that is in memory as a whole.
 *
 * A file of its own, because programs on Node.js use `node:crypto` and do not load the library. Spec: FIPS 180-4.
 */
import { sha256 as sha2 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { Digest } from './format.ts';

/** A new SHA-256. */
export function sha256(): Digest {
  const hash = sha2.create();
  return {
    update: (bytes) => {
      hash.update(bytes);
    },
    hex: () => bytesToHex(hash.digest()),
  };
}
