/**
 * What was given to `send()` and has no place in the log yet. Table `outbox`: the one road out of a home.
 *
 * A row's place is its order. It is sealed once, and the sealed bytes stay with it until its fate is known: sending the same
 * bytes under the same id again is harmless, and the next envelope's `previous` names exactly what the server stores (SECURITY M1).
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { readEnvelope, sha256 } from "../../shared/crypto/mod.ts";
import { groupAddress } from "../addresses.ts";
import { placeOf } from "../home/adoption.ts";
import type { Database, Row } from "../home/database.ts";
import { FastChatError, KeyChangedError, KeyLogError, RefusedError, TimedOutError, UsageError } from "../errors.ts";
import type { KeyChange } from "../errors.ts";
import { type Chain, Chains } from "./chains.ts";
import { Conversations } from "./conversations.ts";
import type { History } from "./history.ts";
import { Own } from "./message_row.ts";
import { sanitizeText } from "../sanitize.ts";
import { States } from "./states.ts";
import { openText, sealText, type Vault } from "../home/vault.ts";

export interface OutboxRow {
  readonly place: number;
  readonly id: MessageId;
  /** Whom it is for; empty where it is for a group. */
  readonly peer: UserName;
  /** The group that it is for. */
  readonly target?: ConversationId;
  readonly text: string;
  readonly createdMs: number;
  /** The number that it had when it was sealed last: it keeps that. */
  readonly counter?: number;
  /** Present once it was sealed: maybe on its way, maybe stored already. */
  readonly sealed?: SealedRow;
}

export interface SealedRow {
  readonly conversation: ConversationId;
  readonly counter: number;
  /** The conversation's epoch it was sealed for. */
  readonly epoch: number;
  readonly body: Uint8Array;
}

/** What waits, or was given up. */
export interface OutboxItem {
  readonly id: MessageId;
  /** A name, or a group's `#name`. */
  readonly to: string;
  readonly text: string;
  readonly timeMs: number;
  /** Why it was given up. */
  readonly reason?: string;
}

/** Where the log put it. */
export interface Stored {
  readonly conversation: ConversationId;
  readonly seq: number;
  readonly timeMs: number;
}

export type Fate =
  | { readonly state: "waiting" }
  | { readonly state: "stored"; readonly stored: Stored }
  | { readonly state: "failed"; readonly error: FastChatError }
  /** Neither in the outbox nor in the history. */
  | { readonly state: "gone" };

/** Changes are single statements or a transaction each; they may run inside no other. */
export class Outbox {
  readonly #db: Database;
  readonly #history: History;
  readonly #conversations: Conversations;
  readonly #chains: Chains;
  readonly #states: States;

  constructor(database: Database, history: History) {
    this.#db = database;
    this.#history = history;
    this.#conversations = new Conversations(database);
    this.#chains = new Chains(database);
    this.#states = new States(database);
  }

