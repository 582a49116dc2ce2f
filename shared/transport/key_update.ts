/** When packet keys change, and how long old ones live (docs/PROTOCOL.md §5.2, RFC 9001 §6). */
import { assert } from "../assert.ts";
import { kept } from "../kept.ts";
import { KEY_AGE_US_MAX, PACKETS_PER_KEY_MAX, PROTECTED_HEADER_BYTES } from "../limits.ts";
import { deriveNextSecret, derivePacketKey, readKeyPhase, writeProtectedHeader } from "../packet/mod.ts";
import type { PacketKey, Primitives } from "../primitives.ts";

export interface PacketKeysOptions {
  readonly primitives: Primitives;
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
  /** 32 bytes each: secret_0 of the two directions; copied. */
  readonly sendSecret: Uint8Array;
  readonly receiveSecret: Uint8Array;
  readonly nowUs: number;
  /** When to update by ourselves; the defaults are the limits, tests take less. */
  readonly packetsPerKeyMax?: number | undefined;
  readonly keyAgeUsMax?: number | undefined;
}

export class PacketKeys {
  readonly #primitives: Primitives;
  readonly #connectionId: Uint8Array;
  readonly #packetsPerKeyMax: number;
  readonly #keyAgeUsMax: number;

  readonly #sendSecret: Uint8Array;
  #sendKey: PacketKey;
  #sendPhase = 0;
  #sendSinceUs: number;
  #sentPackets = 0;
  /** First packet number under the sending key; -1 until one was sealed. */
  #sendFirst = -1;
  /** The peer acknowledged a packet under the sending key. */
  #sendConfirmed = false;

  readonly #receiveSecret: Uint8Array;
  #receiveKey: PacketKey;
  #receivePhase = 0;
  /** The receiving key is not the first one: there was a phase before it. */
  #updatedReceive = false;
  /** Lowest packet number opened under the receiving key. */
  #receiveFirst = Infinity;
  /** Made when first needed, once: forged packets of the other phase must not cost a derivation each. */
  #nextSecret: Uint8Array | undefined;
  #nextKey: PacketKey | undefined;
  #previousKey: PacketKey | undefined;
  #previousUntilUs = 0;
  #updates = 0;

  constructor(options: PacketKeysOptions) {
    this.#primitives = options.primitives;
    this.#connectionId = options.connectionId;
    this.#packetsPerKeyMax = options.packetsPerKeyMax ?? PACKETS_PER_KEY_MAX;
    this.#keyAgeUsMax = options.keyAgeUsMax ?? KEY_AGE_US_MAX;
    this.#sendSecret = kept(options.sendSecret);
    this.#sendKey = derivePacketKey(options.primitives, options.sendSecret);
    this.#sendSinceUs = options.nowUs;
    this.#receiveSecret = kept(options.receiveSecret);
    this.#receiveKey = derivePacketKey(options.primitives, options.receiveSecret);
  }

  /** How often the sending keys changed. */
  get updates(): number {
    return this.#updates;
  }

  /** Seals the payload behind the header, in place. @returns Bytes of the whole packet. */
  seal(packet: Uint8Array, payloadBytes: number, packetNumber: number, nowUs: number): number {
    if (this.#sentPackets >= this.#packetsPerKeyMax || nowUs - this.#sendSinceUs >= this.#keyAgeUsMax) {
      this.update(nowUs);
    }
    if (this.#sendFirst < 0) this.#sendFirst = packetNumber;
    this.#sentPackets++;
    writeProtectedHeader(packet, this.#sendPhase, this.#connectionId, packetNumber);
    return this.#sendKey.seal(packet, PROTECTED_HEADER_BYTES, payloadBytes, packetNumber);
  }

  /**
   * Opens a packet in place with the key of its phase: exactly one is tried.
   *
   * @param keepUs How long the previous key is kept after a change: 3 PTO.
   * @returns Bytes of the payload behind the header, or -1.
   */
  open(packet: Uint8Array, packetBytes: number, packetNumber: number, nowUs: number, keepUs: number): number {
    if (readKeyPhase(packet) === this.#receivePhase) {
      const bytes = this.#receiveKey.open(packet, PROTECTED_HEADER_BYTES, packetBytes, packetNumber);
      if (bytes >= 0 && packetNumber < this.#receiveFirst) this.#receiveFirst = packetNumber;
      return bytes;
    }
    // A flipped phase is either a late packet under the previous key or the first under the next (RFC 9001 §6.5).
    if (packetNumber < this.#receiveFirst && this.#updatedReceive) {
      if (this.#previousKey === undefined || nowUs > this.#previousUntilUs) return -1;
      return this.#previousKey.open(packet, PROTECTED_HEADER_BYTES, packetBytes, packetNumber);
    }
    const next = this.#deriveNext();
    const bytes = next.open(packet, PROTECTED_HEADER_BYTES, packetBytes, packetNumber);
    if (bytes >= 0) this.#adoptNext(packetNumber, nowUs, keepUs);
    return bytes;
  }

  /**
   * Changes the sending keys, if the peer has confirmed the current ones and follows them (RFC 9001 §6.1).
   *
   * @returns Whether they changed.
   */
  update(nowUs: number): boolean {
    if (!this.#sendConfirmed || this.#sendPhase !== this.#receivePhase) return false;
    this.#rotateSend(nowUs);
    return true;
  }

  /** The peer acknowledged packets up to `largest`. */
  onAcked(largest: number): void {
    if (!this.#sendConfirmed && this.#sendFirst >= 0 && largest >= this.#sendFirst) this.#sendConfirmed = true;
  }

  /** Lets an old key go when its time is over. */
  expire(nowUs: number): void {
    if (nowUs > this.#previousUntilUs) this.#previousKey = undefined;
  }

  #rotateSend(nowUs: number): void {
    this.#sendSecret.set(deriveNextSecret(this.#primitives, this.#sendSecret));
    this.#sendKey = derivePacketKey(this.#primitives, this.#sendSecret);
    this.#sendPhase ^= 1;
    this.#sendSinceUs = nowUs;
    this.#sentPackets = 0;
    this.#sendFirst = -1;
    this.#sendConfirmed = false;
    this.#updates++;
  }

  #deriveNext(): PacketKey {
    this.#nextSecret ??= deriveNextSecret(this.#primitives, this.#receiveSecret);
    return this.#nextKey ??= derivePacketKey(this.#primitives, this.#nextSecret);
  }

  /** The peer changed its keys: so do we, unless this is its answer to our change. */
  #adoptNext(packetNumber: number, nowUs: number, keepUs: number): void {
    assert(this.#nextKey !== undefined && this.#nextSecret !== undefined, "The next key opened a packet");
    this.#previousKey = this.#receiveKey;
    this.#previousUntilUs = nowUs + keepUs;
    this.#receiveKey = this.#nextKey;
    this.#receiveSecret.set(this.#nextSecret);
    this.#receivePhase ^= 1;
    this.#receiveFirst = packetNumber;
    this.#updatedReceive = true;
    this.#nextKey = this.#nextSecret = undefined;
    if (this.#sendPhase !== this.#receivePhase) this.#rotateSend(nowUs);
  }
}
