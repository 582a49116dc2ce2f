/** The bad network between people and a cluster: an address of its own with the cluster's ports on it, so that nobody finds a way round. */
import { formatHostPort } from "../../shared/net/mod.ts";
import { Relay } from "../relay.ts";

export interface NetworkOptions {
  readonly seed: number;
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
}

export class Network {
  readonly #relay: Relay;
  readonly #hasMany = Deno.build.os !== "darwin";
  /** HOST:PORT here → the server's port. */
  readonly #behind = new Map<string, number>();

  constructor(options: NetworkOptions) {
    // macOS has one loopback address only: there the relay's ports are others, and only LOCATED leads to them.
    this.#relay = this.#hasMany
      ? new Relay({ ...options, host: `127.0.1.${1 + Math.floor(Math.random() * 254)}` })
      : new Relay({ ...options, rewriteLocated: true });
  }

  /** @returns Where that port of the cluster is found. The same again for the same port. */
  map(port: number): string {
    const { host, port: here } = this.#relay.map("127.0.0.1", port, this.#hasMany ? port : 0);
    const address = formatHostPort(host, here);
    this.#behind.set(address, port);
    return address;
  }

  /** The cluster's port behind an address of ours. */
  behind(address: string | undefined): number | undefined {
    return address === undefined ? undefined : this.#behind.get(address);
  }

  /** No more faults; the delay stays. */
  heal(): void {
    for (const link of [this.#relay.up, this.#relay.down]) {
      Object.assign(link.faults, { loss: 0, duplicate: 0, reorder: 0 });
    }
  }

  get counters(): {
    readonly carried: number;
    readonly lost: number;
    readonly duplicated: number;
    readonly reordered: number;
  } {
    const { up, down } = this.#relay;
    const sum = (name: "carried" | "lost" | "duplicated" | "reordered") => up.counters[name] + down.counters[name];
    return { carried: sum("carried"), lost: sum("lost"), duplicated: sum("duplicated"), reordered: sum("reordered") };
  }

  close(): void {
    this.#relay.close();
  }
}
