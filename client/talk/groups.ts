/** A home's groups, as people see them. */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";
import { findGroup } from "../addresses.ts";
import type { EngineConversation, EngineMember } from "../e2ee/engine.ts";
import { type Conversation, ConversationKind, type Conversations } from "./conversations.ts";

/** What somebody may do in a group. */
export type Role = EngineMember["role"];

/** A group as this home last heard of it. */
export interface Group {
  /** `#name`, as one writes to it. */
  readonly address: string;
  readonly name: string;
  readonly conversation: ConversationId;
  readonly topic: string;
  /** By name. Empty once this device is no longer in it. */
  readonly members: readonly { readonly name: UserName; readonly role: Role }[];
  /** One's own; absent once this device is no longer in it. */
  readonly role?: Role;
  /** This device is no longer in it: what was said can be read, and nothing can be sent. */
  readonly ended: boolean;
}

/** What only the group's own state tells. */
export interface GroupDetails extends Group {
  readonly members: readonly (EngineMember & { readonly name: UserName })[];
  readonly membersMayAdd: boolean;
  /** Since when what is said is handed to newcomers, in milliseconds since 1970; 0: it is not. */
  readonly historySinceMs: number;
  /** Open invite links: whoever has one may ask to be let in. */
  readonly links: readonly string[];
  /** Why nothing can be sent for now. */
  readonly blocked?: string;
}

export class Groups {
  readonly #conversations: Conversations;
  readonly #self: UserName;

  constructor(conversations: Conversations, self: UserName) {
    this.#conversations = conversations;
    this.#self = self;
  }

  /** By name, those that have ended among them. */
  list(): Group[] {
    return this.#conversations.groups().map((group) => this.#toGroup(group));
  }

  /** @param address With or without the sign in front. @throws UsageError where it names none, or several. */
  get(address: string): Group {
    return this.of(this.find(address))!;
  }

  /** @throws UsageError where it names none, or several. */
  find(address: string): ConversationId {
    return findGroup(address, this.#conversations.groups());
  }

  of(id: ConversationId): Group | undefined {
    const found = this.#conversations.get(id);
    return found?.kind === ConversationKind.group && found.name !== "" ? this.#toGroup(found) : undefined;
  }

  /** With what the engine says of it, which is the newest there is. */
  details(id: ConversationId, state: EngineConversation | undefined): GroupDetails | undefined {
    const group = this.of(id);
    if (group === undefined) return undefined;
    if (state === undefined) return { ...group, members: [], membersMayAdd: false, historySinceMs: 0, links: [] };
    const { members, role, membersMayAdd, historySinceMs, links, blocked } = state;
    return { ...group, members, role, membersMayAdd, historySinceMs, links, ...(blocked !== undefined && { blocked }) };
  }

  #toGroup(found: Conversation): Group {
    const { id, name, topic, ended } = found, members = ended ? [] : this.#conversations.members(id);
    const role = members.find((member) => member.name === this.#self)?.role;
    return {
      address: this.#conversations.addressOf(found),
      name,
      conversation: id,
      topic,
      members,
      ...(role !== undefined && { role }),
      ended,
    };
  }
}
