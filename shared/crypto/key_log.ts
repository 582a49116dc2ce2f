/**
 * The key log's statements and its chain (docs/PROTOCOL.md §16, SECURITY M13): whatever changes whose keys are whose in a
 * cluster is an entry that the user's own keys have signed, and each entry is hashed into the head after it. A server can keep
 * the newest entries back; it cannot make one up, and it cannot show two people two logs without being found out.
 */
import { bool, bytes, decode, encode, fixedBytes, type Infer, struct, text, u48, union, varint } from "../codec/mod.ts";
import { CERTIFICATE_BYTES_MAX, DEVICE_NAME_BYTES_MAX } from "../limits.ts";
import { type DeviceId, deviceId, type UserName, userName } from "../protocol/mod.ts";
import { type Ed25519KeyPair, ed25519Verify } from "./ed25519.ts";
import { sha256 } from "./hkdf.ts";
import { importPssPublic, pssSign, pssVerify } from "./rsa.ts";

const identitySignature = bytes(512);

/** What an entry says of its user. Tags are forever. */
export const keyStatement = union({
  /** A device: its certificate, which the identity in it has signed. The first one of a user says which identity that is. */
  device: [1, struct({ certificate: bytes(CERTIFICATE_BYTES_MAX) })],
  /** A device stands in for one that was certified by password alone (SECURITY P9). By its leaf key. */
  approve: [
    2,
    struct({
      device: deviceId,
      /** SHA-256 of the certificate that is approved. */
      certificate: fixedBytes(32),
      by: deviceId,
      timeMs: u48,
      signature: fixedBytes(64),
    }),
  ],
  /** A device is this user's no longer, for good. By the identity. */
  revoke: [3, struct({ device: deviceId, timeMs: u48, signature: identitySignature })],
  /** Whether devices certified by password alone count for nothing until another approves them. By the identity. */
  policy: [
    4,
    struct({
      approval: bool,
      /** Rises with each of them. */ number: varint,
      timeMs: u48,
      signature: identitySignature,
    }),
  ],
  /** A new identity in place of the old one, by the old one. The certificate, by the new one, is of the device that made it. */
  rotate: [5, struct({ certificate: bytes(CERTIFICATE_BYTES_MAX), timeMs: u48, signature: identitySignature })],
});
export type KeyStatement = Infer<typeof keyStatement>;
export type KeyStatementOf<K extends KeyStatement["type"]> = Extract<KeyStatement, { type: K }>;

/** The head of a log without entries: 32 zero bytes. */
export const EMPTY_KEY_LOG: Uint8Array = new Uint8Array(32);

export function encodeKeyStatement(statement: KeyStatement): Uint8Array {
  return encode(keyStatement, statement);
}

/** @throws DecodeError */
export function decodeKeyStatement(entry: Uint8Array): KeyStatement {
  return decode(keyStatement, entry);
}

/** The entry that says of a certificate that it is there. */
export function deviceEntry(certificate: Uint8Array): Uint8Array {
  return encodeKeyStatement({ type: "device", certificate });
}

/**
 * The head after one more entry: 32 bytes.
 *
 * @param entryHash SHA-256 of the entry. Its text is not needed, so whoever follows a few users can check the whole chain.
 */
export function nextKeyLogHead(head: Uint8Array, user: UserName, entryHash: Uint8Array): Uint8Array {
  const name = TEXT_ENCODER.encode(user);
  return sha256(CHAIN_LABEL, head, new Uint8Array([name.length]), name, entryHash);
}

/** Who a statement is about, and where. */
export interface KeyStatementOwner {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly user: UserName;
}

export function signApproval(
  leaf: Ed25519KeyPair,
  owner: KeyStatementOwner,
  approval: Omit<KeyStatementOf<"approve">, "type" | "signature">,
): KeyStatementOf<"approve"> {
  return { type: "approve", ...approval, signature: leaf.sign(approvalBytes(owner, approval)) };
}

export async function signRevocation(
  identityPrivate: CryptoKey,
  owner: KeyStatementOwner,
  revocation: Omit<KeyStatementOf<"revoke">, "type" | "signature">,
): Promise<KeyStatementOf<"revoke">> {
  const signature = await pssSign(identityPrivate, revocationBytes(owner, revocation));
  return { type: "revoke", ...revocation, signature };
}

