/**
 * A relay between people and a whole cluster: it has an address of its own and the cluster's ports on it, so that whatever
 * servers tell clients about one another leads through it too, and nobody finds a way round the network of a test.
 */
import { readServerStates } from "../../shared/cluster/mod.ts";
import { formatHostPort } from "../../shared/net/mod.ts";
import { Relay, type RelayOptions } from "../relay.ts";
import type { Cluster } from "./harness.ts";

/** @returns The relay, and where people find the balancer behind it. */
export async function relayBetween(
  cluster: Cluster,
  options: RelayOptions = {},
): Promise<{ readonly relay: Relay; readonly server: string }> {
  // macOS has one loopback address only: there the relay's ports are others, and only LOCATED leads to them.
  const hasMany = Deno.build.os !== "darwin";
  const relay = hasMany ? new Relay({ host: ownHost(), ...options }) : new Relay({ rewriteLocated: true, ...options });
  const ports = [cluster.port, ...(await readServerStates(cluster.dataDir)).map(({ port }) => port)];
  const [front] = ports.map((port) => relay.map("127.0.0.1", port, hasMany ? port : 0));
  return { relay, server: formatHostPort(front!.host, front!.port) };
}

/** An address of this machine that no other relay has, in whichever thread or process: else ports would be taken. */
function ownHost(): string {
  const [a, b, c] = crypto.getRandomValues(new Uint8Array(3)) as unknown as [number, number, number];
  return `127.${1 + a % 254}.${b}.${1 + c % 254}`;
}
