/** The bus of one server of a cluster: beside the hub while this server leads, over the link to the leader otherwise. */
import type { Logger } from "../../shared/log.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Bus, BusListener, Committed, DevicesChanged, GroupNews } from "./bus.ts";
import type { ReceiptMoved, SessionsEnded, TypingHint } from "./bus.ts";
import type { HubPort } from "./hub.ts";

/** How a server tells the leader's hub of itself. */
export interface HubLine {
  announce(user: UserName, online: boolean): void;
  watch(user: UserName, on: boolean): void;
  hint(hint: TypingHint): void;
}

export interface ClusterBusOptions {
  /** Asks the leader who is online. */
  readonly online: () => Promise<UserName[]>;
  /** Asks the leader who of them is, and whether it is sure of the others. */
  readonly among: (names: readonly UserName[]) => Promise<{ online: UserName[]; isSure: boolean }>;
  readonly logger: Logger;
}

export class ClusterBus implements Bus, HubPort {
  listener: BusListener | undefined;
  readonly #options: ClusterBusOptions;
  /** What every new leader has to hear; as many as there are sessions here. */
  readonly #users = new Set<UserName>();
  /** The same of whom is watched. */
  readonly #watched = new Set<UserName>();
  #line: HubLine | undefined;
  #attached = false;

  constructor(options: ClusterBusOptions) {
    this.#options = options;
  }

  announce(user: UserName, online: boolean): void {
    if (online) this.#users.add(user);
    else this.#users.delete(user);
    this.#line?.announce(user, online);
  }

  watch(user: UserName, on: boolean): void {
    if (on) this.#watched.add(user);
    else this.#watched.delete(user);
    this.#line?.watch(user, on);
  }

  among(names: readonly UserName[]): Promise<{ online: UserName[]; isSure: boolean }> {
    return this.#options.among(names);
  }

  /** Lost while there is no leader. */
  hint(hint: TypingHint): void {
    this.#line?.hint(hint);
  }

  online(): Promise<UserName[]> {
    return this.#options.online();
  }

  /** There is a leader: tells it who is here and who is watched, from now on with every change. */
  attach(line: HubLine): void {
    this.#line = line;
    for (const user of this.#users) line.announce(user, true);
    for (const user of this.#watched) line.watch(user, true);
    // Its notices begin now. With an earlier leader something may have been missed in between.
    if (this.#attached) this.#guard((listener) => listener.onGap());
    this.#attached = true;
  }

  /** There is no leader for now. */
  detach(): void {
    this.#line = undefined;
  }

  committed(committed: readonly Committed[]): void {
    this.#guard((listener) => listener.onCommitted(committed));
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    this.#guard((listener) => listener.onReceipts(moved));
  }

  devicesChanged(change: DevicesChanged): void {
    this.#guard((listener) => listener.onDevicesChanged(change));
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.#guard((listener) => listener.onSessionsEnded(ended));
  }

  groupNews(news: GroupNews): void {
    this.#guard((listener) => listener.onGroupNews(news));
  }

  presence(user: UserName, online: boolean): void {
    this.#guard((listener) => listener.onPresence(user, online));
  }

  typing(hint: TypingHint): void {
    this.#guard((listener) => listener.onTyping(hint));
  }

  /** A fault of our own listener must not keep the other servers from hearing. */
  #guard(tell: (listener: BusListener) => void): void {
    if (this.listener === undefined) return;
    try {
      tell(this.listener);
    } catch (error) {
      this.#options.logger.log("error", "bus.listener", { error });
    }
  }
}