export async function signPolicy(
  identityPrivate: CryptoKey,
  owner: KeyStatementOwner,
  policy: Omit<KeyStatementOf<"policy">, "type" | "signature">,
): Promise<KeyStatementOf<"policy">> {
  return { type: "policy", ...policy, signature: await pssSign(identityPrivate, policyBytes(owner, policy)) };
}

/**
 * @param oldPrivate The identity that is given up.
 * @param from Its fingerprint, 32 bytes.
 */
export async function signRotation(
  oldPrivate: CryptoKey,
  owner: KeyStatementOwner & { readonly from: Uint8Array },
  rotation: Omit<KeyStatementOf<"rotate">, "type" | "signature">,
): Promise<KeyStatementOf<"rotate">> {
  return { type: "rotate", ...rotation, signature: await pssSign(oldPrivate, rotationBytes(owner, rotation)) };
}

/** @param leafKey Of the device that approves, from its verified certificate. */
export function verifyApproval(
  leafKey: Uint8Array,
  owner: KeyStatementOwner,
  said: KeyStatementOf<"approve">,
): boolean {
  return ed25519Verify(leafKey, said.signature, approvalBytes(owner, said));
}

/** Whether an identity has signed a statement. @param identityKey SPKI DER, from a verified certificate. */
export async function verifyByIdentity(
  identityKey: Uint8Array,
  owner: KeyStatementOwner,
  said: KeyStatementOf<"revoke" | "policy" | "rotate">,
): Promise<boolean> {
  const signed = said.type === "revoke"
    ? revocationBytes(owner, said)
    : said.type === "policy"
    ? policyBytes(owner, said)
    : rotationBytes({ ...owner, from: sha256(identityKey) }, said);
  return await pssVerify(await importPssPublic(identityKey), said.signature, signed);
}

/** What a person calls a device, by that device: for the eyes of their other ones. */
export interface DeviceNameStatement extends KeyStatementOwner {
  readonly device: DeviceId;
  readonly name: string;
}

export function signDeviceName(leaf: Ed25519KeyPair, named: DeviceNameStatement): Uint8Array {
  return leaf.sign(deviceNameBytes(named));
}

export function verifyDeviceName(leafKey: Uint8Array, named: DeviceNameStatement, signature: Uint8Array): boolean {
  return ed25519Verify(leafKey, signature, deviceNameBytes(named));
}

function deviceNameBytes(named: DeviceNameStatement): Uint8Array {
  return encode(NAMED, { label: "fastchat/device-name/1", ...named });
}

function approvalBytes(
  owner: KeyStatementOwner,
  said: Omit<KeyStatementOf<"approve">, "type" | "signature">,
): Uint8Array {
  return encode(APPROVAL, { label: "fastchat/approve/1", ...owned(owner), ...said });
}

function revocationBytes(owner: KeyStatementOwner, said: { device: DeviceId; timeMs: number }): Uint8Array {
  return encode(REVOCATION, { label: "fastchat/revoke/1", ...owned(owner), ...said });
}

function policyBytes(owner: KeyStatementOwner, said: Omit<KeyStatementOf<"policy">, "type" | "signature">): Uint8Array {
  return encode(POLICY, { label: "fastchat/policy/1", ...owned(owner), ...said });
}

function rotationBytes(
  owner: KeyStatementOwner & { readonly from: Uint8Array },
  { certificate, timeMs }: Omit<KeyStatementOf<"rotate">, "type" | "signature">,
): Uint8Array {
  return encode(ROTATION, {
    label: "fastchat/rotate/1",
    ...owned(owner),
    from: owner.from,
    certificate: sha256(certificate),
    timeMs,
  });
}

function owned({ clusterId, user }: KeyStatementOwner): KeyStatementOwner {
  return { clusterId, user };
}

const TEXT_ENCODER = new TextEncoder();
const CHAIN_LABEL = TEXT_ENCODER.encode("fastchat/keylog/1");
const begin = { label: text(32), clusterId: fixedBytes(16), user: userName };
const APPROVAL = struct({ ...begin, device: deviceId, certificate: fixedBytes(32), by: deviceId, timeMs: u48 });
const NAMED = struct({ ...begin, device: deviceId, name: text(DEVICE_NAME_BYTES_MAX) });
const REVOCATION = struct({ ...begin, device: deviceId, timeMs: u48 });
const POLICY = struct({ ...begin, approval: bool, number: varint, timeMs: u48 });
const ROTATION = struct({ ...begin, from: fixedBytes(32), certificate: fixedBytes(32), timeMs: u48 });
