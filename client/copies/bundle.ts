/**
 * What a sealed part of shared history says (docs/PROTOCOL.md §20), padded as messages are: some of one bundle's messages, which of how many parts it is,
 * and how far back the bundle goes. Who gave it, to whom and about which conversation, the envelope around it says.
 */
import { bool, decode, DecodeError, encode, type Infer, struct, u48, u8, varint } from "../../shared/codec/mod.ts";
import { bytes } from "../../shared/codec/mod.ts";
import { BODY_BYTES_MAX, HISTORY_PART_BYTES, HISTORY_PARTS_MAX } from "../../shared/limits.ts";
import { messageId } from "../../shared/protocol/mod.ts";
import { pad, unpad } from "../e2ee/mls/padding.ts";
import { type CopiedMessage, COPIES_MAX, COPY_OVERHEAD_BYTES, decodeCopies, encodeCopies } from "./copied_message.ts";

const part = struct({
  version: u8,
  /** Random, the same for all its parts. */
  bundle: messageId,
  /** From 0, of so many. */
  part: varint,
  parts: varint,
  /** Nothing from before this is in it; milliseconds since 1970. */
  sinceMs: u48,
  /** There is more, for which there was no room. */
  isCut: bool,
  copies: bytes(BODY_BYTES_MAX),
});

export interface BundlePart extends Omit<Infer<typeof part>, "version" | "copies"> {
  /** At least one. */
  readonly entries: readonly CopiedMessage[];
}

export function encodePart({ entries, ...rest }: BundlePart): Uint8Array {
  return pad(encode(part, { version: VERSION, ...rest, copies: encodeCopies(entries) }));
}

/** @throws DecodeError for anything that {@linkcode encodePart} would not have written. */
export function decodePart(encoded: Uint8Array): BundlePart {
  const { version, copies, ...rest } = decode(part, unpad(encoded)), entries = decodeCopies(copies);
  if (version !== VERSION) throw new DecodeError(`Part of history is of version ${version}`);
  if (rest.part >= rest.parts || rest.parts > HISTORY_PARTS_MAX) {
    throw new DecodeError(`Part ${rest.part} is not one of ${rest.parts}`);
  }
  if (entries.length === 0) throw new DecodeError("Part of history is empty");
  return { ...rest, entries };
}

/** What goes into each part: whoever has the first one has the newest. @param entries In the order of their places. */
export function splitEntries(entries: readonly CopiedMessage[]): CopiedMessage[][] {
  const parts: CopiedMessage[][] = [];
  let now: CopiedMessage[] = [], size = 0;
  for (const entry of entries.toReversed()) {
    const own = COPY_OVERHEAD_BYTES + ENCODER.encode(entry.text).length;
    if (now.length > 0 && (size + own > HISTORY_PART_BYTES || now.length >= COPIES_MAX)) {
      parts.push(now.reverse());
      now = [], size = 0;
    }
    now.push(entry);
    size += own;
  }
  if (now.length > 0) parts.push(now.reverse());
  return parts;
}

const VERSION = 1;
const ENCODER = new TextEncoder();
