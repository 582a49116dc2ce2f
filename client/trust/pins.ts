/** People's identities, pinned at first use by (cluster, name) → fingerprint (SECURITY H5, M1). Table `peers`. */
import { equalBytes, formatFingerprint, type KeyHistory } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Database, Row } from "../home/database.ts";
import { KeyChangedError } from "../errors.ts";

/** What this home knows of somebody's identity. */
export interface PinState {
  /** The pinned identity's fingerprint, 32 bytes. */
  readonly pinned: Uint8Array;
  /** Another one that was shown since, and that nobody has accepted: it blocks. */
  readonly offered: Uint8Array | undefined;
  /** "yes": the pinned one was compared. "earlier": one before it was, and the pinned one was only accepted. */
  readonly verified: "yes" | "earlier" | "no";
}

export class Pins {
  readonly #db: Database;
  readonly #cluster: string;
  readonly #historyOf: (name: UserName) => KeyHistory | undefined;

  /**
   * @param clusterId 16 bytes: the same name in another cluster is somebody else.
   * @param historyOf What the key log says of somebody: whether a change was signed.
   */
  constructor(
    database: Database,
    clusterId: Uint8Array,
    historyOf: (name: UserName) => KeyHistory | undefined = () => undefined,
  ) {
    this.#db = database;
    this.#cluster = clusterId.toHex();
    this.#historyOf = historyOf;
  }

  pinned(name: UserName): Uint8Array | undefined {
    return this.#db.get("SELECT fingerprint FROM peers WHERE cluster = ? AND name = ?", this.#cluster, name)
      ?.["fingerprint"] as Uint8Array | undefined;
  }

  /**
   * Compares an identity with the pin, and pins it where there is none.
   *
   * @param fingerprint 32 bytes, of the identity key that the server shows for the name.
   * @returns "changed" where another one is pinned; the new one is then kept as offered.
   */
  check(name: UserName, fingerprint: Uint8Array, nowMs: number): "pinned" | "known" | "changed" {
    return this.#db.transaction(() => {
      const pinned = this.pinned(name);
      if (pinned === undefined) {
        this.#db.run(
          "INSERT INTO peers (cluster, name, fingerprint, pinned_ms) VALUES (?, ?, ?, ?)",
          this.#cluster,
          name,
          fingerprint,
          nowMs,
        );
        return "pinned";
      }
      if (equalBytes(pinned, fingerprint)) {
        this.#db.run(
          "UPDATE peers SET offered = NULL WHERE cluster = ? AND name = ? AND offered IS NOT NULL",
          this.#cluster,
          name,
        );
        return "known";
      }
      this.#db.run("UPDATE peers SET offered = ? WHERE cluster = ? AND name = ?", fingerprint, this.#cluster, name);
      return "changed";
    });
  }

  /** The identity that was shown last and is not the pinned one: what a person was warned of. */
  offered(name: UserName): Uint8Array | undefined {
    return this.#db.get("SELECT offered FROM peers WHERE cluster = ? AND name = ?", this.#cluster, name)
      ?.["offered"] as Uint8Array | null ?? undefined;
  }

  /** Everything known of somebody; `undefined` before first contact. */
  state(name: UserName): PinState | undefined {
    const row = this.#db.get(
      "SELECT fingerprint, offered, verified FROM peers WHERE cluster = ? AND name = ?",
      this.#cluster,
      name,
    );
    return row && toState(row);
  }

  /** All of this cluster's people by name. */
  states(): Map<UserName, PinState> {
    const rows = this.#db.all(
      "SELECT name, fingerprint, offered, verified FROM peers WHERE cluster = ?",
      this.#cluster,
    );
    return new Map(rows.map((row) => [row["name"] as UserName, toState(row)]));
  }

  /**
   * Marks the identity that was compared, unless another one has been pinned since or waits to be accepted.
   *
   * @returns Whether it is marked.
   */
  verify(name: UserName, fingerprint: Uint8Array, nowMs: number): boolean {
    return this.#db.transaction(() =>
      this.#db.run(
        `UPDATE peers SET verified = fingerprint, verified_ms = ?
         WHERE cluster = ? AND name = ? AND fingerprint = ? AND offered IS NULL`,
        nowMs,
        this.#cluster,
        name,
        fingerprint,
      ) > 0
    );
  }

  /** Takes the mark away. */
  unverify(name: UserName): void {
    this.#db.transaction(() =>
      this.#db.run(
        "UPDATE peers SET verified = NULL, verified_ms = NULL WHERE cluster = ? AND name = ?",
        this.#cluster,
        name,
      )
    );
  }

  /** Accepts an identity in place of whatever was pinned. A mark stays with the identity that was compared. */
  trust(name: UserName, fingerprint: Uint8Array, nowMs: number): void {
    this.#db.transaction(() =>
      this.#db.run(
        `INSERT INTO peers (cluster, name, fingerprint, pinned_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, pinned_ms = excluded.pinned_ms, offered = NULL`,
        this.#cluster,
        name,
        fingerprint,
        nowMs,
      )
    );
  }

  /** The error that stops sending to a changed identity. */
  changed(name: UserName, offered: Uint8Array): KeyChangedError {
    const state = this.state(name);
    return new KeyChangedError({
      kind: "peer",
      subject: name,
      pinned: state ? formatFingerprint(state.pinned) : "unknown",
      offered: formatFingerprint(offered),
      wasVerified: state?.verified === "yes",
      isSigned: state !== undefined && isSuccessor(this.#historyOf(name), state.pinned, offered),
    });
  }
}

function toState(row: Row): PinState {
  const pinned = row["fingerprint"] as Uint8Array, verified = row["verified"] as Uint8Array | null;
  return {
    pinned,
    offered: row["offered"] as Uint8Array | null ?? undefined,
    verified: verified === null ? "no" : equalBytes(verified, pinned) ? "yes" : "earlier",
  };
}

/** Whether an identity is the one that follows on a pinned one by statements that each earlier one has signed. */
function isSuccessor(history: KeyHistory | undefined, pinned: Uint8Array, offered: Uint8Array): boolean {
  return history !== undefined && equalBytes(history.identity, offered) &&
    history.earlier.some((earlier) => equalBytes(earlier, pinned));
}
