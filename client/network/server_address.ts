/** `HOST:PORT[#FINGERPRINT]` as people type it. IPv6 is `[::1]:9000`. */
import { formatFingerprint, parseFingerprint } from "../../shared/crypto/mod.ts";
import { UsageError } from "../errors.ts";

export interface ServerAddress {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** SHA-256 of the cluster's public key: 32 bytes. */
  readonly fingerprint?: Uint8Array;
}

/** @throws UsageError that says what is wrong with it. */
export function parseServerAddress(input: string): ServerAddress {
  const hash = input.indexOf("#");
  const address = hash < 0 ? input : input.slice(0, hash);
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d+)$/.exec(address.trim());
  if (match === null) {
    throw new UsageError(
      `A server is HOST:PORT, like chat.example.org:9000 or [::1]:9000, not ${JSON.stringify(address)}`,
    );
  }
  const port = Number(match[3]);
  if (port < 1 || port > 65535) throw new UsageError(`A port is a number from 1 to 65535, not ${match[3]}`);
  const host = (match[1] ?? match[2]!).toLowerCase();
  if (hash < 0) return { host, port };
  const fingerprint = parseFingerprint(input.slice(hash + 1));
  if (fingerprint === undefined) {
    throw new UsageError(
      "What follows # is no fingerprint: it looks like SHA256: and 43 characters, as the balancer prints it",
    );
  }
  return { host, port, fingerprint };
}

/** The address as {@linkcode parseServerAddress} reads it, without the fingerprint. */
export function formatServerAddress({ host, port }: ServerAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address with its fingerprint, where it has one: what must reach whoever connects (SECURITY H5). */
export function formatPinnedAddress(address: ServerAddress): string {
  const text = formatServerAddress(address);
  return address.fingerprint ? `${text}#${formatFingerprint(address.fingerprint)}` : text;
}
