/**
 * Where the leader's commits go: who of the cluster's servers has sessions of which users, and what each is told.
 *
 * A server is told of a record only if one of its users is a member. Order is the commits' order, for every server. A port
 * that is closed takes its users with it: a dead server leaves no ghosts in the list of who is online.
 */
import type { UserName } from "../../shared/protocol/mod.ts";
import type { CommitListener, Committed, DevicesChanged, ReceiptMoved, SessionsEnded, TypingHint } from "./bus.ts";
import { PresenceBoard, type PresencePort } from "./presence_board.ts";

/** One server as the hub sees it. */
export interface HubPort extends PresencePort {
  /** Records for this server, ascending per conversation. The objects are shared between ports. Must not throw. */
  committed(committed: readonly Committed[]): void;
  /** Shared between ports. Must not throw. */
  receipts(moved: readonly ReceiptMoved[]): void;
  /** Must not throw. */
  devicesChanged(change: DevicesChanged): void;
  /** Must not throw. */
  sessionsEnded(ended: SessionsEnded): void;
  /** Must not throw. */
  typing(hint: TypingHint): void;
}

export class Hub implements CommitListener {
  /** The ports of each user with a session; a user without one has no entry. */
  readonly #ports = new Map<UserName, Set<HubPort>>();

  /** Every port, with users or without: what a login must not miss goes to all. */
  readonly #all = new Set<HubPort>();

  /** Who hears of whom; {@linkcode announce} feeds it. */
  readonly presence = new PresenceBoard<HubPort>();

  add(port: HubPort): void {
    this.#all.add(port);
  }

  /** This port has sessions of this user, or has none any more. Repeating it is fine. */
  announce(port: HubPort, user: UserName, online: boolean): void {
    const ports = this.#ports.get(user);
    if (online) {
      if (ports !== undefined) return void ports.add(port);
      this.#ports.set(user, new Set([port]));
      this.presence.arrived(user);
    } else if (ports?.delete(port) && ports.size === 0) {
      this.#ports.delete(user);
      this.presence.left(user);
    }
  }

  /** This port is gone, and its users with it. */
  remove(port: HubPort): void {
    this.#all.delete(port);
    this.presence.forget(port);
    for (const user of [...this.#ports.keys()]) this.announce(port, user, false);
  }

  /** Users with a session anywhere, in order of name. */
  online(): UserName[] {
    return [...this.#ports.keys()].sort();
  }

  committed(committed: readonly Committed[]): void {
    for (const [port, items] of this.#perPort(committed)) port.committed(items);
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    for (const [port, items] of this.#perPort(moved)) port.receipts(items);
  }

  /** Tells each port of those conversations in which it has a member; the user's own ports hear of all. */
  devicesChanged(change: DevicesChanged): void {
    const perPort = new Map<HubPort, DevicesChanged["conversations"][number][]>();
    for (const port of this.#ports.get(change.user) ?? NOBODY) perPort.set(port, []);
    for (const conversation of change.conversations) {
      for (const member of conversation.members) {
        for (const port of this.#ports.get(member) ?? NOBODY) {
          const told = perPort.get(port);
          if (told === undefined) perPort.set(port, [conversation]);
          else if (told.at(-1) !== conversation) told.push(conversation);
        }
      }
    }
    for (const [port, conversations] of perPort) port.devicesChanged({ user: change.user, conversations });
  }

  /** To every port: a server on which this user is just logging in has not announced it yet. */
  sessionsEnded(ended: SessionsEnded): void {
    for (const port of this.#all) port.sessionsEnded(ended);
  }

  typing(hint: TypingHint): void {
    for (const port of this.#perPort([hint]).keys()) port.typing(hint);
  }

  /** What each port with a member on it is told. */
  #perPort<T extends { readonly members: readonly UserName[] }>(told: readonly T[]): Map<HubPort, T[]> {
    const perPort = new Map<HubPort, T[]>();
    for (const item of told) {
      for (const member of item.members) {
        for (const port of this.#ports.get(member) ?? NOBODY) {
          const items = perPort.get(port);
          if (items === undefined) perPort.set(port, [item]);
          // Two members on one server: it is told once. Items come in order, so looking at the last one is enough.
          else if (items.at(-1) !== item) items.push(item);
        }
      }
    }
    return perPort;
  }
}

const NOBODY: readonly HubPort[] = [];
