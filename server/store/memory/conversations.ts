/** Conversations as their members see them, of the store in memory: the plain twin of `sqlite/conversations.ts`. */
import type { ConversationHead, ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { ConversationKind } from "../groups.ts";
import type { MemoryGroups } from "./groups.ts";
import { byId, MemoryConversation, type MemoryTables } from "./rows.ts";

export class MemoryConversations {
  readonly #tables: MemoryTables;
  readonly #groups: Pick<MemoryGroups, "end">;

  constructor(tables: MemoryTables, groups: Pick<MemoryGroups, "end">) {
    this.#tables = tables;
    this.#groups = groups;
  }

  openDirect(id: ConversationId, user: UserName, peer: UserName, device?: DeviceId): ConversationHead | undefined {
    const { users, conversations } = this.#tables;
    const members = [...new Set([user, peer].sort())].map((name) => users.get(name));
    if (!members.every((member) => member !== undefined)) return undefined;
    let conversation = conversations.get(id);
    if (conversation?.kind === ConversationKind.Group) {
      this.#groups.end(conversation);
      conversation = undefined;
    }
    conversation ??= new MemoryConversation(id, ConversationKind.Direct, members);
    conversations.set(id, conversation);
    const own = users.get(user)!;
    return conversation.isMember(own) ? conversation.listed(own, this.#tables.deviceOf(own, device)) : undefined;
  }

  of(user: UserName, device: DeviceId, after: ConversationId | undefined, limit: number): ConversationHead[] {
    const own = this.#tables.users.get(user);
    if (own === undefined) return [];
    const found = this.#tables.deviceOf(own, device);
    return [...own.conversations].toSorted(byId)
      .filter(({ id, stays }) => {
        const { until = Infinity } = stays.get(own)!;
        return (after === undefined || id > after) && (found?.cursors.get(id) ?? 0) < until;
      })
      .slice(0, limit)
      .map((conversation) => conversation.listed(own, found));
  }

  setCursors(
    user: UserName,
    device: DeviceId,
    cursors: readonly { conversation: ConversationId; seq: number }[],
  ): void {
    const own = this.#tables.users.get(user), found = own && this.#tables.deviceOf(own, device);
    if (found === undefined) return;
    for (const { conversation: id, seq } of cursors) {
      const conversation = this.#tables.conversations.get(id);
      const stay = conversation?.stays.get(found.user);
      if (conversation === undefined || stay === undefined) continue;
      const at = found.cursors.get(id) ?? 0;
      found.cursors.set(id, Math.max(at, Math.min(seq, stay.until ?? conversation.head)));
    }
  }
}
