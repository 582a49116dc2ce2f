/** A device's own keys (SECURITY P5): Ed25519 to sign what it sends, RSA-3072 for what is wrapped for it. They never leave it. */
import {
  Ed25519KeyPair,
  generateRsaPkcs8,
  importOaepPrivate,
  isRsa3072Spki,
  makeDeviceProof,
  pkcs8FromPem,
  pkcs8ToPem,
  spkiFromPkcs8,
  systemRandom,
} from "../../shared/crypto/mod.ts";
import { DecodeError } from "../../shared/codec/mod.ts";
import { type DeviceId, parseId } from "../../shared/protocol/mod.ts";

/** What a certificate says of a device. */
export interface DevicePublicKeys {
  readonly id: DeviceId;
  /** Ed25519, 32 bytes. */
  readonly leafKey: Uint8Array;
  /** RSA-3072 SPKI DER. */
  readonly envelopeKey: Uint8Array;
}

export class DeviceKeys implements DevicePublicKeys {
  readonly id: DeviceId;
  readonly leaf: Ed25519KeyPair;
  readonly envelopeKey: Uint8Array;
  readonly envelopePrivate: CryptoKey;
  readonly #envelopePkcs8: Uint8Array;

  private constructor(
    keys: Pick<DeviceKeys, "id" | "leaf" | "envelopeKey" | "envelopePrivate"> & { envelopePkcs8: Uint8Array },
  ) {
    this.id = keys.id;
    this.leaf = keys.leaf;
    this.envelopeKey = keys.envelopeKey;
    this.envelopePrivate = keys.envelopePrivate;
    this.#envelopePkcs8 = keys.envelopePkcs8;
  }

  /** Keys of a new device. Takes up to a few seconds: start it beside `Identity.generate()`. */
  static async generate(): Promise<DeviceKeys> {
    const id = systemRandom.bytes(16).toHex() as DeviceId;
    return await DeviceKeys.#from(id, Ed25519KeyPair.generate(), await generateRsaPkcs8());
  }

  /** Reads what {@linkcode toPem} wrote. @throws DecodeError where it is anything else. */
  static async fromPem(pem: string): Promise<DeviceKeys> {
    const id = parseId<DeviceId>(/^FastChat device ([0-9a-f]{32})$/m.exec(pem)?.[1] ?? "");
    const [leafPkcs8, envelopePkcs8, ...more] = pkcs8FromPem(pem);
    if (id === undefined || leafPkcs8 === undefined || envelopePkcs8 === undefined || more.length > 0) {
      throw new DecodeError("Cannot read device keys: the file needs a device id and two private keys");
    }
    try {
      return await DeviceKeys.#from(id, Ed25519KeyPair.fromPkcs8(leafPkcs8), envelopePkcs8);
    } catch (cause) {
      throw new DecodeError("Cannot read device keys: they are not an Ed25519 and an RSA-3072 key", { cause });
    }
  }

  static async #from(id: DeviceId, leaf: Ed25519KeyPair, envelopePkcs8: Uint8Array): Promise<DeviceKeys> {
    const envelopePrivate = await importOaepPrivate(envelopePkcs8), envelopeKey = await spkiFromPkcs8(envelopePkcs8);
    if (!isRsa3072Spki(envelopeKey)) throw new RangeError("Envelope key has another exponent than 65537");
    return new DeviceKeys({ id, leaf, envelopeKey, envelopePrivate, envelopePkcs8 });
  }

  get leafKey(): Uint8Array {
    return this.leaf.publicKey;
  }

  /** Both private keys in clear, for a file that only its owner can read. */
  toPem(): string {
    return `FastChat device ${this.id}\n${pkcs8ToPem(this.leaf.pkcs8)}${pkcs8ToPem(this.#envelopePkcs8)}`;
  }

  /** Proves to the server that this device is at the other end of this connection (SECURITY P6): 64 bytes. */
  prove(bind: Uint8Array): Uint8Array {
    return makeDeviceProof(this.leaf, bind);
  }
}
