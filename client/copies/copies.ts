/**
 * Words that came into this home as a copy, and those of it that may go out as one (SECURITY M15, P8). Rows of table `messages`
 * with a `copy_from`: shown with whose copy they are, and nothing else: never unread, never receipted, never sent again, and the
 * cursor knows nothing of them. Where the log brings a message itself, the copy of it goes.
 */
import type { ConversationId, DeviceId, MessageId, UserName } from "../../shared/protocol/mod.ts";
import { placeOf } from "../home/adoption.ts";
import type { Database } from "../home/database.ts";
import { ConversationKind, Conversations } from "../talk/conversations.ts";
import { History } from "../talk/history.ts";
import { type GroupChanged, Own } from "../talk/message_row.ts";
import { pause } from "../pause.ts";
import { sanitizeText } from "../sanitize.ts";
import { openText, sealText, VaultError } from "../home/vault.ts";
import { type CopiedMessage, COPY_OVERHEAD_BYTES } from "./copied_message.ts";

export interface CopiesOptions {
  readonly database: Database;
  /** Whose home this is. */
  readonly name: UserName;
}

/** What is to come in. */
export interface Import {
  /** One that the history knows. */
  readonly conversation: ConversationId;
  readonly entries: readonly CopiedMessage[];
  /** Whose copy it is, as it is shown: a name, or "" for one's own archive. */
  readonly from: UserName | "";
}

/** Which messages are to go out. */
export interface Wanted {
  readonly conversation: ConversationId;
  /** None that the server stored before this. */
  readonly sinceMs: number;
  /** Only from behind one place of the log, up to another. */
  readonly after?: number;
  readonly upTo: number;
  /** Texts and what goes with them together. */
  readonly bytesMax: number;
}

export class Copies {
  readonly #db: Database;
  readonly #conversations: Conversations;
  readonly #history: History;
  readonly #name: UserName;

  constructor({ database, name }: CopiesOptions) {
    this.#db = database;
    this.#conversations = new Conversations(database);
    this.#history = new History(database);
    this.#name = name;
  }

  /**
   * Puts copies where nothing stands. What stands there already stays as it is, and so does what came from the log itself. In
   * one transaction, or in the caller's.
   *
   * @returns How many are new.
   * @throws RangeError for a conversation that the history does not know.
   */
  importCopies(imported: Import): number {
    if (this.#db.isTransaction) return this.#import(imported);
    return this.#db.transaction(() => this.#import(imported));
  }

  /**
   * The newest messages of a conversation that came from its log: a copy is not passed on, since nobody could tell any longer whose
   * it was.
   *
   * It may be thousands, each with a seal to be opened: others have their turn in between.
   *
   * @returns In the order of the log. `isCut`: there are older ones, for which there was no room.
   */
  async newest(
    { conversation, sinceMs, after = 0, upTo, bytesMax }: Wanted,
  ): Promise<{ entries: CopiedMessage[]; isCut: boolean }> {
    const entries: CopiedMessage[] = [];
    for (let before = upTo + 1, room = bytesMax;;) {
      const page = this.#db.all(
        `SELECT seq, id, sender, device, time_ms, sealed FROM messages WHERE conversation = ? AND seq < ? AND seq > ? AND time_ms >= ?
         AND kind = 1 AND text IS NOT NULL AND copy_from IS NULL ORDER BY seq DESC LIMIT ?`,
        conversation,
        before,
        after,
        sinceMs,
        PAGE,
      );
      for (const row of page) {
        before = row["seq"] as number;
        const id = row["id"] as MessageId, device = row["device"] as DeviceId;
        const text = this.#text(row["sealed"] as Uint8Array | null, placeOf.text({ conversation, device, id }));
        if (text === undefined) continue;
        room -= COPY_OVERHEAD_BYTES + utf8Length(text);
        if (room < 0) return { entries: entries.reverse(), isCut: true };
        entries.push({
          seq: before,
          id,
          sender: row["sender"] as UserName,
          device,
          timeMs: row["time_ms"] as number,
          text,
        });
      }
      if (page.length < PAGE) return { entries: entries.reverse(), isCut: false };
      await pause(0);
    }
  }

  /**
   * Where in the log its sharing of history was switched on last; 0 where this home has no such row, and so nothing from before it. A
   * group says since when it shares, and whoever wrote that may have named any time; what was said before that row was said by people
   * who did not know of it.
   */
  sharedFrom(conversation: ConversationId): number {
    const rows = this.#db.all(
      `SELECT seq, id, device, sealed FROM messages WHERE conversation = ? AND kind = 2 AND text IS NOT NULL
       ORDER BY seq DESC`,
      conversation,
    );
    for (const row of rows) {
      const id = row["id"] as MessageId, device = row["device"] as DeviceId;
      const text = this.#text(row["sealed"] as Uint8Array | null, placeOf.text({ conversation, device, id }));
      // What cannot be read may be it.
      if (text === undefined) return row["seq"] as number;
      const { lines } = JSON.parse(text) as GroupChanged;
      if (lines.some(({ what, value }) => what === "history" && value === "on")) return row["seq"] as number;
    }
    return 0;
  }

  #import({ conversation, entries, from }: Import): number {
    const known = this.#conversations.get(conversation);
    if (known === undefined) throw new RangeError(`Cannot import copies: conversation ${conversation} is not known`);
    const { vault } = this.#db, isDirect = known.kind === ConversationKind.direct;
    let added = 0;
    for (const { seq, id, sender, device, timeMs, text } of entries) {
      // It moved to another place when a restored server was told of it again.
      if (this.#history.has(conversation, device, id)) continue;
      added += this.#db.run(
        `INSERT OR IGNORE INTO messages (conversation, seq, id, kind, sender, recipient, device, time_ms, own, sealed, text, copy_from)
         VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, '', ?)`,
        conversation,
        seq,
        id,
        sender,
        !isDirect ? "" : sender === this.#name ? known.peer : this.#name,
        device,
        timeMs,
        Own.copy,
        sealText(vault, sanitizeText(text), placeOf.copy({ conversation, device, id, from })),
        from,
      );
    }
    return added;
  }

  /** A row that is damaged is left out: no copy is made of what nobody can read. @throws LockedError */
  #text(sealed: Uint8Array | null, place: string): string | undefined {
    if (sealed === null) return undefined;
    try {
      return openText(this.#db.vault, sealed, place);
    } catch (error) {
      if (error instanceof VaultError) return undefined;
      throw error;
    }
  }
}

function utf8Length(text: string): number {
  return ENCODER.encode(text).length;
}

/** Some ten milliseconds' worth. */
const PAGE = 250;
const ENCODER = new TextEncoder();
