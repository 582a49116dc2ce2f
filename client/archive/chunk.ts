/**
 * What is in a chunk of an archive before it is sealed (docs/PROTOCOL.md §21): messages of some conversations, and what came before
 * it, so that whoever reads it finds out what a server leaves out.
 */
import {
  array,
  bytes,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  type Infer,
  struct,
  text,
  u8,
  varint,
} from "../../shared/codec/mod.ts";
import { type ChunkPlace, openChunk } from "../../shared/crypto/mod.ts";
import { ARCHIVE_CHUNK_BYTES_MAX, ARCHIVE_STREAMS_MAX } from "../../shared/limits.ts";
import { conversationId } from "../../shared/protocol/mod.ts";
import { type CopiedMessage, decodeCopies, encodeCopies } from "../copies/copied_message.ts";
import { pad, unpad } from "../e2ee/mls/padding.ts";

/** How far a stream had come. */
const streamHead = struct({
  /** 16 bytes. */
  stream: fixedBytes(16),
  chunks: varint,
  /** SHA-256 of the newest chunk. */
  head: fixedBytes(32),
});
export type StreamHead = Infer<typeof streamHead>;

/** Messages of one conversation, and what it was. */
export interface ChunkPart {
  readonly conversation: Infer<typeof conversationId>;
  /** As {@linkcode ConversationKind}. */
  readonly kind: number;
  /** The other one, or what the group was called. */
  readonly name: string;
  /** In the order of the log. */
  readonly entries: readonly CopiedMessage[];
}

export interface ChunkContent {
  /** SHA-256 of the stream's chunk before, as the server has it; zeros for the first. */
  readonly previous: Uint8Array;
  /** Messages in the stream, with those of this chunk. */
  readonly messages: number;
  /** What the server had shown of other streams, as far as this one has not said so yet. */
  readonly others: readonly StreamHead[];
  readonly parts: readonly ChunkPart[];
}

const content = struct({
  version: u8,
  previous: fixedBytes(32),
  messages: varint,
  others: array(streamHead, ARCHIVE_STREAMS_MAX),
  parts: array(
    struct({ conversation: conversationId, kind: u8, name: text(256), copies: bytes(ARCHIVE_CHUNK_BYTES_MAX) }),
    1 << 12,
  ),
});

/** Padded: from its length nobody tells how much was said. */
export function encodeChunk({ parts, others, ...rest }: ChunkContent): Uint8Array {
  return pad(encode(content, {
    version: VERSION,
    ...rest,
    others: [...others],
    parts: parts.map(({ entries, ...part }) => ({ ...part, copies: encodeCopies(entries) })),
  }));
}

/** What {@linkcode encodeChunk} made. @throws DecodeError */
export function decodeChunk(padded: Uint8Array): ChunkContent {
  const { version, parts, ...rest } = decode(content, unpad(padded));
  if (version !== VERSION) throw new DecodeError(`Chunk has version ${version}`);
  return { ...rest, parts: parts.map(({ copies, ...part }) => ({ ...part, entries: decodeCopies(copies) })) };
}

/** What was sealed for that place, by that key; `undefined` for anything else. */
export function readChunk(key: Uint8Array, place: ChunkPlace, sealed: Uint8Array): ChunkContent | undefined {
  const content = openChunk({ key, ...place, sealed });
  try {
    return content && decodeChunk(content);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const VERSION = 1;