  /**
   * Takes the next place. NULs are left out: SQLite's texts end at the first, and every receiver would strip them.
   *
   * @param row.target The group that it is for; `peer` is empty then.
   */
  add(row: {
    readonly id: MessageId;
    readonly peer: UserName;
    readonly target?: ConversationId;
    readonly text: string;
    readonly createdMs: number;
  }): void {
    const { id, peer, target, createdMs } = row, kept = row.text.replaceAll("\0", "");
    this.#db.transaction(() =>
      this.#db.run(
        "INSERT INTO outbox (id, peer, target, text, sealed, created_ms) VALUES (?, ?, ?, '', ?, ?)",
        id,
        peer,
        target ?? null,
        sealText(this.#db.vault, kept, placeOf.outboxText(id)),
        createdMs,
      )
    );
  }

  /** Rows that wait behind a place, in order, without their texts. */
  waiting(afterPlace: number, limit: number): Pick<OutboxRow, "place" | "id" | "peer" | "target">[] {
    return this.#db.all(
      "SELECT place, id, peer, target FROM outbox WHERE failure IS NULL AND place > ? ORDER BY place LIMIT ?",
      afterPlace,
      limit,
    ).map((row) => ({
      place: row["place"] as number,
      id: row["id"] as MessageId,
      peer: row["peer"] as UserName,
      ...(row["target"] !== null && { target: row["target"] as ConversationId }),
    }));
  }

  /** For whom anything waits. */
  recipients(): Pick<OutboxRow, "peer" | "target">[] {
    return this.#db.all("SELECT DISTINCT peer, target FROM outbox WHERE failure IS NULL").map((row) => ({
      peer: row["peer"] as UserName,
      ...(row["target"] !== null && { target: row["target"] as ConversationId }),
    }));
  }

  get isEmpty(): boolean {
    return this.#db.get("SELECT 1 FROM outbox WHERE failure IS NULL LIMIT 1") === undefined;
  }

  row(id: MessageId): OutboxRow | undefined {
    return this.#toRow(this.#db.get("SELECT * FROM outbox WHERE id = ? AND failure IS NULL", id));
  }

  /**
   * Keeps what is about to be sent. Before this commits, nothing leaves.
   *
   * @param write More rows for the same transaction, where the row is still there.
   * @returns Whether the row is still there: it may have been withdrawn while it was sealed.
   */
  seal(id: MessageId, { conversation, counter, epoch, body }: SealedRow, write = () => {}): boolean {
    return this.#db.transaction(() => {
      const isThere = this.#db.run(
        "UPDATE outbox SET conversation = ?, counter = ?, epoch = ?, body = ? WHERE id = ? AND failure IS NULL",
        conversation,
        counter,
        epoch,
        this.#db.vault.seal(body, placeOf.outboxBody(id)),
        id,
      ) > 0;
      if (isThere) write();
      return isThere;
    });
  }

  /**
   * The log has it: the row becomes a message. Whoever hears of it first does it, by an answer or a delivery.
   *
   * @returns Whether it was still waiting here.
   */
  stored(
    id: MessageId,
    { seq, timeMs }: { seq: number; timeMs: number },
    { name, device }: { name: UserName; device: DeviceId },
  ): boolean {
    return this.#db.transaction(() => this.storedWithin(id, { seq, timeMs }, { name, device }));
  }

  /** {@linkcode stored} for a caller that is inside a transaction already. */
  storedWithin(
    id: MessageId,
    { seq, timeMs }: { seq: number; timeMs: number },
    { name, device }: { name: UserName; device: DeviceId },
  ): boolean {
    const row = this.#toRow(this.#db.get("SELECT * FROM outbox WHERE id = ?", id));
    if (row?.sealed === undefined) return false;
    const { conversation, counter, body } = row.sealed, cursor = this.#conversations.get(conversation)?.cursor ?? 0;
    this.#db.run("DELETE FROM outbox WHERE id = ?", id);
    const hash = sha256(body), read = readEnvelope(body);
    this.#chains.setOwn(conversation, { counter, hash });
    if (!this.#history.moveSent({ conversation, seq, id, hash })) {
      this.#history.replaceRefused({
        conversation,
        seq,
        id,
        sender: name,
        recipient: row.peer,
        device,
        timeMs,
        own: Own.here,
        text: sanitizeText(row.text),
        hash,
        // Its turn in the log is yet to come, and the server shows it to this connection no more.
        ...(seq > cursor && { body }),
      });
    }
    const devices = read.ok ? read.envelope.header.devices : [];
    this.#states.stored({ id, conversation, seq, to: this.#addressOf(row), timeMs, devices });
    return true;
  }

  /**
   * It is given up; the reason is kept for a day.
   *
   * @param isRefused The server has refused this very row, so it is not in the log: its counter, and those of the rows behind it
   * that were refused with it, are free for what comes next. Otherwise a sealed one may be there, and becomes a message if it is.
   */
  fail(id: MessageId, error: FastChatError, isRefused = false): void {
    this.#db.transaction(() => {
      const row = this.#toRow(this.#db.get("SELECT * FROM outbox WHERE id = ? AND failure IS NULL", id));
      if (row === undefined) return;
      this.#db.run("UPDATE outbox SET failure = ? WHERE id = ?", encodeFailure(error), id);
      if (isRefused && row.sealed !== undefined) {
        const { conversation, counter } = row.sealed;
        this.#db.run(
          "UPDATE outbox SET body = NULL, counter = NULL, epoch = NULL WHERE conversation = ? AND counter >= ?",
          conversation,
          counter,
        );
      }
      this.#states.failed({ id, to: this.#addressOf(row), reason: error.message, timeMs: Date.now() });
    });
  }

  /**
   * A restored server has nothing of what lies between two places of a conversation. What this home sent there and not every member
   * is known to have is sent again: sealed anew under its own id, by which whoever has it already knows it. It stays in the history,
   * and moves to its new place when that is known. Runs inside the caller's transaction.
   *
   * What is older is not: a server that only pretends should not make devices that came since read what was not meant for them.
   */
  sendAgain(conversation: ConversationId, after: number, upTo: number, nowMs: number): void {
    const peer = this.#conversations.get(conversation)?.peer ?? "";
    for (const { id, to, text, time, seq } of this.#history.sentBetween(conversation, after, upTo)) {
      const timeMs = Date.parse(time), { delivered, members } = this.#states.counts(conversation, seq);
      if (delivered >= members || timeMs < nowMs - AGAIN_MS_MAX) continue;
      this.#db.run(
        "INSERT OR IGNORE INTO outbox (id, peer, target, text, sealed, created_ms) VALUES (?, ?, ?, '', ?, ?)",
        id,
        peer,
        peer === "" ? conversation : null,
        sealText(this.#db.vault, text, placeOf.outboxText(id)),
        timeMs,
      );
      this.#states.again({ id, conversation, to, timeMs: nowMs, reason: LOST });
    }
  }

  /** The bytes that a row was sealed to, if it was, whether it was given up since or not. */
  sealedBody(id: MessageId): Uint8Array | undefined {
    return this.#toRow(this.#db.get("SELECT * FROM outbox WHERE id = ?", id))?.sealed?.body;
  }

  /** Everything that is not in the log, in order. */
  list(): OutboxItem[] {
    return this.#db.all("SELECT * FROM outbox ORDER BY place").map((row) => {
      const failure = row["failure"] as string | null;
      return {
        id: row["id"] as MessageId,
        to: outboxAddress(this.#db, row),
        text: sanitizeText(textOf(row, this.#db.vault)),
        timeMs: row["created_ms"] as number,
        ...(failure !== null && { reason: decodeFailure(failure).message }),
      };
    });
  }

  /**
   * Takes a row out that the person wants no more: one that was given up, or one that has not left yet. `sent`: it may be stored
   * already, and goes on being sent until that is known.
   */
  drop(id: MessageId): "dropped" | "sent" | "unknown" {
    return this.#db.transaction(() => {
      if (this.#db.run("DELETE FROM outbox WHERE id = ? AND (failure IS NOT NULL OR body IS NULL)", id) > 0) {
        return "dropped";
      }
      return this.#db.get("SELECT 1 FROM outbox WHERE id = ?", id) === undefined ? "unknown" : "sent";
    });
  }

  /**
   * Takes a row back, if it has not been sealed. One that has been may be stored already, so it stays and is sent until
   * its fate is known.
   *
   * @param error What is said of it from then on.
   */
  withdraw(id: MessageId, error: FastChatError): boolean {
    return this.#db.transaction(() => {
      const row = this.#toRow(this.#db.get("SELECT * FROM outbox WHERE id = ? AND failure IS NULL", id));
      if (row === undefined || row.sealed !== undefined) return false;
      this.#db.run("UPDATE outbox SET failure = ? WHERE id = ?", encodeFailure(error), id);
      this.#states.failed({ id, to: this.#addressOf(row), reason: error.message, timeMs: Date.now() });
      return true;
    });
  }

  /** What became of a row. */
  fate(id: MessageId): Fate {
    const row = this.#db.get("SELECT failure FROM outbox WHERE id = ?", id);
    if (row !== undefined) {
      if (row["failure"] === null) return { state: "waiting" };
      return { state: "failed", error: decodeFailure(row["failure"] as string) };
    }
    const message = this.#db.get(
      "SELECT conversation, seq, time_ms FROM messages WHERE id = ? AND own = ?",
      id,
      Own.here,
    );
    if (message === undefined) return { state: "gone" };
    return {
      state: "stored",
      stored: {
        conversation: message["conversation"] as ConversationId,
        seq: message["seq"] as number,
        timeMs: message["time_ms"] as number,
      },
    };
  }

  /** Failures do not stay for ever. */
  forgetFailures(beforeMs: number): void {
    this.#db.transaction(() =>
      this.#db.run("DELETE FROM outbox WHERE failure IS NOT NULL AND created_ms < ?", beforeMs)
    );
  }

  /** The chain behind which the next envelope of a conversation comes, as far as the log is known to have it. */
  chain(conversation: ConversationId): Chain {
    return this.#chains.own(conversation);
  }

  /** The highest counter that may be in the log: a further envelope takes a higher one. */
  lastCounter(conversation: ConversationId): number {
    const row = this.#db.get(
      "SELECT coalesce(max(counter), 0) AS last FROM outbox WHERE conversation = ?",
      conversation,
    );
    return Math.max(row!["last"] as number, this.#chains.own(conversation).counter);
  }

  #addressOf({ peer, target }: OutboxRow): string {
    return target === undefined ? peer : groupAddress(this.#db, target);
  }

  #toRow(row: Row | undefined): OutboxRow | undefined {
    if (row === undefined) return undefined;
    const id = row["id"] as MessageId, body = row["body"] as Uint8Array | null, { vault } = this.#db;
    return {
      place: row["place"] as number,
      id,
      peer: row["peer"] as UserName,
      ...(row["target"] !== null && { target: row["target"] as ConversationId }),
      text: textOf(row, vault),
      createdMs: row["created_ms"] as number,
      ...(row["counter"] !== null && { counter: row["counter"] as number }),
      ...(body !== null && {
        sealed: {
          conversation: row["conversation"] as ConversationId,
          counter: row["counter"] as number,
          epoch: row["epoch"] as number,
          body: vault.open(body, placeOf.outboxBody(id)),
        },
      }),
    };
  }
}

