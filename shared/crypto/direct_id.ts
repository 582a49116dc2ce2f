/** Ids of direct conversations (docs/PROTOCOL.md §7.3): both sides and the server compute the same one from two names. */
import { assert } from "../assert.ts";
import type { ConversationId, UserName } from "../protocol/mod.ts";
import { sha256 } from "./hkdf.ts";

/**
 * The id of the conversation between two users, whichever is named first.
 *
 * @param clusterId 16 bytes: the same two names in another cluster are another conversation.
 */
export function directConversationId(clusterId: Uint8Array, a: UserName, b: UserName): ConversationId {
  assert(clusterId.length === 16, "A cluster id is 16 bytes");
  // Names are ASCII, so JavaScript's order of strings is the order of their bytes.
  const [first, second] = a < b ? [a, b] : [b, a];
  return sha256(LABEL, clusterId, lengthAndName(first), lengthAndName(second)).toHex().slice(0, 32) as ConversationId;
}

function lengthAndName(name: UserName): Uint8Array {
  return TEXT_ENCODER.encode(String.fromCharCode(name.length) + name);
}

const TEXT_ENCODER = new TextEncoder();
const LABEL = TEXT_ENCODER.encode("fastchat/direct/1");
