/**
 * A bad link for real sockets, in a process of its own: the kernel's TCP and our UDP pass it alike.
 *
 * Runs in a network namespace. There, a server that listens on {@linkcode SERVER} is reached by clients at
 * {@linkcode SERVER_FROM_AFAR}, and sees them at an address of their own: what is sent to either of the two far addresses is
 * routed to a TUN device, read here, held up, lost or doubled, and written back with near addresses. Loopback stays perfect.
 *
 * Standard input takes one {@linkcode Faults} in JSON a line (for both directions), or `null` to change nothing; the answer is
 * a line with the counters of both directions since the last. Everything is one synchronous loop, so that a packet leaves
 * within some 0.1 ms of its time.
 */
import { Prng } from "../../tests/sim/prng.ts";
import { CLIENTS, CLIENTS_FROM_AFAR, SERVER, SERVER_FROM_AFAR } from "./addresses.ts";
import { type Faults, Link, type LinkCounters } from "./link.ts";
import { Tun } from "./tun.ts";

export interface PathCounters {
  readonly up: LinkCounters;
  readonly down: LinkCounters;
}

interface Pending {
  readonly dueMs: number;
  readonly packet: Uint8Array<ArrayBuffer>;
}

class Emulator {
  readonly #tun: Tun;
  readonly #up: Link;
  readonly #down: Link;
  /** Of each direction, sorted by due time. */
  readonly #pending = new Map<Link, Pending[]>();

  constructor(tun: Tun, seed: number) {
    this.#tun = tun;
    this.#up = new Link(new Prng(seed));
    this.#down = new Link(new Prng(seed + 1));
    for (const link of [this.#up, this.#down]) this.#pending.set(link, []);
  }

  /** Carries packets until the input has something. */
  run(): void {
    for (;;) {
      this.#release();
      const { packet, input } = this.#tun.wait(this.#nextDueMs() - performance.now());
      if (input) return;
      if (packet) this.#takeAll();
    }
  }

  set faults(faults: Faults) {
    this.#up.faults = this.#down.faults = faults;
  }

  /** Counters since the last call. */
  takeCounters(): PathCounters {
    const counters = { up: { ...this.#up.counters }, down: { ...this.#down.counters } };
    for (const link of [this.#up, this.#down]) {
      for (const name of Object.keys(link.counters) as (keyof LinkCounters)[]) link.counters[name] = 0;
    }
    return counters;
  }

  #takeAll(): void {
    for (let count = 0; count < READS_MAX; count++) {
      const packet = this.#tun.read();
      if (packet === undefined) return;
      if (packet[0]! >>> 4 !== 4) continue;
      const isUp = packet[DESTINATION + 2] === SERVER_NET;
      this.#carry(packet, isUp ? this.#up : this.#down);
    }
  }

  #carry(packet: Uint8Array, link: Link): void {
    const pending = this.#pending.get(link)!;
    for (const dueMs of link.carry(packet.length, performance.now())) {
      const copy = packet.slice();
      // 10.99.x.1 to 10.99.y.2 becomes 10.99.x.2 to 10.99.y.1: the sums in all checksums stay the same.
      copy[SOURCE + 3] = 2;
      copy[DESTINATION + 3] = 1;
      let at = pending.length;
      while (at > 0 && pending[at - 1]!.dueMs > dueMs) at--;
      pending.splice(at, 0, { dueMs, packet: copy });
    }
  }

  #release(): void {
    const nowMs = performance.now();
    for (const pending of this.#pending.values()) {
      let count = 0;
      while (count < pending.length && pending[count]!.dueMs <= nowMs) this.#tun.write(pending[count++]!.packet);
      if (count > 0) pending.splice(0, count);
    }
  }

  #nextDueMs(): number {
    let nextMs = performance.now() + IDLE_MS;
    for (const pending of this.#pending.values()) nextMs = Math.min(nextMs, pending[0]?.dueMs ?? nextMs);
    return nextMs;
  }
}

function prepareNetwork(): void {
  ip("link", "set", "lo", "up");
  for (const address of [SERVER, CLIENTS]) ip("addr", "add", `${address}/32`, "dev", DEVICE);
  ip("link", "set", DEVICE, "mtu", "1500", "txqueuelen", "10000", "up");
  ip("route", "add", SERVER_FROM_AFAR, "dev", DEVICE, "src", CLIENTS);
  ip("route", "add", CLIENTS_FROM_AFAR, "dev", DEVICE, "src", SERVER);
}

function ip(...args: string[]): void {
  const { success, stderr } = new Deno.Command("ip", { args, stderr: "piped" }).outputSync();
  if (!success) throw new Error(`Cannot run ip ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
}

/** Lines of standard input, read without waiting for more than there is. */
class Lines {
  readonly #buffer = new Uint8Array(4096);
  #rest = "";

  /** @returns Whole lines that have come, or `undefined` at the end of the input. */
  take(): string[] | undefined {
    const count = Deno.stdin.readSync(this.#buffer);
    if (count === null) return undefined;
    const lines = (this.#rest + new TextDecoder().decode(this.#buffer.subarray(0, count))).split("\n");
    this.#rest = lines.pop()!;
    return lines;
  }
}

const DEVICE = "bad0";
/** Offsets in the IPv4 header. */
const SOURCE = 12;
const DESTINATION = 16;
/** Third byte of the server's addresses. */
const SERVER_NET = 0;
const READS_MAX = 256;
const IDLE_MS = 1000;

if (import.meta.main) {
  const emulator = new Emulator(new Tun(DEVICE), Number(Deno.args[0] ?? 1));
  prepareNetwork();
  const lines = new Lines();
  console.log("ready");
  for (;;) {
    emulator.run();
    const taken = lines.take();
    if (taken === undefined) Deno.exit(0);
    for (const line of taken) {
      const faults: Faults | null = JSON.parse(line);
      if (faults !== null) emulator.faults = faults;
      console.log(JSON.stringify(emulator.takeCounters()));
    }
  }
}
