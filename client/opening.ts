/** What stands before a session: a home that is opened and leaves no trace where it came to nothing; a server that is trusted. */
import { equalBytes, formatFingerprint } from "../shared/crypto/mod.ts";
import { UsageError } from "./errors.ts";
import { homeExists, type HomeParts, HomeTraces, openHome } from "./home_parts.ts";
import { checkName } from "./local_home.ts";
import { provenFingerprint } from "./network/enquiry.ts";
import { parseServerAddress } from "./network/server_address.ts";
import { OPEN_TIMEOUT_MS, type OpenOptions } from "./open_options.ts";
import { Session } from "./session.ts";
import { KeyLog } from "./trust/key_log.ts";

/** @throws What `ChatClient.open` does; then the home is closed again. */
export async function openSession(options: OpenOptions): Promise<{ parts: HomeParts; session: Session }> {
  const traces = new HomeTraces(options.home);
  const name = options.name === undefined ? undefined : checkName(options.name);
  const server = options.server === undefined ? undefined : parseServerAddress(options.server);
  let parts: HomeParts;
  try {
    parts = openHome(options.home);
  } catch (error) {
    traces.remove();
    throw error;
  }
  try {
    return { parts, session: await Session.start(parts, { ...options, name, server }) };
  } catch (error) {
    const isNobodys = parts.credentials.account() === undefined;
    parts.database.close();
    if (isNobodys) traces.remove();
    throw error;
  }
}

export type TrustOptions = Pick<OpenOptions, "home" | "timeoutMs" | "signal" | "dial"> & { readonly server: string };

/** As `ChatClient.trustServer` says. */
export async function trustServer(options: TrustOptions): Promise<string> {
  const address = parseServerAddress(options.server);
  if (!homeExists(options.home)) throw new UsageError(`There is no account in ${options.home}`);
  const parts = openHome(options.home);
  try {
    KeyLog.accept(parts.database);
    if (address.fingerprint === undefined && !parts.servers.hasOffer(address)) {
      const { timeoutMs = OPEN_TIMEOUT_MS, signal, dial } = options;
      const fingerprint = await provenFingerprint({ server: address, timeoutMs, signal, dial });
      const pinned = parts.servers.pinned(address);
      // Nobody has seen it yet: now they do, and may say so again.
      if (pinned && !equalBytes(pinned, fingerprint)) throw parts.servers.refuse(address, fingerprint);
      return formatFingerprint(parts.servers.trust({ ...address, fingerprint })!);
    }
    return formatFingerprint(parts.servers.trust(address)!);
  } finally {
    parts.database.close();
  }
}
