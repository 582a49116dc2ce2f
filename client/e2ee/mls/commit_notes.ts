/**
 * What a commit says beside the change itself, in its authenticated data (SECURITY M5, M7). It is signed but not sealed: a
 * server reads it, and it holds nothing but numbers that a server knows.
 */
import { array, decode, DecodeError, encode, type Infer, struct, u8, varint } from "../../../shared/codec/mod.ts";

const SEQS_MAX = 256;

const NOTES = struct({
  version: u8,
  /** Rows with commits for this epoch that the author found invalid; with more than 256, the newest. */
  skipped: array(varint, SEQS_MAX),
  /** Rows with the leave notices that it acts on. */
  leaves: array(varint, SEQS_MAX),
  /** Entries of the key log that it relies on: whoever judges it has read so many. */
  keyLogEntries: varint,
});

export type CommitNotes = Omit<Infer<typeof NOTES>, "version">;

export const NO_NOTES: CommitNotes = { skipped: [], leaves: [], keyLogEntries: 0 };

export function encodeNotes(notes: CommitNotes): Uint8Array {
  return encode(NOTES, { version: VERSION, ...notes, skipped: notes.skipped.slice(-SEQS_MAX) });
}

/** `undefined` where they are malformed, which makes a commit invalid for everybody. */
export function decodeNotes(authenticatedData: Uint8Array): CommitNotes | undefined {
  try {
    const { version, ...notes } = decode(NOTES, authenticatedData);
    return version === VERSION ? notes : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const VERSION = 1;