/** Whom a row of the table is for, as one types it. */
export function outboxAddress(database: Database, row: Row): string {
  const target = row["target"] as ConversationId | null;
  return target === null ? row["peer"] as string : groupAddress(database, target);
}

/** @throws LockedError, VaultError */
function textOf(row: Row, vault: Vault): string {
  return openText(vault, row["sealed"] as Uint8Array, placeOf.outboxText(row["id"] as string));
}

const LOST = "The server was restored from a backup that does not have it";
const AGAIN_MS_MAX = 7 * 24 * 3600 * 1000;

/** A failure crosses from the process that sends to the one that waits. */
function encodeFailure(error: FastChatError): string {
  return JSON.stringify({
    kind: error.name,
    message: error.message,
    code: error instanceof RefusedError ? error.code : undefined,
    change: error instanceof KeyChangedError ? error.change : undefined,
  });
}

function decodeFailure(text: string): FastChatError {
  const { kind, message, code, change } = JSON.parse(text) as {
    kind: string;
    message: string;
    code?: number;
    change?: KeyChange;
  };
  if (change !== undefined) return new KeyChangedError(change, message);
  if (code !== undefined) return new RefusedError(message, code);
  if (kind === "UsageError") return new UsageError(message);
  if (kind === "KeyLogError") return new KeyLogError(message);
  if (kind === "TimedOutError") return new TimedOutError(message);
  return new FastChatError(message);
}
