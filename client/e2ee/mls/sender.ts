/**
 * Who wrote a message, by cryptography alone (SECURITY M2): its sender data, opened with its epoch's secret, names a leaf of
 * that epoch's tree. The library does not tell it. Until the message itself is opened it is only a claim by some member.
 */
import type { ClientState, PrivateMessage, RatchetTree } from "ts-mls";
import { decryptSenderData } from "ts-mls/privateMessage.js";
import { leafToNodeIndex, toLeafIndex } from "ts-mls/treemath.js";
import { holderOf } from "./credential.ts";
import type { Member } from "./policy.ts";
import type { Suite } from "./suite.ts";

/** A leaf at one point of its ratchet. */
export interface Sender {
  readonly member: Member;
  readonly epoch: number;
  /** Which message of this leaf in this epoch, counted apart for commits and messages. */
  readonly generation: number;
}

/** `undefined` where the epoch is not held, the sender data do not open, or they name a blank leaf. */
export async function senderOf(state: ClientState, message: PrivateMessage, suite: Suite): Promise<Sender | undefined> {
  const epoch = epochOf(state, message.epoch);
  if (epoch === undefined) return undefined;
  try {
    const data = await decryptSenderData(message, epoch.senderDataSecret, suite);
    const member = data === undefined ? undefined : memberAt(epoch.tree, data.leafIndex);
    return data === undefined || member === undefined
      ? undefined
      : { member, epoch: Number(message.epoch), generation: data.generation };
  } catch {
    return undefined;
  }
}

/** The member at a leaf; `undefined` where it is blank or beyond the tree. */
export function memberAt(tree: RatchetTree, leaf: number): Member | undefined {
  const node = tree[leafToNodeIndex(toLeafIndex(leaf))];
  if (node?.nodeType !== "leaf") return undefined;
  const { leafKey: _, ...holder } = holderOf(node.leaf);
  return { ...holder, leaf };
}

function epochOf(state: ClientState, epoch: bigint): { tree: RatchetTree; senderDataSecret: Uint8Array } | undefined {
  if (epoch === state.groupContext.epoch) {
    return { tree: state.ratchetTree, senderDataSecret: state.keySchedule.senderDataSecret };
  }
  const past = state.historicalReceiverData.get(epoch);
  return past === undefined ? undefined : { tree: past.ratchetTree, senderDataSecret: past.senderDataSecret };
}
