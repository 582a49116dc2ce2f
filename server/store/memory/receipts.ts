/** Receipts of the store in memory: the plain twin of `sqlite/receipts.ts`. */
import type { ConversationId, DeviceId, OwnReceipt, Receipt, UserName } from "../../../shared/protocol/mod.ts";
import type { ReceiptMoved } from "../../bus/bus.ts";
import { ConversationKind, RECEIPT_RECORDS_MAX } from "../groups.ts";
import type { MemoryConversation, MemoryTables } from "./rows.ts";

export class MemoryReceipts {
  readonly #tables: MemoryTables;

  constructor(tables: MemoryTables) {
    this.#tables = tables;
  }

  set(user: UserName, device: DeviceId, receipts: readonly OwnReceipt[]): void {
    const own = this.#tables.users.get(user), moved: ReceiptMoved[] = [];
    const found = own && this.#tables.deviceOf(own, device);
    if (found === undefined) return;
    for (const said of receipts) {
      const { conversation: id, delivered, read } = said, conversation = this.#tables.conversations.get(id);
      const stay = conversation?.stays.get(found.user);
      if (conversation === undefined || stay === undefined || delivered > (stay.until ?? conversation.head)) continue;
      if (stay.until !== undefined) {
        found.cursors.set(id, Math.max(found.cursors.get(id) ?? 0, delivered));
        continue;
      }
      const { delivered: last, read: lastRead } = conversation.receipts.get(device) ?? NO_RECEIPT;
      if (delivered < last || (delivered === last && read <= lastRead)) continue;
      const receipt = { ...said, user, device };
      conversation.receipts.set(device, receipt);
      found.cursors.set(id, Math.max(found.cursors.get(id) ?? 0, delivered));
      moved.push({ receipt, members: hearersOf(conversation, receipt, { last, lastRead }) });
    }
    if (moved.length > 0) this.#tables.listener?.receipts(moved);
  }

  of(
    user: UserName,
    conversations: readonly ConversationId[],
    after: DeviceId | undefined,
    limit: number,
  ): Receipt[] {
    return conversations.flatMap((id, at) => {
      const conversation = this.#tables.conversations.get(id);
      if (!conversation?.isMember(this.#tables.users.get(user))) return [];
      return [...conversation.receipts.values()]
        .filter(({ device }) => at > 0 || after === undefined || device > after)
        .sort((a, b) => a.device < b.device ? -1 : 1);
    }).slice(0, limit);
  }
}

/** Of a group: the device's own person, and those whose records it is about. */
function hearersOf(
  conversation: MemoryConversation,
  { user, delivered, read }: Receipt,
  { last, lastRead }: { last: number; lastRead: number },
): readonly UserName[] {
  if (conversation.kind === ConversationKind.Direct) return conversation.members;
  const upto = delivered > last ? delivered : read;
  const after = Math.min(delivered > last ? last : upto, read > lastRead ? lastRead : upto);
  const about = conversation.log.filter(({ seq }) => seq > Math.max(after, upto - RECEIPT_RECORDS_MAX) && seq <= upto);
  const hearers = new Set([user, ...about.map(({ sender }) => sender)]);
  return conversation.members.filter((name) => hearers.has(name));
}

const NO_RECEIPT = { delivered: -1, read: 0 };
