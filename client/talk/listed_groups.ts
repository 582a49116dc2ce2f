/** The groups that the server lists for this person, held against those that this home knows. */
import { type Conversation, ConversationKind, type Conversations } from "./conversations.ts";
import type { Database } from "../home/database.ts";
import type { EngineHost } from "./engine_host.ts";
import type { NoticeEvent } from "../events.ts";
import type { Inbox } from "./inbox.ts";

export interface ListedGroupsOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly inbox: Pick<Inbox, "heads" | "refresh">;
  readonly host: Pick<EngineHost, "with">;
  onNotice(notice: NoticeEvent): void;
}

export class ListedGroups {
  readonly #options: ListedGroupsOptions;

  constructor(options: ListedGroupsOptions) {
    this.#options = options;
  }

  /**
   * Groups that the server does not list any more: deleted, or this user was removed, and the row that would prove it went with
   * the log. It is the server's word, so it is told as that; where it lists one again, what the group's own state says counts.
   *
   * @param known Those of before it was asked.
   */
  async compare(known: readonly Conversation[]): Promise<void> {
    const { database, conversations, inbox, host, onNotice } = this.#options;
    const listed = new Set((await inbox.heads()).map(({ conversation }) => conversation));
    if (database.closed) return;
    for (const { id } of known) {
      const now = conversations.get(id);
      if (now === undefined) continue;
      if (listed.has(id)) {
        if (now.ended) host.with(() => inbox.refresh(id)).catch(() => {});
        continue;
      }
      if (now.ended) continue;
      const name = conversations.addressOf(now);
      const text = `The server says that you are not in ${name} any more: it was deleted, or you were removed`;
      database.transaction(() => conversations.setEnded(id));
      onNotice({ type: "notice", code: "members-differ", name, conversation: id, text });
    }
  }

  /** Whether there is a group that this home is to come into: what catches up and ends should have done so. */
  async isExpected(): Promise<boolean> {
    const { conversations, inbox } = this.#options, heads = await inbox.heads().catch(() => []);
    return heads.some(({ conversation, kind }) => {
      const known = conversations.get(conversation);
      return kind === ConversationKind.group && (known === undefined || known.name === "" || known.ended);
    });
  }
}
