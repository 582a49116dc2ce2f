/**
 * Where the leader's commits go: who of the cluster's servers has sessions of which users, and what each is told.
 *
 * A server is told of a record only if one of its users is a member. Order is the commits' order, for every server. A port
 * that is closed takes its users with it: a dead server leaves no ghosts in the list of who is online.
 */
import type { UserName } from "../../shared/protocol/mod.ts";
import { Audiences } from "./audiences.ts";
import type { CommitListener, Committed, DevicesChanged, GroupNews } from "./bus.ts";
import type { ReceiptMoved, SessionsEnded, TypingHint } from "./bus.ts";
import { PresenceBoard, type PresencePort } from "./presence_board.ts";

/** One server as the hub sees it. */
export interface HubPort extends PresencePort {
  /**
   * Records for this server, ascending per conversation; of many members only those with sessions there are named. The objects
   * are shared between ports. Must not throw.
   */
  committed(committed: readonly Committed[]): void;
  /** Shared between ports. Must not throw. */
  receipts(moved: readonly ReceiptMoved[]): void;
  /** Must not throw. */
  devicesChanged(change: DevicesChanged): void;
  /** Must not throw. */
  sessionsEnded(ended: SessionsEnded): void;
  /** Must not throw. */
  groupNews(news: GroupNews): void;
  /** Must not throw. */
  typing(hint: TypingHint): void;
}

export class Hub implements CommitListener {
  /** The ports of each user with a session; a user without one has no entry. */
  readonly #ports = new Map<UserName, Set<HubPort>>();

  /** Every port, with users or without: what a login must not miss goes to all. */
  readonly #all = new Set<HubPort>();

  readonly #audiences = new Audiences<HubPort>((user) => this.#ports.get(user) ?? NOBODY);

  /** Who hears of whom; {@linkcode announce} feeds it. */
  readonly presence = new PresenceBoard<HubPort>();

  add(port: HubPort): void {
    this.#all.add(port);
  }

  /** This port has sessions of this user, or has none any more. Repeating it is fine. */
  announce(port: HubPort, user: UserName, online: boolean): void {
    const ports = this.#ports.get(user);
    if (online === (ports?.has(port) ?? false)) return;
    if (!online) {
      this.#audiences.left(port, user);
      ports!.delete(port);
      if (ports!.size > 0) return;
      this.#ports.delete(user);
      return this.presence.left(user);
    }
    this.#audiences.arrived(port, user);
    if (ports !== undefined) return void ports.add(port);
    this.#ports.set(user, new Set([port]));
    this.presence.arrived(user);
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
    const perPort = new Map<HubPort, Committed[]>();
    for (let i = 0; i < committed.length; i++) {
      const item = committed[i]!;
      if (item.members.length <= FEW_MEMBERS) this.#sort(item, perPort);
      else this.#sortLarge(item, perPort);
    }
    for (const [port, items] of perPort) port.committed(items);
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
    const acquainted = new Map<HubPort, UserName[]>();
    for (const name of change.acquainted ?? []) {
      for (const port of this.#ports.get(name) ?? NOBODY) {
        if (!perPort.has(port)) perPort.set(port, []);
        const told = acquainted.get(port);
        if (told === undefined) acquainted.set(port, [name]);
        else told.push(name);
      }
    }
    for (const [port, conversations] of perPort) {
      const names = acquainted.get(port);
      port.devicesChanged({
        user: change.user,
        conversations,
        keyLogLength: change.keyLogLength,
        ...(names && { acquainted: names }),
      });
    }
  }

  /** To every port: a server on which this user is just logging in has not announced it yet. */
  sessionsEnded(ended: SessionsEnded): void {
    for (const port of this.#all) port.sessionsEnded(ended);
  }

  groupNews(news: GroupNews): void {
    if (news.type === "dismissed") {
      for (const port of this.#all) port.groupNews(news);
    } else if (news.type === "asked" && news.members.length > FEW_MEMBERS) {
      for (const [port, members] of this.#audiences.of(news.ask.conversation, news.members)) {
        port.groupNews({ ...news, members });
      }
    } else {
      const members = news.type === "asked" ? news.members : news.devices.map(({ user }) => user);
      for (const port of this.#perPort([{ members }]).keys()) port.groupNews(news);
    }
  }

  typing(hint: TypingHint): void {
    for (const port of this.#perPort([hint]).keys()) port.typing(hint);
  }

  /** What each port with a member on it is told. */
  #perPort<T extends { readonly members: readonly UserName[] }>(told: readonly T[]): Map<HubPort, T[]> {
    const perPort = new Map<HubPort, T[]>();
    for (const item of told) this.#sort(item, perPort);
    return perPort;
  }

  #sort<T extends { readonly members: readonly UserName[] }>(item: T, perPort: Map<HubPort, T[]>): void {
    for (const member of item.members) {
      for (const port of this.#ports.get(member) ?? NOBODY) {
        const items = perPort.get(port);
        if (items === undefined) perPort.set(port, [item]);
        // Two members on one server: it is told once. Items come in order, so looking at the last one is enough.
        else if (items.at(-1) !== item) items.push(item);
      }
    }
  }

  #sortLarge({ record, members }: Committed, perPort: Map<HubPort, Committed[]>): void {
    for (const [port, here] of this.#audiences.of(record.conversation, members)) {
      const items = perPort.get(port), item = { record, members: here };
      if (items === undefined) perPort.set(port, [item]);
      else items.push(item);
    }
  }
}

/** As far as looking at each member is cheaper than keeping an audience. */
const FEW_MEMBERS = 8;
const NOBODY: readonly HubPort[] = [];
