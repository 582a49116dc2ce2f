/** The bus of a server that sits beside the hub, in one process with it: the leader's own, and every server's in tests. */
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Bus, BusListener, Committed, DevicesChanged, GroupNews } from "./bus.ts";
import type { ReceiptMoved, SessionsEnded, TypingHint } from "./bus.ts";
import type { Hub, HubPort } from "./hub.ts";

export class LocalBus implements Bus, HubPort {
  listener: BusListener | undefined;
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
    hub.add(this);
  }

  announce(user: UserName, online: boolean): void {
    this.#hub.announce(this, user, online);
  }

  online(): Promise<UserName[]> {
    return Promise.resolve(this.#hub.online());
  }

  watch(user: UserName, on: boolean): void {
    this.#hub.presence.watch(this, user, on);
  }

  among(names: readonly UserName[]): Promise<{ online: UserName[]; isSure: boolean }> {
    return Promise.resolve(this.#hub.presence.among(names));
  }

  hint(hint: TypingHint): void {
    this.#hub.typing(hint);
  }

  committed(committed: readonly Committed[]): void {
    this.listener?.onCommitted(committed);
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    this.listener?.onReceipts(moved);
  }

  devicesChanged(change: DevicesChanged): void {
    this.listener?.onDevicesChanged(change);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.listener?.onSessionsEnded(ended);
  }

  groupNews(news: GroupNews): void {
    this.listener?.onGroupNews(news);
  }

  presence(user: UserName, online: boolean): void {
    this.listener?.onPresence(user, online);
  }

  typing(hint: TypingHint): void {
    this.listener?.onTyping(hint);
  }

  /** Leaves the hub, with all users. */
  close(): void {
    this.#hub.remove(this);
  }
}
