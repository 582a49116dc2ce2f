/** The bus of one server of a cluster: beside the hub while this server leads, over the link to the leader otherwise. */
import type { Logger } from "../../shared/log.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Bus, BusListener, Committed, DevicesChanged, ReceiptMoved, SessionsEnded } from "./bus.ts";
import type { HubPort } from "./hub.ts";

export interface ClusterBusOptions {
  /** Asks the leader who is online. */
  readonly online: () => Promise<UserName[]>;
  readonly logger: Logger;
}

export class ClusterBus implements Bus, HubPort {
  listener: BusListener | undefined;
  readonly #options: ClusterBusOptions;
  /** What every new leader has to hear; as many as there are sessions here. */
  readonly #users = new Set<UserName>();
  #announce: ((user: UserName, online: boolean) => void) | undefined;
  #attached = false;

  constructor(options: ClusterBusOptions) {
    this.#options = options;
  }

  announce(user: UserName, online: boolean): void {
    if (online) this.#users.add(user);
    else this.#users.delete(user);
    this.#announce?.(user, online);
  }

  online(): Promise<UserName[]> {
    return this.#options.online();
  }

  /** There is a leader: tells it who is here, from now on with every change. */
  attach(announce: (user: UserName, online: boolean) => void): void {
    this.#announce = announce;
    for (const user of this.#users) announce(user, true);
    // Its notices begin now. With an earlier leader something may have been missed in between.
    if (this.#attached) this.#guard((listener) => listener.onGap());
    this.#attached = true;
  }

  /** There is no leader for now. */
  detach(): void {
    this.#announce = undefined;
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
