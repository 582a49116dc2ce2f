/**
 * Invite links (SECURITY M14): where a group is and a secret that is never sent. Whoever has one proves it by a MAC over who they
 * are, which an admin's device checks against the group's own state. Pure.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, hex, struct, text, u8 } from "../../../shared/codec/mod.ts";
import { equalBytes, hmacSha256, sha256 } from "../../../shared/crypto/mod.ts";
import { type ConversationId, conversationId, type DeviceId } from "../../../shared/protocol/mod.ts";
import type { GroupInfo } from "../mls/mod.ts";

export interface InviteLink {
  /** Of the cluster's key, 32 bytes. */
  readonly cluster: Uint8Array;
  /** `HOST:PORT` */
  readonly server: string;
  readonly group: ConversationId;
  /** Which of the group's links it is, 16 bytes as hex. */
  readonly invite: string;
  /** 32 bytes. */
  readonly secret: Uint8Array;
}

export function formatLink(link: InviteLink): string {
  const payload = encode(LINK, { version: VERSION, ...link });
  const checked = new Uint8Array(payload.length + CHECKSUM_BYTES);
  checked.set(payload);
  checked.set(checksum(payload), payload.length);
  return `${PREFIX}${checked.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** `undefined` where it is no link, or one that was typed or cut wrong. */
export function parseLink(input: string): InviteLink | undefined {
  const trimmed = input.trim();
  if (!trimmed.startsWith(PREFIX)) return undefined;
  try {
    const checked = Uint8Array.fromBase64(trimmed.slice(PREFIX.length), { alphabet: "base64url" });
    const payload = checked.subarray(0, -CHECKSUM_BYTES);
    if (!equalBytes(checksum(payload), checked.subarray(payload.length))) return undefined;
    const { version, ...link } = decode(LINK, payload);
    return version === VERSION ? link : undefined;
  } catch (error) {
    if (error instanceof DecodeError || error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

export interface Asker {
  readonly group: ConversationId;
  /** Fingerprint of their identity, 32 bytes. */
  readonly identity: Uint8Array;
  readonly device: DeviceId;
}

/** What somebody who has a link says to be let in. */
export function linkProof({ invite, secret }: InviteLink, asker: Asker): Uint8Array {
  return encode(PROOF, { version: VERSION, invite, mac: mac(secret, asker) });
}

/** Whether it was made with an open link of the group, by this very identity and device. */
export function isLinkProof(body: Uint8Array, { invites }: Pick<GroupInfo, "invites">, asker: Asker): boolean {
  try {
    const proof = decode(PROOF, body), invite = invites.find(({ id }) => id === proof.invite);
    return proof.version === VERSION && invite !== undefined && equalBytes(proof.mac, mac(invite.secret, asker));
  } catch (error) {
    if (error instanceof DecodeError) return false;
    throw error;
  }
}

function mac(secret: Uint8Array, { group, identity, device }: Asker): Uint8Array {
  return hmacSha256(secret, LABEL, Uint8Array.fromHex(group), identity, Uint8Array.fromHex(device));
}

function checksum(payload: Uint8Array): Uint8Array {
  return sha256(CHECKSUM_LABEL, payload).subarray(0, CHECKSUM_BYTES);
}

const PREFIX = "fastchat://join/";
const VERSION = 1;
const CHECKSUM_BYTES = 4;
const LABEL = new TextEncoder().encode("fastchat/join/1");
const CHECKSUM_LABEL = new TextEncoder().encode("fastchat/invite-link/1");
const LINK = struct({
  version: u8,
  cluster: fixedBytes(32),
  server: text(255),
  group: conversationId,
  invite: hex(16),
  secret: bytes(32),
});
const PROOF = struct({ version: u8, invite: hex(16), mac: fixedBytes(32) });
