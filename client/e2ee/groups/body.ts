/** The body of a row (docs/PROTOCOL.md §15): a version, a kind, and what that kind means. Pure. */

export const Kind = {
  /** A sealed envelope (docs/PROTOCOL.md §10). */
  envelope: 1,
  /** An MLSMessage. */
  mls: 2,
} as const;

/** An MLSMessage as a row's body. */
export function mlsBody(message: Uint8Array): Uint8Array {
  const body = new Uint8Array(2 + message.length);
  body.set([VERSION, Kind.mls]);
  body.set(message, 2);
  return body;
}

/** What a body is; `undefined` where it is of another version or kind, or nothing at all. */
export function readBody(body: Uint8Array): { readonly kind: number; readonly content: Uint8Array } | undefined {
  const kind = body[1];
  if (body[0] !== VERSION || (kind !== Kind.envelope && kind !== Kind.mls)) return undefined;
  return { kind, content: kind === Kind.mls ? body.subarray(2) : body };
}

const VERSION = 1;
