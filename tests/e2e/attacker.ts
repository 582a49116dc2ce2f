/** Somebody with a socket: sends what they like to whom they like, and counts what comes back. */
import type { Address } from "../../shared/net/mod.ts";
import { formatHostPort, openUdp, type UdpSockets } from "../../shared/net/mod.ts";
import type { Prng } from "../sim/prng.ts";

export class Attacker {
  readonly answers: { readonly from: string; readonly bytes: Uint8Array }[] = [];
  readonly #sockets: UdpSockets;
  readonly #bytesTo = new Map<string, number>();
  readonly #bytesFrom = new Map<string, number>();
  readonly #amplified = new Set<string>();

  /** @param host One of this machine's addresses; another than the victims' has none of their address tokens. */
  constructor(host = "127.0.0.1") {
    this.#sockets = openUdp({
      host,
      port: 0,
      onDatagram: (bytes, route) => this.#receive(bytes.slice(), formatHostPort(route.host, route.port)),
    });
  }

  /** Whoever has ever sent more bytes than it got. */
  get amplifiers(): string[] {
    return [...this.#amplified];
  }

  get bytesSent(): number {
    return sum(this.#bytesTo);
  }

  get bytesReceived(): number {
    return sum(this.#bytesFrom);
  }

  send(bytes: Uint8Array, to: Address): Promise<void> {
    const key = formatHostPort(to.host, to.port);
    this.#bytesTo.set(key, (this.#bytesTo.get(key) ?? 0) + bytes.length);
    return new Promise((resolve) => this.#sockets.first.send(bytes, to, resolve));
  }

  /** Answers from an address, forgotten by this. */
  take(from: Address): Uint8Array[] {
    const key = formatHostPort(from.host, from.port);
    const taken = this.answers.filter((answer) => answer.from === key).map(({ bytes }) => bytes);
    this.answers.splice(0, this.answers.length, ...this.answers.filter((answer) => answer.from !== key));
    return taken;
  }

  close(): void {
    void this.#sockets.close();
  }

  #receive(bytes: Uint8Array, from: string): void {
    this.answers.push({ from, bytes });
    const received = (this.#bytesFrom.get(from) ?? 0) + bytes.length;
    this.#bytesFrom.set(from, received);
    if (received > (this.#bytesTo.get(from) ?? 0)) this.#amplified.add(from);
  }
}

/** Something that looks more or less like a datagram of ours: noise, or a real one cut, changed or prolonged. */
export function mangled(real: readonly Uint8Array[], prng: Prng): Uint8Array {
  const kind = prng.integer(0, 4);
  if (kind === 0) return prng.bytes(prng.integer(0, 1500));
  if (kind === 1) {
    const noise = prng.bytes(prng.chance(0.5) ? 1200 : prng.integer(1, 1200));
    noise[0] = TYPES[prng.integer(0, TYPES.length - 1)]!;
    return noise;
  }
  const bytes = real[prng.integer(0, real.length - 1)]!.slice();
  if (kind === 2) return bytes.subarray(0, prng.integer(0, bytes.length - 1));
  if (kind === 3) {
    const longer = new Uint8Array(bytes.length + prng.integer(1, 300));
    longer.set(bytes);
    return longer;
  }
  for (let flips = prng.integer(1, 8); flips > 0 && bytes.length > 0; flips--) {
    // Mostly where the fields are.
    const at = prng.integer(0, (prng.chance(0.7) ? Math.min(bytes.length, 100) : bytes.length) - 1);
    bytes[at] = bytes[at]! ^ prng.integer(1, 255);
  }
  return bytes;
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

const TYPES = [0x01, 0x02, 0x03, 0x04, 0x05, 0x40, 0x41];
