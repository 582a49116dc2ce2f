/** Cluster keys, pinned at first contact like SSH's known_hosts (SECURITY H5). Table `servers`. */
import { equalBytes, formatFingerprint } from "../../shared/crypto/mod.ts";
import type { Database } from "../home/database.ts";
import type { RememberedCluster } from "./dialer.ts";
import { KeyChangedError } from "../errors.ts";
import { formatServerAddress, type ServerAddress } from "./server_address.ts";

export class KnownServers {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  /**
   * The fingerprint that a connection to this server must prove: the one written in the address, else the pinned one, else that
   * of the server where this home's account is: its token and login secret go to no other key, whatever address is typed.
   *
   * @param home Where the account is, in a home that has one.
   * @throws KeyChangedError where they contradict one another.
   */
  expected(server: ServerAddress, home?: ServerAddress): Uint8Array | undefined {
    const pinned = this.pinned(server);
    if (pinned && server.fingerprint && !equalBytes(pinned, server.fingerprint)) {
      this.#offer(server, server.fingerprint);
      throw this.changed(server, server.fingerprint, pinned);
    }
    const expected = server.fingerprint ?? pinned;
    if (expected) this.#refuseForeign(server, expected, home);
    return expected ?? (home && this.pinned(home));
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
  accept(server: ServerAddress, fingerprint: Uint8Array, home?: ServerAddress): "pinned" | "known" {
    this.#refuseForeign(server, fingerprint, home);
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
  refuse(server: ServerAddress, offered: Uint8Array, home?: ServerAddress): KeyChangedError {
    if (this.pinned(server) === undefined) this.#refuseForeign(server, offered, home);
    this.#offer(server, offered);
    const pinned = this.pinned(server);
    if (pinned !== undefined) return this.changed(server, offered, pinned);
    return notAsNamed(formatServerAddress(server), formatFingerprint(server.fingerprint!), formatFingerprint(offered));
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

  /** The cluster's servers have changed. */
  rememberServers(server: ServerAddress, servers: RememberedCluster["servers"]): void {
    const remembered = this.remembered(server);
    if (remembered !== undefined) this.remember(server, { ...remembered, servers });
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

  /** @throws KeyChangedError where this home's account is with another key, at another address. */
  #refuseForeign(server: ServerAddress, shown: Uint8Array, home: ServerAddress | undefined): void {
    const own = home && this.pinned(home);
    if (own === undefined || equalBytes(own, shown)) return;
    const here = formatServerAddress(home!), there = formatServerAddress(server);
    if (here === there) return;
    const change = {
      kind: "server",
      subject: there,
      pinned: formatFingerprint(own),
      offered: formatFingerprint(shown),
    } as const;
    throw new KeyChangedError(
      change,
      `This home's account is at ${here}, whose key is ${change.pinned}; ${there} has the key ${change.offered}. Nothing was ` +
        `sent to it. An account there needs a home of its own (--home DIR). If it is the same server, and the new fingerprint is ` +
        `right, accept it with: fastchat trust --server ${here}#${change.offered}`,
    );
  }

  #offer(server: ServerAddress, offered: Uint8Array): void {
    this.#db.transaction(() =>
      this.#db.run("UPDATE servers SET offered = ? WHERE address = ?", offered, formatServerAddress(server))
    );
  }
}

/** Nothing is pinned yet, so there is nothing to accept: the fingerprint that was given is of another server, or this one is. */
function notAsNamed(subject: string, pinned: string, offered: string): KeyChangedError {
  return new KeyChangedError(
    { kind: "server", subject, pinned, offered },
    `Server ${subject} does not hold the key that was named: that is ${pinned}, it shows ${offered}. ` +
      "Somebody may be in between, or the fingerprint is another server's: compare it with the one that its balancer printed",
  );
}
