/**
 * What a device leaves for its user's other devices, so that they come in while nobody is there (docs/PROTOCOL.md §15.5): a
 * GroupInfo sealed to the account key. It is good for one epoch of one conversation.
 */
import { bytes, decode, DecodeError, encode, fixedBytes, struct, text, u8, varint } from "../../../shared/codec/mod.ts";
import { aeadOpen, aeadSeal, hkdfExpand, hkdfExtract, x25519, x25519FromPrivate } from "../../../shared/crypto/mod.ts";
import { WELCOME_BYTES_MAX } from "../../../shared/limits.ts";
import type { RandomSource } from "../../../shared/primitives.ts";
import {
  type ConversationId,
  conversationId,
  type DeviceId,
  deviceId,
  type UserName,
} from "../../../shared/protocol/mod.ts";

/** Where it belongs: another place's does not open. */
export interface Place {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly user: UserName;
  readonly conversation: ConversationId;
  /** Row of the commit that made the epoch. */
  readonly commit: number;
}

/** @param by The device that leaves it. `undefined` where the key is none. */
export function sealOwnInvitation(
  place: Place,
  { by, publicKey, groupInfo, random }: {
    readonly by: DeviceId;
    /** Of the account, 32 bytes. */
    readonly publicKey: Uint8Array;
    readonly groupInfo: Uint8Array;
    readonly random: RandomSource;
  },
): Uint8Array | undefined {
  const pair = x25519(random), shared = pair.agree(publicKey);
  if (shared === undefined) return undefined;
  const keys = keysOf(shared, pair.publicKey, publicKey), aad = placeBytes(place, by);
  const sealed = aeadSeal({ ...keys, aad, plaintext: groupInfo });
  return encode(BODY, { version: VERSION, by, ephemeral: pair.publicKey, sealed });
}

/** Whether a body is one of these, good or not. */
export function isOwnInvitation(body: Uint8Array): boolean {
  return body[0] === VERSION;
}

/** `undefined` where it is not what was sealed for that place. Who sealed it, only the group itself can prove. */
export function openOwnInvitation(
  place: Place,
  privateKey: Uint8Array,
  body: Uint8Array,
): { readonly by: DeviceId; readonly groupInfo: Uint8Array } | undefined {
  const read = readBody(body);
  if (read === undefined) return undefined;
  const { by, ephemeral, sealed } = read, pair = x25519FromPrivate(privateKey), shared = pair.agree(ephemeral);
  if (shared === undefined) return undefined;
  const keys = keysOf(shared, ephemeral, pair.publicKey);
  const groupInfo = aeadOpen({ ...keys, aad: placeBytes(place, by), sealed });
  return groupInfo && { by, groupInfo };
}

/** Fresh for each: its own ephemeral key is part of it. */
function keysOf(shared: Uint8Array, ephemeral: Uint8Array, publicKey: Uint8Array) {
  const salt = new Uint8Array(64);
  salt.set(ephemeral);
  salt.set(publicKey, 32);
  const secret = hkdfExtract(salt, shared);
  return { key: hkdfExpand(secret, `${LABEL} key`, 32), nonce: hkdfExpand(secret, `${LABEL} nonce`, 12) };
}

function placeBytes({ clusterId, user, conversation, commit }: Place, by: DeviceId): Uint8Array {
  return encode(PLACE, { label: LABEL, clusterId, user, conversation, commit, by });
}

function readBody(body: Uint8Array) {
  try {
    const read = decode(BODY, body);
    return read.version === VERSION ? read : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** A letter is version 1. */
const VERSION = 2;
const LABEL = "fastchat/own-invitation/1";
const BODY = struct({ version: u8, by: deviceId, ephemeral: fixedBytes(32), sealed: bytes(WELCOME_BYTES_MAX) });
const PLACE = struct({
  label: text(64),
  clusterId: fixedBytes(16),
  user: text(64),
  conversation: conversationId,
  commit: varint,
  by: deviceId,
});
