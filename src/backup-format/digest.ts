/** SHA-256 where there is no `node:crypto`: the Web Crypto API only has one for data that is all there. Spec: FIPS 180-4. */
import { sha256 as sha2 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { Digest } from './format.ts';

/** A running SHA-256 in plain JavaScript. */
export function sha256(): Digest {
  const hash = sha2.create();
  return {
    update: (bytes) => {
      hash.update(bytes);
    },
    hex: () => bytesToHex(hash.digest()),
  };
}
