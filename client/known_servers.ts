/** Cluster keys, pinned at first contact like SSH's known_hosts (SECURITY H5). Table `servers`. */
import { equalBytes, formatFingerprint } from "../shared/crypto/mod.ts";
import type { Database } from "./database.ts";
import type { RememberedCluster } from "./dialer.ts";
import { KeyChangedError } from "./errors.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";

export class KnownServers {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /** The fingerprint that a connection to this server must prove: the one written in the address, else the pinned one. */
  expected(server: ServerAddress): Uint8Array | undefined {
    const pinned = this.pinned(server);
    if (pinned && server.fingerprint && !equalBytes(pinned, server.fingerprint)) {
      this.#offer(server, server.fingerprint);
      throw this.changed(server, server.fingerprint, pinned);
    }
    return server.fingerprint ?? pinned;
  }

  pinned(server: ServerAddress): Uint8Array | undefined {
    return this.#db.get("SELECT fingerprint FROM servers WHERE address = ?", formatServerAddress(server))
      ?.["fingerprint"] as Uint8Array | undefined;
  }

  /**
   * Call once the handshake proved that the server holds this key.
   *
   * @returns "pinned" at first contact.
   * @throws KeyChangedError where another key is pinned; the new one is kept as offered.
   */
  accept(server: ServerAddress, fingerprint: Uint8Array): "pinned" | "known" {
    const outcome = this.#db.transaction(() => {
      const pinned = this.pinned(server);
      if (pinned === undefined) {
        this.#db.run(
          "INSERT INTO servers (address, fingerprint) VALUES (?, ?)",
          formatServerAddress(server),
          fingerprint,
        );
        return "pinned";
      }
      return equalBytes(pinned, fingerprint) ? "known" : "changed";
    });
    if (outcome === "changed") throw this.refuse(server, fingerprint);
    return outcome;
  }

  /** Another key than the pinned one was shown: remembered, so that `trust` can accept just that one. */
  refuse(server: ServerAddress, offered: Uint8Array): KeyChangedError {
    this.#offer(server, offered);
    return this.changed(server, offered, this.pinned(server) ?? server.fingerprint!);
  }

  /**
   * Accepts the key that was shown last, if it differs from the pinned one.
   *
   * @returns The fingerprint that is pinned now; `undefined` for a server nobody contacted.
   */
  trust(server: ServerAddress): Uint8Array | undefined {
    const address = formatServerAddress(server);
    return this.#db.transaction(() => {
      if (server.fingerprint) {
        // Said outright: no need to have seen it.
        this.#db.run(
          "INSERT INTO servers (address, fingerprint) VALUES (?, ?) ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, offered = NULL",
          address,
          server.fingerprint,
        );
      } else {
        this.#db.run(
          "UPDATE servers SET fingerprint = coalesce(offered, fingerprint), offered = NULL WHERE address = ?",
          address,
        );
      }
      return this.pinned(server);
    });
  }

  /** Whether another key than the pinned one was shown and not accepted. */
  hasOffer(server: ServerAddress): boolean {
    return this.#db.get(
      "SELECT 1 FROM servers WHERE address = ? AND offered IS NOT NULL",
      formatServerAddress(server),
    ) !==
      undefined;
  }

  /** Keeps how to reach the cluster without its balancer. */
  remember(server: ServerAddress, { clusterKey, token, servers }: RememberedCluster): void {
    const text = JSON.stringify({ clusterKey: clusterKey.toBase64(), token: token.toBase64(), servers });
    this.#db.transaction(() =>
      this.#db.run("UPDATE servers SET remembered = ? WHERE address = ?", text, formatServerAddress(server))
    );
  }

  remembered(server: ServerAddress): RememberedCluster | undefined {
    const text = this.#db.get("SELECT remembered FROM servers WHERE address = ?", formatServerAddress(server))
      ?.["remembered"] as string | null | undefined;
    if (!text) return undefined;
    const { clusterKey, token, servers } = JSON.parse(text);
    return { clusterKey: Uint8Array.fromBase64(clusterKey), token: Uint8Array.fromBase64(token), servers };
  }

  changed(server: ServerAddress, offered: Uint8Array, pinned: Uint8Array): KeyChangedError {
    return new KeyChangedError({
      kind: "server",
      subject: formatServerAddress(server),
      pinned: formatFingerprint(pinned),
      offered: formatFingerprint(offered),
    });
  }

  #offer(server: ServerAddress, offered: Uint8Array): void {
    this.#db.transaction(() =>
      this.#db.run("UPDATE servers SET offered = ? WHERE address = ?", offered, formatServerAddress(server))
    );
  }
}
