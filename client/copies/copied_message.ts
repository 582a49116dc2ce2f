/**
 * A message as somebody else's home, or one's own archive, tells it (docs/PROTOCOL.md §20): nothing here proves who wrote it, only
 * who passed it on. Bytes of a list of them are what shared history and the archive consist of.
 */
import { array, decode, DecodeError, encode, type Infer, struct, text, u48, varint } from "../../shared/codec/mod.ts";
import { TEXT_BYTES_MAX } from "../../shared/limits.ts";
import { deviceId, messageId, userName } from "../../shared/protocol/mod.ts";

const copiedMessage = struct({
  /** Its place in the log of the conversation. */
  seq: varint,
  id: messageId,
  sender: userName,
  device: deviceId,
  /** When the server stored it: milliseconds since 1970. */
  timeMs: u48,
  text: text(TEXT_BYTES_MAX),
});
export type CopiedMessage = Infer<typeof copiedMessage>;

/** Messages of one list. */
export const COPIES_MAX = 4_096;
/** What a message takes beside its text, at most. */
export const COPY_OVERHEAD_BYTES = 96;

const copies = array(copiedMessage, COPIES_MAX);

/** @param entries At most {@linkcode COPIES_MAX}, of one conversation, in the order of their places. */
export function encodeCopies(entries: readonly CopiedMessage[]): Uint8Array {
  return encode(copies, [...entries]);
}

/** What {@linkcode encodeCopies} made. @throws DecodeError for anything else: trailing bytes, places out of order or twice. */
export function decodeCopies(bytes: Uint8Array): CopiedMessage[] {
  const entries = decode(copies, bytes);
  let last = 0;
  for (const { seq } of entries) {
    if (seq <= last) throw new DecodeError(`Copy of place ${seq} stands behind that of ${last}`);
    last = seq;
  }
  return entries;
}
