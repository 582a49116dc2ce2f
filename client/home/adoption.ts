/**
 * Homes made before homes were sealed: their rows are sealed once, under a key that lies open until a password is given
 * ({@linkcode file://./home_vault.ts}). All or nothing, whatever is killed.
 */
import { sealText, type Vault } from "./vault.ts";

/** What it needs of the home's database. */
interface Rows {
  readonly vault: Vault;
  transaction<T>(change: () => T): T;
  run(sql: string, ...values: (string | number | Uint8Array | null)[]): number;
  all(sql: string, ...values: (string | number)[]): Readonly<Record<string, unknown>>[];
  meta(key: string): string | undefined;
  setMeta(key: string, value: string | undefined): void;
}

/** Where a row's secrets stand, as their seals name it. A text's is not its place in the log: that changes with a restored server. */
export const placeOf = {
  text: ({ conversation, device, id }: { conversation: string; device: string; id: string }) =>
    `messages.text ${conversation} ${device} ${id}`,
  /** Of somebody's copy: whoever takes the mark off it makes it unreadable. */
  copy: ({ conversation, device, id, from }: { conversation: string; device: string; id: string; from: string }) =>
    `messages.copy ${from} ${conversation} ${device} ${id}`,
  reason: (conversation: string, seq: number) => `messages.reason ${conversation} ${seq}`,
  body: (conversation: string, seq: number) => `messages.body ${conversation} ${seq}`,
  outboxText: (id: string) => `outbox.text ${id}`,
  outboxBody: (id: string) => `outbox.body ${id}`,
  ticket: (address: string, ticket: Uint8Array) => `tickets.secret ${address} ${ticket.toHex()}`,
} as const;

/** Does nothing where it was done. */
export function sealOldRows(db: Rows): void {
  if (db.meta(UNSEALED) === undefined) return;
  db.transaction(() => {
    if (db.meta(UNSEALED) === undefined) return;
    sealMessages(db);
    sealOutbox(db);
    sealTickets(db);
    db.setMeta(UNSEALED, undefined);
  });
}

function sealMessages(db: Rows): void {
  const { vault } = db;
  for (let after = 0;;) {
    const page = db.all("SELECT * FROM messages WHERE position > ? ORDER BY position LIMIT ?", after, PAGE);
    for (const row of page) {
      const conversation = row["conversation"] as string, seq = row["seq"] as number;
      const text = row["text"] as string | null, reason = row["reason"] as string | null;
      const body = row["body"] as Uint8Array | null;
      const sealed = text !== null
        ? sealText(
          vault,
          text,
          placeOf.text({ conversation, device: row["device"] as string, id: row["id"] as string }),
        )
        : reason !== null
        ? sealText(vault, reason, placeOf.reason(conversation, seq))
        : null;
      after = row["position"] as number;
      db.run(
        "UPDATE messages SET sealed = ?, text = ?, reason = ?, body = ? WHERE position = ?",
        sealed,
        text && "",
        reason && "",
        body && vault.seal(body, placeOf.body(conversation, seq)),
        after,
      );
    }
    if (page.length < PAGE) return;
  }
}

function sealOutbox(db: Rows): void {
  for (const row of db.all("SELECT place, id, text, body FROM outbox")) {
    const id = row["id"] as string, body = row["body"] as Uint8Array | null;
    db.run(
      "UPDATE outbox SET sealed = ?, text = '', body = ? WHERE place = ?",
      sealText(db.vault, row["text"] as string, placeOf.outboxText(id)),
      body && db.vault.seal(body, placeOf.outboxBody(id)),
      row["place"] as number,
    );
  }
}

function sealTickets(db: Rows): void {
  for (const row of db.all("SELECT id, address, ticket, secret FROM tickets")) {
    const place = placeOf.ticket(row["address"] as string, row["ticket"] as Uint8Array);
    db.run(
      "UPDATE tickets SET secret = ? WHERE id = ?",
      db.vault.seal(row["secret"] as Uint8Array, place),
      row["id"] as number,
    );
  }
}

/** A home's messages need not fit in memory. */
const PAGE = 500;
const UNSEALED = "unsealed";
