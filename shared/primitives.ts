/**
 * What the pure layers need of cryptography and randomness, handed in so that they stay pure.
 *
 * `shared/crypto` implements it over the platform; simulations pass the same one with a seeded {@linkcode RandomSource}.
 * Everything here is synchronous. RSA is not here: it is slow, so a state machine asks for it by an action and gets the
 * result back as an event (SECURITY H7).
 */

/** Fills bytes with randomness: the operating system's in production, a seeded generator's in simulation. */
export interface RandomSource {
  /** `length` fresh random bytes, owned by the caller. */
  bytes(length: number): Uint8Array;
}

/** One direction's packet key: ChaCha20-Poly1305 (RFC 8439), nonce = 12-byte iv XOR packet number. */
export interface PacketKey {
  /**
   * Seals in place: `packet[0, headerBytes)` is the associated data, `packet[headerBytes, headerBytes + payloadBytes)`
   * becomes ciphertext, and the 16-byte tag follows it.
   *
   * @returns Total packet bytes: headerBytes + payloadBytes + 16.
   */
  seal(packet: Uint8Array, headerBytes: number, payloadBytes: number, packetNumber: number): number;
  /**
   * Opens in place. The plaintext then lies at `packet[headerBytes, headerBytes + n)`.
   *
   * @param packetBytes Bytes of the whole packet with its tag; `packet` may be longer.
   * @returns n, or -1 where authentication fails (the packet's content is then undefined).
   */
  open(packet: Uint8Array, headerBytes: number, packetBytes: number, packetNumber: number): number;
}

/** An X25519 key pair (RFC 7748); the private half never leaves the implementation. */
export interface KeyAgreement {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The 32-byte shared secret, or `undefined` where it is all zero and must be refused (RFC 7748 §6.1). */
  agree(peerPublicKey: Uint8Array): Uint8Array | undefined;
}

export interface Primitives {
  readonly random: RandomSource;
  /** SHA-256 of the parts one after the other: 32 bytes. */
  sha256(...parts: Uint8Array[]): Uint8Array;
  /** HMAC-SHA-256 of the parts one after the other: 32 bytes. */
  hmacSha256(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array;
  /** HKDF-Extract (RFC 5869 §2.2): 32 bytes. */
  hkdfExtract(salt: Uint8Array, inputKey: Uint8Array): Uint8Array;
  /** HKDF-Expand (RFC 5869 §2.3) with `info` = UTF-8 label, at most 255 × 32 bytes. */
  hkdfExpand(pseudoRandomKey: Uint8Array, label: string, length: number): Uint8Array;
  /** A fresh X25519 pair (drawn from `random` where it is seeded). */
  keyAgreement(): KeyAgreement;
  /** @param key 32 bytes, copied. @param iv 12 bytes, copied. */
  packetKey(key: Uint8Array, iv: Uint8Array): PacketKey;
  /** Compares in time that depends on the lengths only. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
  /** A buffer in which {@linkcode PacketKey} works without copying (it lies in libsodium's heap). Never freed: take few. */
  packetBuffer(bytes: number): Uint8Array;
}
