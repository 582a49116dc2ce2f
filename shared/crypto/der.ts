/** A raw key behind its fixed DER prefix, as `node:crypto` wants it. */
export function derKey(prefix: Uint8Array, key: Uint8Array): Buffer {
  const der = Buffer.alloc(prefix.length + key.length);
  der.set(prefix);
  der.set(key, prefix.length);
  return der;
}
