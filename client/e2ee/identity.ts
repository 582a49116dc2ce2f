/**
 * A person's RSA identity (SECURITY P5): it only signs, and only to certify devices and to enrol them. It is what people
 * verify, so it is opened for these moments and forgotten again.
 */
import {
  decryptPem,
  encryptPem,
  fingerprint,
  generateRsaPkcs8,
  importPssPrivate,
  isRsa3072Spki,
  type KeyStatement,
  type KeyStatementOwner,
  makeCertificate,
  makeDropArchive,
  makeEnrolProof,
  makeRecoveryProof,
  type PasswordStatement,
  signPasswordStatement,
  signPolicy,
  signRevocation,
  signRotation,
  spkiFromPkcs8,
} from "../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../shared/protocol/mod.ts";
import type { DevicePublicKeys } from "./device_keys.ts";

export interface CertifyOptions {
  readonly clusterId: Uint8Array;
  readonly user: UserName;
  readonly device: DevicePublicKeys;
  readonly nowMs: number;
  /** Rises with every certificate of the same device. */
  readonly serial?: number;
}

export class Identity {
  /** PKCS#8 DER. Secret: for backups and key files only. */
  readonly pkcs8: Uint8Array;
  /** SPKI DER, 422 bytes. */
  readonly spki: Uint8Array;
  /** SHA-256 of {@linkcode spki}: what people compare and pin. */
  readonly fingerprint: Uint8Array;
  readonly #privateKey: CryptoKey;

  private constructor(pkcs8: Uint8Array, spki: Uint8Array, privateKey: CryptoKey) {
    this.pkcs8 = pkcs8;
    this.spki = spki;
    this.fingerprint = fingerprint(spki);
    this.#privateKey = privateKey;
  }

  /** A new identity. Takes up to a few seconds, off the main thread. */
  static async generate(): Promise<Identity> {
    return await Identity.fromPkcs8(await generateRsaPkcs8());
  }

  /** @throws Where the bytes are not an RSA-3072 private key with exponent 65537. */
  static async fromPkcs8(pkcs8: Uint8Array): Promise<Identity> {
    const privateKey = await importPssPrivate(pkcs8), spki = await spkiFromPkcs8(pkcs8);
    if (!isRsa3072Spki(spki)) throw new RangeError("Identity key has another exponent than 65537");
    return new Identity(new Uint8Array(pkcs8), spki, privateKey);
  }

  /** Reads a key file. @returns `undefined` where the passphrase is wrong. @throws DecodeError where it is no key file. */
  static async fromPem(pem: string, passphrase: string): Promise<Identity | undefined> {
    const pkcs8 = await decryptPem(pem, passphrase);
    if (pkcs8 === undefined) return undefined;
    try {
      return await Identity.fromPkcs8(pkcs8);
    } catch {
      return undefined;
    }
  }

  /** A key file that `openssl pkey` reads. */
  toPem(passphrase: string): Promise<string> {
    return encryptPem({ pkcs8: this.pkcs8, passphrase });
  }

  /** Says that these keys are a device of `user`, who must be this identity's owner. */
  certify({ clusterId, user, device, nowMs, serial = 1 }: CertifyOptions): Promise<Uint8Array> {
    return makeCertificate({
      clusterId,
      user,
      device: device.id,
      leafKey: device.leafKey,
      envelopeKey: device.envelopeKey,
      identityKey: this.spki,
      notBeforeMs: nowMs,
      notAfterMs: nowMs + CERTIFICATE_MS,
      serial,
    }, this.#privateKey);
  }

  /** Proves to the server that whoever enrols this device on this connection holds the identity (SECURITY P6). */
  proveEnrolment({ bind, certificate }: { bind: Uint8Array; certificate: Uint8Array }): Promise<Uint8Array> {
    return makeEnrolProof(this.#privateKey, bind, certificate);
  }

  /** Proves to the server that whoever sets a recovery key on this connection holds the identity (SECURITY P8). */
  proveRecovery(
    { bind, proof, backup }: { bind: Uint8Array; proof: Uint8Array; backup: Uint8Array },
  ): Promise<Uint8Array> {
    return makeRecoveryProof(this.#privateKey, bind, { proof, backup });
  }

  /** Proves to the server that whoever deletes an archive on this connection holds the identity (SECURITY P8). */
  proveDropArchive({ bind, keyId }: { bind: Uint8Array; keyId: Uint8Array }): Promise<Uint8Array> {
    return makeDropArchive(this.#privateKey, bind, keyId);
  }

  /** Says how the password is stretched from now on, for devices that knew it otherwise (SECURITY P1). */
  signPassword(statement: PasswordStatement): Promise<Uint8Array> {
    return signPasswordStatement(this.#privateKey, statement);
  }

  /** Says that a device is this person's no longer (docs/PROTOCOL.md §16). */
  revoke(owner: KeyStatementOwner, device: DeviceId, timeMs: number): Promise<KeyStatement> {
    return signRevocation(this.#privateKey, owner, { device, timeMs });
  }

  /** Says whether new devices count for nothing until another one approves them. */
  setPolicy(
    owner: KeyStatementOwner,
    policy: { approval: boolean; number: number; timeMs: number },
  ): Promise<KeyStatement> {
    return signPolicy(this.#privateKey, owner, policy);
  }

  /** Gives way to another identity. @param certificate By that one, of the device that does this. */
  rotate(owner: KeyStatementOwner, certificate: Uint8Array, timeMs: number): Promise<KeyStatement> {
    return signRotation(this.#privateKey, { ...owner, from: this.fingerprint }, { certificate, timeMs });
  }

  /** Overwrites the private bytes here; the imported key goes with this object. */
  wipe(): void {
    this.pkcs8.fill(0);
  }
}

/** Ten years: a renewal needs the password, and revoking does not wait for the end. */
const CERTIFICATE_MS = 3_650 * 24 * 3600 * 1000;
