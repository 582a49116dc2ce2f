/**
 * What travels in unreliable frames between client and server (docs/PROTOCOL.md §14): worthless a moment later, so it may get
 * lost, and what it said ends by itself.
 *
 * One that its schema refuses is dropped: nobody waits for an answer, and nobody relies on it.
 */
import { bool, decode, DecodeError, type Infer, type Schema, struct, union, varint } from "../codec/mod.ts";
import { conversationId, userName } from "./names.ts";

/** Client to server. */
export const hintUp = union({
  /** I am typing, or have stopped. Repeated every few seconds while it lasts. */
  typing: [1, struct({ conversation: conversationId, active: bool })],
});
export type HintUp = Infer<typeof hintUp>;

/** Server to client. What is said holds for `ttlMs`; 0 ends it at once. */
export const hintDown = union({
  typing: [1, struct({ conversation: conversationId, name: userName, ttlMs: varint })],
  /** Of somebody whom this connection watches. */
  presence: [2, struct({ name: userName, online: bool, ttlMs: varint })],
});
export type HintDown = Infer<typeof hintDown>;

/** Reads a hint. `undefined` where it is none. */
export function readHint<T>(schema: Schema<T>, bytes: Uint8Array): T | undefined {
  try {
    return decode(schema, bytes);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return undefined;
  }
}
