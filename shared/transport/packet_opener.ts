/** From a datagram to a payload, or not: replays, forgeries, stateless resets (docs/PROTOCOL.md §5.1, §5.4). */
import { FAILED_OPENS_MAX, TAG_BYTES } from "../limits.ts";
import { isProtected, readPacketNumber } from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import type { PacketKeys } from "./key_update.ts";
import { ReplayWindow } from "./replay_window.ts";

/** Why there is no payload. */
export enum Refusal {
  /** Not for us, seen before, or forged: it closes nothing and earns no reply. */
  Dropped = -1,
  /** The peer no longer knows this connection. */
  Reset = -2,
  /** So many failed to open that guessing a tag comes into reach (SECURITY H2). */
  TooMany = -3,
}

export interface PacketOpenerParts {
  readonly primitives: Primitives;
  readonly keys: PacketKeys;
  readonly resetToken?: Uint8Array | undefined;
  readonly failedOpensMax?: number | undefined;
}

export class PacketOpener {
  readonly #primitives: Primitives;
  readonly #keys: PacketKeys;
  readonly #resetToken: Uint8Array | undefined;
  readonly #failedOpensMax: number;
  readonly #replays = new ReplayWindow();
  #packetNumber = -1;
  #duplicates = 0;
  #failedOpens = 0;

  constructor(parts: PacketOpenerParts) {
    this.#primitives = parts.primitives;
    this.#keys = parts.keys;
    this.#resetToken = parts.resetToken;
    this.#failedOpensMax = parts.failedOpensMax ?? FAILED_OPENS_MAX;
  }

  /** Of the packet that was opened last. */
  get packetNumber(): number {
    return this.#packetNumber;
  }

  /** Packets that came twice. */
  get duplicates(): number {
    return this.#duplicates;
  }

  get failedOpens(): number {
    return this.#failedOpens;
  }

  /**
   * Opens a packet in place.
   *
   * @param keepUs How long the previous key is kept should this packet bring a new one.
   * @returns Bytes of the payload behind the header, or a {@linkcode Refusal}.
   */
  open(packet: Uint8Array, packetBytes: number, nowUs: number, keepUs: number): number {
    if (!isProtected(packet, packetBytes)) return Refusal.Dropped;
    if (this.#resetToken !== undefined) {
      for (let i = 0; i < TAG_BYTES; i++) TAIL[i] = packet[packetBytes - TAG_BYTES + i]!;
    }
    const packetNumber = readPacketNumber(packet);
    if (this.#replays.has(packetNumber)) {
      this.#duplicates++;
      return this.#isReset() ? Refusal.Reset : Refusal.Dropped;
    }
    const payloadBytes = this.#keys.open(packet, packetBytes, packetNumber, nowUs, keepUs);
    if (payloadBytes < 0) {
      this.#failedOpens++;
      if (this.#isReset()) return Refusal.Reset;
      return this.#failedOpens >= this.#failedOpensMax ? Refusal.TooMany : Refusal.Dropped;
    }
    this.#replays.add(packetNumber);
    this.#packetNumber = packetNumber;
    return payloadBytes;
  }

  /** A stateless reset looks like a packet that does not open. */
  #isReset(): boolean {
    return this.#resetToken !== undefined && this.#primitives.equal(TAIL, this.#resetToken);
  }
}

/** A packet is opened in place: what it ended with is kept for a look at it afterwards. */
const TAIL = new Uint8Array(TAG_BYTES);
