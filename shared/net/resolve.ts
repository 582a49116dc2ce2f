/** From what a user or an operator wrote as a host to addresses. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { foldHost } from "./udp_socket.ts";

/** No address for this name. */
export class NameError extends Error {
  override readonly name = "NameError";
  constructor(readonly host: string, cause?: unknown) {
    super(`Cannot find the address of ${host}`, { cause });
  }
}

/**
 * Addresses in the order in which the system prefers them; an address stands for itself, in brackets or not.
 *
 * @throws NameError
 */
export async function resolveHost(host: string): Promise<string[]> {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  if (isIP(bare) !== 0) return [foldHost(bare)];
  try {
    const found = await lookup(bare, { all: true, verbatim: true });
    const hosts = [...new Set(found.map(({ address }) => foldHost(address)))];
    if (hosts.length > 0) return hosts;
  } catch (error) {
    throw new NameError(host, error);
  }
  throw new NameError(host);
}

/** Where a client binds to reach this address: the system chooses, except towards this machine itself. */
export function clientHost(peer: string): string {
  if (peer.startsWith("127.")) return "127.0.0.1";
  if (peer === "::1") return "::1";
  return peer.includes(":") ? "::" : "0.0.0.0";
}
