/**
 * That somebody leaves a group, in a form that also whoever came in later can check (SECURITY M5, M6): the notice itself is sealed
 * for those who were there, so it carries a signature that the commit which acts on it repeats. Pure.
 *
 * It is about the leaf that the device has just then: whoever comes back has another one, and nobody uses the old words again.
 */
import { bytes, encode, fixedBytes, struct, text } from "../../../shared/codec/mod.ts";
import { type Ed25519KeyPair, ed25519Verify } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import type { LeaveProof } from "./commit_notes.ts";
import { holderOf } from "./credential.ts";
import { type Group, selfIn } from "./group.ts";
import { leavesOf } from "./tree.ts";

/** This device's word that its user leaves: 64 bytes. */
export function signLeave(group: Group, key: Ed25519KeyPair): Uint8Array {
  const own = selfIn(group).leaf;
  for (const [index, leaf] of leavesOf(group.state.ratchetTree)) {
    if (index === own) return key.sign(statement(group, leaf.hpkePublicKey));
  }
  throw new TypeError("Own leaf is blank");
}

/** The users who have signed that they leave, each by a device that is in the group under the leaf it had then. */
export function leaversBy(group: Group, proofs: readonly LeaveProof[]): ReadonlySet<UserName> {
  const leavers = new Set<UserName>();
  if (proofs.length === 0) return leavers;
  const signatures = new Map(proofs.map(({ device, signature }) => [device, signature]));
  for (const [, leaf] of leavesOf(group.state.ratchetTree)) {
    const holder = holderOf(leaf), signature = signatures.get(holder.device);
    if (signature === undefined) continue;
    if (ed25519Verify(leaf.signaturePublicKey, signature, statement(group, leaf.hpkePublicKey))) {
      leavers.add(holder.user);
    }
  }
  return leavers;
}

function statement({ state }: Group, leafKey: Uint8Array): Uint8Array {
  return encode(STATEMENT, { label: LABEL, group: state.groupContext.groupId, leafKey });
}

const LABEL = "fastchat/leave/1";
const STATEMENT = struct({ label: text(32), group: fixedBytes(16), leafKey: bytes(4096) });
