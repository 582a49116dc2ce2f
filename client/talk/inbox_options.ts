/** What receiving works with, and whom it tells. */
import type { ConversationId, MessageId } from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";
import type { EngineHost } from "./engine_host.ts";
import type { NoticeEvent } from "../events.ts";
import type { Conversations } from "./conversations.ts";
import type { History } from "./history.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import type { Link } from "../network/link.ts";
import type { Outbox } from "./outbox.ts";
import type { States } from "./states.ts";

export interface InboxOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly history: History;
  readonly outbox: Outbox;
  readonly states: States;
  readonly keyring: Keyring;
  readonly host: EngineHost;
  readonly self: Self;
  readonly link: Link;
  onNotice(notice: NoticeEvent): void;
  /** A row of the outbox turned out to be stored. */
  onSettled(id: MessageId): void;
  /** Rows of a conversation are on this disk. `here`: this process put them there. */
  onApplied(conversation: ConversationId, here: boolean): void;
}
