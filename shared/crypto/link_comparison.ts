/**
 * Linking a device by six digits that two screens show (docs/PROTOCOL.md §18.1, SECURITY P10). Each of the two devices binds itself to
 * its key by a hash, before it is shown the other one's, and opens that afterwards; the digits come from both keys. Whoever is in
 * between must bind himself to keys of his own before he knows what digits they make, so he has one guess in a million.
 */
import { encode, fixedBytes, struct } from "../codec/mod.ts";
import { assert } from "../assert.ts";
import type { KeyAgreement } from "../primitives.ts";
import { type UserName, userName } from "../protocol/mod.ts";
import { equalBytes, hkdfExpand, hkdfExtract, sha256 } from "./hkdf.ts";
import {
  decodeLinkGrant,
  decodeLinkOffer,
  encodeLinkGrant,
  encodeLinkOffer,
  type LinkGrant,
  type LinkOffer,
  read,
} from "./linking.ts";
import { aeadOpen, aeadSeal } from "./sealed_bytes.ts";

/** What the device that lets the other one in says of itself. */
export interface LinkGranter {
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  /** X25519, 32 bytes: for this one linking. */
  readonly ephemeral: Uint8Array;
}

/** Which of the two: the one that wants in, or the one that lets it in. */
export type LinkSide = "new" | "old";

/** One thing for each side. */
export type OfBoth<T> = Readonly<Record<LinkSide, T>>;

/** What both know of one another once both have opened, and agree on where the digits do. */
export interface LinkComparison {
  /** Six: what people compare. */
  readonly digits: string;
  readonly offer: LinkOffer;
  readonly granter: LinkGranter;
  /** What a person has said on one of the two, 32 bytes: the other one knows that it came from there. */
  verdict(side: LinkSide, agree: boolean): Uint8Array;
  /** What the old device hands over: only the new one can open it. To be called once. */
  seal(grant: LinkGrant): Uint8Array;
  /** `undefined` for what the other device did not seal. */
  open(sealed: Uint8Array): LinkGrant | undefined;
}

/** What the new device opens: all that it is to be certified for. */
export function newLinkOpening(offer: LinkOffer): Uint8Array {
  return encodeLinkOffer(offer);
}

/** What the old device opens: 48 bytes. */
export function oldLinkOpening(granter: LinkGranter): Uint8Array {
  return encode(GRANTER, granter);
}

/** 32 bytes: tells nothing of the opening, whose key is random, and holds its maker to it. */
export function linkCommitment(side: LinkSide, opening: Uint8Array): Uint8Array {
  return sha256(label(`commitment ${side}`), opening);
}

/** Where a letter lies at the server: 32 bytes. @param commitments The old device's, then, once it is known, the new one's. */
export function linkLetterPlace(what: string, ...commitments: readonly Uint8Array[]): Uint8Array {
  return sha256(label(`place ${what} `), ...commitments);
}

/**
 * Judges what was opened, on either device.
 *
 * @param options.side Which of the two this device is.
 * @param options.user Whose devices they are, as this device knows it: not what the other one says.
 * @param options.ephemeral One's own pair, whose public half was opened by this side.
 * @returns `undefined` where an opening is not what its maker was bound to, or is none.
 */
export function compareLink(options: {
  readonly side: LinkSide;
  readonly user: UserName;
  readonly ephemeral: KeyAgreement;
  readonly commitments: OfBoth<Uint8Array>;
  readonly openings: OfBoth<Uint8Array>;
}): LinkComparison | undefined {
  const { side, user, ephemeral, commitments, openings } = options;
  for (const each of ["new", "old"] as const) {
    if (!equalBytes(linkCommitment(each, openings[each]), commitments[each])) return undefined;
  }
  const offer = decodeLinkOffer(openings.new), granter = read(GRANTER, openings.old);
  if (offer === undefined || granter === undefined) return undefined;
  const [own, theirs] = side === "new" ? [offer, granter] : [granter, offer];
  if (!equalBytes(ephemeral.publicKey, own.ephemeral)) return undefined;
  const shared = ephemeral.agree(theirs.ephemeral);
  if (shared === undefined) return undefined;
  const transcript = sha256(label("transcript "), encode(userName, user), openings.old, openings.new);
  const secret = hkdfExtract(transcript, shared);
  const derive = (what: string, length: number) => hkdfExpand(secret, label(what), length);
  const sealing = { key: derive("key", 32), nonce: derive("nonce", 12), aad: label("grant") };
  let isSealed = false;
  return {
    digits: sixDigits(derive("digits", 8)),
    offer,
    granter,
    verdict: (side, agree) => derive(`${side} ${agree ? "yes" : "no"}`, 32),
    seal(grant) {
      assert(!isSealed, "A comparison seals one grant: its nonce is good for one");
      isSealed = true;
      return aeadSeal({ ...sealing, plaintext: encodeLinkGrant(grant) });
    },
    open(sealed) {
      const plain = aeadOpen({ ...sealing, sealed });
      return plain && decodeLinkGrant(plain);
    },
  };
}

/** @param bytes 8: so many that no digits are likelier than others by more than one in 10^13. */
function sixDigits(bytes: Uint8Array): string {
  return (BigInt(`0x${bytes.toHex()}`) % 1_000_000n).toString().padStart(6, "0");
}

function label(what: string): Uint8Array {
  return TEXT_ENCODER.encode(`fastchat/link/2 ${what}`);
}

const TEXT_ENCODER = new TextEncoder();
const GRANTER = struct({ clusterId: fixedBytes(16), ephemeral: fixedBytes(32) });
