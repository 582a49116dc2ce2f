/** A row of the table `messages`: what is kept becomes columns, each text sealed for its place, and columns what is shown. */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import type { ChangeLine } from "../e2ee/engine.ts";
import type { LogEvent } from "../events.ts";
import { placeOf } from "../home/adoption.ts";
import type { Database, Row } from "../home/database.ts";
import { openText, sealText, type Vault, VaultError } from "../home/vault.ts";
import { timeText } from "../time.ts";

/**
 * Who sent a row: someone else, this home, or another device of the same person; or nobody can tell, since it came as a copy
 * (copies/copies.ts), and then nothing becomes of it but that it is shown.
 */
export const Own = { no: 0, here: 1, elsewhere: 2, copy: 3 } as const;
export type Own = (typeof Own)[keyof typeof Own];

/** A row to keep. `text` is already sanitized. */
export interface NewMessage {
  readonly conversation: ConversationId;
  readonly seq: number;
  readonly id: MessageId;
  readonly sender: UserName;
  /** Empty in a group. */
  readonly recipient: UserName;
  readonly device: DeviceId;
  readonly timeMs: number;
  readonly own: Own;
  /** Absent where it was refused. */
  readonly text?: string;
  readonly reason?: string;
  /** What changed in a group: in place of text and reason. */
  readonly change?: GroupChanged;
  /** Kept only where the row may become readable, or has not been passed by the cursor yet. */
  readonly body?: Uint8Array;
  /** SHA-256 of the row's body: 32 bytes. */
  readonly hash?: Uint8Array;
}

export interface GroupChanged {
  readonly lines: readonly ChangeLine[];
  readonly ended: boolean;
}

/** Something to show, and the cursor that says it was. */
export interface Positioned {
  readonly event: LogEvent;
  readonly position: number;
}

/** Keeps a row, unless its place is taken. @throws LockedError */
export function insertRow(message: NewMessage, database: Database): void {
  const { vault } = database, { conversation, seq, change, reason, body } = message;
  const text = change === undefined ? message.text : JSON.stringify(change);
  const sealed = text !== undefined
    ? sealText(vault, text, placeOf.text(message))
    : reason !== undefined
    ? sealText(vault, reason, placeOf.reason(conversation, seq))
    : null;
  database.run(
    `INSERT OR IGNORE INTO messages
     (conversation, seq, id, kind, sender, recipient, device, time_ms, own, sealed, text, reason, body, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    conversation,
    seq,
    message.id,
    change === undefined ? RowKind.message : RowKind.change,
    message.sender,
    message.recipient,
    message.device,
    message.timeMs,
    message.own,
    sealed,
    text === undefined ? null : SEALED,
    reason === undefined ? null : SEALED,
    body === undefined ? null : vault.seal(body, placeOf.body(conversation, seq)),
    message.hash ?? null,
  );
}

/** A row that kept its body, without its text. @throws LockedError, VaultError */
export function toKept(row: Row, { vault }: Database): NewMessage & { body: Uint8Array } {
  const conversation = row["conversation"] as ConversationId, seq = row["seq"] as number;
  return {
    conversation,
    seq,
    id: row["id"] as MessageId,
    sender: row["sender"] as UserName,
    recipient: row["recipient"] as UserName,
    device: row["device"] as DeviceId,
    timeMs: row["time_ms"] as number,
    own: row["own"] as Own,
    body: vault.open(row["body"] as Uint8Array, placeOf.body(conversation, seq)),
  };
}

/** Of rows that no device has written. */
export const NOBODYS_DEVICE = "0".repeat(32) as DeviceId;

/** A row of `messages` as what is shown of it. @throws LockedError, VaultError */
export function toPositioned(row: Row, database: Database): Positioned {
  return { event: toEvent(row, database), position: row["position"] as number };
}

/** As {@linkcode toPositioned}, without its position. */
export function toEvent(row: Row, database: Database): LogEvent {
  const conversation = row["conversation"] as ConversationId, seq = row["seq"] as number;
  const time = timeText(row["time_ms"] as number), sender = row["sender"] as UserName;
  const recipient = row["recipient"] as UserName, read = unseal(row, database.vault);
  const named = recipient === ""
    ? database.get("SELECT name FROM conversations WHERE id = ?", conversation)
    : undefined;
  const group = recipient === "" ? named?.["name"] as string ?? "" : undefined;
  if ("reason" in read) {
    return {
      type: "refused",
      conversation,
      seq,
      to: group === undefined ? peerOf(database, conversation) ?? sender : groupAddress(database, conversation),
      ...(group !== undefined && { group }),
      // What became of rows that do not come is said by this home, and by nobody else.
      ...(row["device"] !== NOBODYS_DEVICE && { claimedFrom: sender }),
      reason: read.reason,
      time,
    };
  }
  const device = row["device"] as DeviceId, id = row["id"] as MessageId, { text } = read;
  const to = group === undefined ? recipient : groupAddress(database, conversation);
  if (row["kind"] === RowKind.change) {
    const { lines, ended } = JSON.parse(text) as GroupChanged;
    return {
      type: "change",
      conversation,
      seq,
      to,
      group: group ?? "",
      by: sender,
      device,
      changes: lines,
      ended,
      time,
    };
  }
  return {
    type: "message",
    id,
    conversation,
    from: sender,
    to,
    ...(group !== undefined && { group }),
    device,
    text,
    time,
    seq,
    ...(row["copy_from"] !== null && { copyFrom: row["copy_from"] as UserName | "" }),
  };
}

function peerOf(database: Database, conversation: ConversationId): UserName | undefined {
  return database.get("SELECT peer FROM conversations WHERE id = ?", conversation)?.["peer"] as UserName | undefined;
}

/** What a row says, or why it says nothing: one that is damaged takes none of the others with it. @throws LockedError */
function unseal(row: Row, vault: Vault): { readonly text: string } | { readonly reason: string } {
  const conversation = row["conversation"] as ConversationId, sealed = row["sealed"] as Uint8Array | null;
  if (sealed === null) return { reason: UNSEALED };
  try {
    if (row["text"] === null) {
      return { reason: openText(vault, sealed, placeOf.reason(conversation, row["seq"] as number)) };
    }
    const device = row["device"] as DeviceId, id = row["id"] as MessageId, from = row["copy_from"] as string | null;
    const place = { conversation, device, id };
    return { text: openText(vault, sealed, from === null ? placeOf.text(place) : placeOf.copy({ ...place, from })) };
  } catch (error) {
    if (error instanceof VaultError) return { reason: error.message };
    throw error;
  }
}

/** A program of before went on while another one brought the home up; or somebody has put it there. */
const UNSEALED = "It was not written into this home by this version of fastchat";

const RowKind = { message: 1, change: 2 } as const;
/** What stands in place of a text, for queries that only ask whether there is one. */
const SEALED = "";
