/** History handed to new devices, of the store in memory: the plain twin of `sqlite/history_parts.ts`. */
import {
  HISTORY_DEVICE_BYTES_MAX,
  HISTORY_GIVER_BYTES_MAX,
  HISTORY_PAIR_BYTES_MAX,
  HISTORY_PARTS_MAX,
  READ_BYTES_MAX,
} from "../../../shared/limits.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { ConversationKind, KEPT_MS } from "../groups.ts";
import type { HistoryPart, NewHistoryPart } from "../history.ts";
import type { MemoryTables } from "./rows.ts";

interface Kept extends Omit<NewHistoryPart, "body"> {
  readonly number: number;
  /** Gone when it was taken. */
  body: Uint8Array | undefined;
}

export class MemoryHistory {
  readonly #tables: Pick<MemoryTables, "devices" | "conversations" | "listener" | "isLive">;
  #parts: Kept[] = [];
  #last = 0;

  constructor(tables: Pick<MemoryTables, "devices" | "conversations" | "listener" | "isLive">) {
    this.#tables = tables;
  }

  put(given: NewHistoryPart): "kept" | "given" | "full" | "refused" {
    const { devices, conversations, listener, isLive } = this.#tables, { to, body, bundle } = given;
    const conversation = conversations.get(given.conversation),
      giver = devices.get(given.device),
      taker = devices.get(to);
    if (conversation === undefined || giver?.user.name !== given.user || taker === undefined || !isLive(to)) {
      return "refused";
    }
    const { user } = taker, isOwn = user === giver.user;
    if (!conversation.isMember(giver.user) || !conversation.isMember(user) || taker === giver) return "refused";
    if (conversation.kind === ConversationKind.Direct && !isOwn) return "refused";
    const mine = this.#parts.filter((part) => part.to === to);
    const isSame = (part: Kept) => part.device === given.device && part.bundle === bundle;
    if (mine.some((part) => isSame(part) && part.part === given.part)) return "kept";
    const others = mine.filter((part) => part.conversation === given.conversation && !isSame(part));
    const isWhole = ({ device, bundle, parts }: Kept) =>
      others.filter((part) => part.device === device && part.bundle === bundle).length >= parts;
    if (given.unlessGiven && others.some((part) => (!isOwn || part.user === user.name) && isWhole(part))) {
      return "given";
    }
    const bytes = bytesOf(mine) + body.length,
      ofGiver = bytesOf(this.#parts.filter((part) => part.user === given.user));
    if (bytes > HISTORY_DEVICE_BYTES_MAX || mine.length >= HISTORY_PARTS_MAX) return "full";
    const ofPair = bytesOf(mine.filter((part) => part.user === given.user));
    if (!isOwn && ofPair + body.length > HISTORY_PAIR_BYTES_MAX) return "full";
    if (ofGiver + body.length > HISTORY_GIVER_BYTES_MAX) return "full";
    this.#parts.push({ ...given, number: ++this.#last });
    listener?.groupNews({ type: "historyWaits", devices: [{ user: user.name, device: to }] });
    return "kept";
  }

  of(user: UserName, device: DeviceId, after: number): HistoryPart[] {
    const found: HistoryPart[] = [];
    if (this.#tables.devices.get(device)?.user.name !== user) return found;
    let bytes = 0;
    for (const { to, number, conversation, body } of this.#parts) {
      if (to !== device || number <= after || body === undefined) continue;
      bytes += body.length;
      if (bytes > READ_BYTES_MAX && found.length > 0) break;
      found.push({ number, conversation, body });
    }
    return found;
  }

  drop(user: UserName, device: DeviceId, numbers: readonly number[], isTaken: boolean): void {
    if (this.#tables.devices.get(device)?.user.name !== user) return;
    const isMeant = ({ to, number }: Kept) => to === device && numbers.includes(number);
    if (isTaken) { for (const part of this.#parts.filter(isMeant)) part.body = undefined; }
    else this.#parts = this.#parts.filter((part) => !isMeant(part));
  }

  /** A device has ended. */
  forget(id: DeviceId): void {
    this.#parts = this.#parts.filter(({ to, device }) => to !== id && device !== id);
  }

  sweep(nowMs: number): void {
    this.#parts = this.#parts.filter((part) => part.nowMs > nowMs - KEPT_MS);
  }
}

function bytesOf(parts: readonly Kept[]): number {
  return parts.reduce((sum, { body }) => sum + (body?.length ?? 0), 0);
}
