/**
 * Receipts (docs/PROTOCOL.md §13, SECURITY M4): what one device says of a conversation, signed by its leaf key. A server can
 * withhold one, or show an older one again; it can never make one, nor pass one off as another device's or conversation's.
 */
import { encode, fixedBytes, struct, text, varint } from "../codec/mod.ts";
import { conversationId, deviceId, type OwnReceipt, type Receipt, userName } from "../protocol/mod.ts";
import { type Ed25519KeyPair, ed25519Verify } from "./ed25519.ts";

/** What is signed: a receipt without its signature. */
export type ReceiptStatement = Omit<Receipt, "signature">;

/** `hash` of a receipt for nothing at all: 32 zero bytes. */
export const NOTHING_DELIVERED: Uint8Array = new Uint8Array(32);

/**
 * Signs a receipt: 64 bytes.
 *
 * @param clusterId 16 bytes.
 */
export function signReceipt(leaf: Ed25519KeyPair, clusterId: Uint8Array, statement: ReceiptStatement): Uint8Array {
  return leaf.sign(receiptBytes(clusterId, statement));
}

/**
 * Whether a receipt is one by the device that it names. Whose device that is, its certificate says.
 *
 * @param leafKey From the device's verified certificate: 32 bytes.
 */
export function verifyReceipt(leafKey: Uint8Array, clusterId: Uint8Array, receipt: Receipt): boolean {
  return isReceipt(receipt) && ed25519Verify(leafKey, receipt.signature, receiptBytes(clusterId, receipt));
}

/** Whether its fields fit one another: nobody has read what did not arrive, and nothing has no hash. */
export function isReceipt({ delivered, hash, read }: Pick<OwnReceipt, "delivered" | "hash" | "read">): boolean {
  return read <= delivered && (delivered === 0) === hash.every((byte) => byte === 0);
}

/** The bytes under the signature. */
export function receiptBytes(clusterId: Uint8Array, statement: ReceiptStatement): Uint8Array {
  return encode(STATEMENT, { label: LABEL, clusterId, ...statement });
}

const LABEL = "fastchat/receipt/1";
const STATEMENT = struct({
  label: text(32),
  clusterId: fixedBytes(16),
  conversation: conversationId,
  user: userName,
  device: deviceId,
  delivered: varint,
  hash: fixedBytes(32),
  read: varint,
});
