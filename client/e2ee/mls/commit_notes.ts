/**
 * What a commit says beside the change itself, in its authenticated data (SECURITY M5, M7). It is signed but not sealed: a
 * server reads it, and it holds nothing but numbers that a server knows, and who has left.
 */
import {
  array,
  decode,
  DecodeError,
  encode,
  fixedBytes,
  type Infer,
  struct,
  u8,
  varint,
} from "../../../shared/codec/mod.ts";
import { deviceId } from "../../../shared/protocol/mod.ts";

const SEQS_MAX = 256;

/** Who leaves, by one of their devices, and what it has signed (see `leave_proof.ts`). */
const leaveProof = struct({ device: deviceId, signature: fixedBytes(64) });
export type LeaveProof = Infer<typeof leaveProof>;

const FIELDS = {
  version: u8,
  /** Rows with commits for this epoch that the author found invalid; with more than 256, the newest. */
  skipped: array(varint, SEQS_MAX),
  /** Rows with the leave notices that it acts on. */
  leaves: array(varint, SEQS_MAX),
  /** Entries of the key log that it relies on: whoever judges it has read so many. */
  keyLogEntries: varint,
};
const NOTES = struct(FIELDS);
/** With what the leavers have signed, for those who came in behind a notice and cannot read it. */
const NOTES_WITH_PROOFS = struct({ ...FIELDS, proofs: array(leaveProof, SEQS_MAX) });

export interface CommitNotes extends Omit<Infer<typeof NOTES>, "version"> {
  readonly proofs?: readonly LeaveProof[];
}

export const NO_NOTES: CommitNotes = { skipped: [], leaves: [], keyLogEntries: 0 };

export function encodeNotes({ proofs = [], ...notes }: CommitNotes): Uint8Array {
  const fields = { ...notes, skipped: notes.skipped.slice(-SEQS_MAX) };
  return proofs.length === 0
    ? encode(NOTES, { version: VERSION, ...fields })
    : encode(NOTES_WITH_PROOFS, { version: VERSION_WITH_PROOFS, ...fields, proofs: proofs.slice(-SEQS_MAX) });
}

/** `undefined` where they are malformed, which makes a commit invalid for everybody. */
export function decodeNotes(authenticatedData: Uint8Array): CommitNotes | undefined {
  try {
    if (authenticatedData[0] === VERSION_WITH_PROOFS) {
      const { version: _, ...notes } = decode(NOTES_WITH_PROOFS, authenticatedData);
      return notes;
    }
    const { version, ...notes } = decode(NOTES, authenticatedData);
    return version === VERSION ? notes : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

const VERSION = 1;
const VERSION_WITH_PROOFS = 2;
