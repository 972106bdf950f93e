/** Keys, tenants and clients as a database that stores bytes has them: UTF-8, in the order of the contract. */

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'utf8');
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/** The bytes that follow all those that begin with `prefix`; `undefined` if none do. */
export function endOf(prefix: Buffer): Buffer | undefined {
  if (prefix.length === 0) return undefined;
  const end = Buffer.from(prefix);
  // UTF-8 has no byte 0xFF.
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}
