/**
 * What a sender has seen, carried in every message (SECURITY M4): a server that shows different histories, epochs or keys
 * to different people is found out at the next message between them. Pure.
 */
import { fixedBytes, struct, varint } from "../../../shared/codec/mod.ts";
import type { Infer } from "../../../shared/codec/mod.ts";
import { equalBytes, sha256 } from "../../../shared/crypto/mod.ts";

export const view = struct({
  epoch: varint,
  /** First 16 bytes of the epoch authenticator: equal only for members of the same group in the same state (RFC 9420 §8.7). */
  authenticator: fixedBytes(16),
  /** The newest row of the conversation that the sender has accepted, 0 for none, and the rolling hash up to it. */
  seq: varint,
  history: fixedBytes(32),
  /** Head of the key log (SECURITY M13); zeros where there is none yet. */
  keyLog: fixedBytes(32),
});
export type View = Infer<typeof view>;

/** The rolling hash of a conversation in which nothing was accepted yet. */
export const NO_HISTORY: Uint8Array = new Uint8Array(32);

/** The rolling hash after one more accepted row. @param body The row's sealed body. */
export function nextHistory(history: Uint8Array, seq: number, body: Uint8Array): Uint8Array {
  const place = new Uint8Array(8);
  new DataView(place.buffer).setBigUint64(0, BigInt(seq));
  return sha256(LABEL, history, place, sha256(body));
}

/** What I know, asked for at the points that another's view names. */
export interface Known {
  readonly epoch: number;
  /** 16 bytes, or `undefined` for an epoch that I was not in or no longer hold. */
  authenticatorAt(epoch: number): Uint8Array | undefined;
  /** 32 bytes, or `undefined` for a row that I have not accepted or no longer remember. */
  historyAt(seq: number): Uint8Array | undefined;
  /** Whether a head is in my key log's past; `undefined` where my log is behind and must be fetched before judging. */
  knowsKeyLog(head: Uint8Array): boolean | undefined;
}

/**
 * "same": nothing contradicts. "withheld": the sender is in a later epoch, so a commit was kept from me: send nothing until
 * I have it. "fork": the same point looks different to us, so somebody shows us different groups, rows or keys.
 */
export type ViewVerdict =
  | { readonly kind: "same" }
  | { readonly kind: "withheld"; readonly epoch: number }
  | { readonly kind: "fork"; readonly of: "epoch" | "history" | "key log" };

/** Compares a sender's view with what I know of the same points. */
export function judgeView(theirs: View, known: Known): ViewVerdict {
  const history = known.historyAt(theirs.seq);
  if (history !== undefined && !equalBytes(history, theirs.history)) return { kind: "fork", of: "history" };
  if (known.knowsKeyLog(theirs.keyLog) === false) return { kind: "fork", of: "key log" };
  if (theirs.epoch > known.epoch) return { kind: "withheld", epoch: theirs.epoch };
  const authenticator = known.authenticatorAt(theirs.epoch);
  if (authenticator !== undefined && !equalBytes(authenticator, theirs.authenticator)) {
    return { kind: "fork", of: "epoch" };
  }
  return { kind: "same" };
}

const LABEL = new TextEncoder().encode("fastchat/history/1");
