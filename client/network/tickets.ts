/**
 * Resumption tickets of a home (docs/PROTOCOL.md §2.6). Table `tickets`: one for each connection that lives or lived last, so that
 * whoever comes next, this process or another of the same person, comes back without RSA and password.
 *
 * A ticket is for one connection: whoever takes it deletes it in the same transaction, and holds it in memory until a server has
 * let it in or does not know it. Its secret lies sealed.
 */
import type { ResumptionTicket } from "../../shared/net/mod.ts";
import { placeOf } from "../home/adoption.ts";
import type { Database } from "../home/database.ts";

export class TicketPurse {
  readonly #db: Database;
  readonly #address: string;
  readonly #nowMs: () => number;
  /** The row of the ticket that our newest connection brought. */
  #own: number | undefined;
  /** Taken out, and not shown to any server that answered. */
  #held: HeldTicket | undefined;

  /** @param address HOST:PORT of the cluster, as asked. */
  constructor(database: Database, address: string, nowMs: () => number = Date.now) {
    this.#db = database;
    this.#address = address;
    this.#nowMs = nowMs;
  }

  /** Whether {@linkcode take} would give one. */
  get hasAny(): boolean {
    return this.#held !== undefined ||
      this.#db.get("SELECT 1 FROM tickets WHERE address = ? AND expires_ms > ?", this.#address, this.#nowMs()) !==
        undefined;
  }

  /** A ticket for the next connection; the same again until {@linkcode spent}. */
  take(): HeldTicket | undefined {
    const nowMs = this.#nowMs();
    if (this.#held !== undefined && this.#held.expiresMs > nowMs) return this.#held;
    // Our own first: it is of the connection that we have lost.
    const row = this.#db.transaction(() => {
      this.#db.run("DELETE FROM tickets WHERE expires_ms <= ?", nowMs);
      return this.#db.get(
        `DELETE FROM tickets WHERE id = (SELECT id FROM tickets WHERE address = ? ORDER BY id = ? DESC, id DESC LIMIT 1)
         RETURNING ticket, secret, expires_ms`,
        this.#address,
        this.#own ?? -1,
      );
    });
    const ticket = row?.["ticket"] as Uint8Array;
    return this.#held = row && {
      ticket,
      secret: this.#db.vault.open(row["secret"] as Uint8Array, placeOf.ticket(this.#address, ticket)),
      expiresMs: row["expires_ms"] as number,
    };
  }

  /** A server has answered: the ticket has done what it could. */
  spent(): void {
    this.#held = undefined;
  }

  /** The connection's ticket, in place of the one that it brought before. */
  put({ ticket, secret, lifetimeSeconds }: ResumptionTicket): void {
    this.#own = this.#insert({ ticket, secret, expiresMs: this.#nowMs() + lifetimeSeconds * 1000 });
  }

  /** What was taken out and never used is there for others. */
  close(): void {
    if (this.#held !== undefined) this.#insert(this.#held);
    this.#held = undefined;
  }

  /** None of them is worth anything: the session behind them is over. */
  clear(): void {
    this.#held = this.#own = undefined;
    this.#db.transaction(() => this.#db.run("DELETE FROM tickets WHERE address = ?", this.#address));
  }

  #insert({ ticket, secret, expiresMs }: HeldTicket): number {
    return this.#db.transaction(() => {
      if (this.#own !== undefined) this.#db.run("DELETE FROM tickets WHERE id = ?", this.#own);
      this.#db.run(
        "INSERT INTO tickets (address, ticket, secret, expires_ms) VALUES (?, ?, ?, ?)",
        this.#address,
        ticket,
        this.#db.vault.seal(secret, placeOf.ticket(this.#address, ticket)),
        expiresMs,
      );
      this.#db.run(
        "DELETE FROM tickets WHERE id NOT IN (SELECT id FROM tickets ORDER BY id DESC LIMIT ?)",
        TICKETS_KEPT,
      );
      return this.#db.get("SELECT max(id) AS id FROM tickets")!["id"] as number;
    });
  }
}

export interface HeldTicket {
  readonly ticket: Uint8Array;
  /** 32 bytes. */
  readonly secret: Uint8Array;
  readonly expiresMs: number;
}

/** As many programs may live in one home at once and lose nothing; the oldest go first. */
const TICKETS_KEPT = 16;
