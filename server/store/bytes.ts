/** Small helpers over bytes that the stores share. */

/** Whether both hold the same bytes. Not in constant time: nothing secret is compared in a store. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
