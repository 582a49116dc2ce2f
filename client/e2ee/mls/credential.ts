/**
 * Who a leaf is: its credential is a *basic* one whose identity bytes are the device certificate (SECURITY M3, M8).
 *
 * The judgement is pure and time-less, so that every member comes to the same one whenever it reads a commit. Expiry,
 * revocation and pins are for others to look at: see `policy.ts` and the client.
 */
import type { AuthenticationService, Credential, LeafNode } from "ts-mls";
import { DecodeError } from "../../../shared/codec/mod.ts";
import { decodeCertificate, equalBytes, fingerprint } from "../../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { CertificateCache } from "../certificate_cache.ts";

/** A device as its certificate names it. */
export interface Holder {
  readonly user: UserName;
  readonly device: DeviceId;
  /** Fingerprint of the identity that certified it: 32 bytes as hex. Whether it is the person's, only a pin can say. */
  readonly identity: string;
  /** Ed25519 key, 32 bytes. */
  readonly leafKey: Uint8Array;
  readonly serial: number;
  readonly notAfterMs: number;
}

/** The credential that carries a certificate. */
export function makeCredential(certificate: Uint8Array): Credential {
  return { credentialType: "basic", identity: certificate };
}

/** Reads a credential without believing it; `undefined` where it is not one of ours. */
export function readCredential(credential: Credential): Holder | undefined {
  if (credential.credentialType !== "basic" || !("identity" in credential)) return undefined;
  try {
    const { user, device, identityKey, leafKey, serial, notAfterMs } = decodeCertificate(credential.identity);
    return { user, device, identity: fingerprint(identityKey).toHex(), leafKey, serial, notAfterMs };
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/**
 * The holder of a leaf that was checked when it came into the tree. Leaves are never changed, so each is read once.
 *
 * @throws TypeError where it is none of ours.
 */
export function holderOf(leaf: LeafNode): Holder {
  let holder = holders.get(leaf);
  if (holder === undefined) {
    holder = readCredential(leaf.credential);
    if (holder === undefined) throw new TypeError("Leaf has no device certificate");
    holders.set(leaf, holder);
  }
  return holder;
}

const holders = new WeakMap<LeafNode, Holder>();

/** Judges credentials by signature, for the library and for ourselves. */
export class Credentials implements AuthenticationService {
  readonly #certificates: CertificateCache;

  constructor(certificates: CertificateCache) {
    this.#certificates = certificates;
  }

  /** Well-formed, of this cluster, signed by the identity key inside, and about this very signature key. */
  async validateCredential(credential: Credential, signatureKey: Uint8Array): Promise<boolean> {
    return await this.verify(credential, signatureKey) !== undefined;
  }

  /** The same, with the holder; `undefined` where the credential is refused. */
  async verify(credential: Credential, signatureKey: Uint8Array): Promise<Holder | undefined> {
    const holder = readCredential(credential);
    if (holder === undefined || !equalBytes(holder.leafKey, signatureKey)) return undefined;
    const verdict = await this.#certificates.verify((credential as { identity: Uint8Array }).identity);
    return verdict.ok ? holder : undefined;
  }
}
