/** What one does to groups: makes, changes and leaves them, by the engine and over the connection, and keeps what follows here. */
import type { ConversationId, UserName } from "../../shared/protocol/mod.ts";
import { checkGroupName, groupAddress } from "../addresses.ts";
import type { Engine, GroupChange } from "../e2ee/engine.ts";
import type { Database } from "../home/database.ts";
import type { Conversations } from "./conversations.ts";
import { type GroupDetails, Groups } from "./groups.ts";

/** For what is done to a group. */
export interface GroupOptions {
  /** How long it may take. */
  readonly timeoutMs?: number;
}

export interface GroupChangesOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly self: UserName;
  readonly session: {
    /** Runs while this process owns the home and there is a connection. */
    engine<T>(work: (engine: Engine) => Promise<T>, timeoutMs?: number): Promise<T>;
    /** The home knows a group that this process has just made. */
    adopt(conversation: ConversationId): Promise<void>;
    /** Keeps what a group says of itself, which has just changed without a row. */
    refresh(conversation: ConversationId): Promise<void>;
  };
}

/** Names are a group's `#name`, with or without its sign. */
export class GroupChanges {
  readonly #options: GroupChangesOptions;
  readonly #groups: Groups;

  constructor(options: GroupChangesOptions) {
    this.#options = options;
    this.#groups = new Groups(options.conversations, options.self);
  }

  /** @returns Its address. */
  async create(name: string, { timeoutMs }: GroupOptions): Promise<string> {
    const { session, database } = this.#options, wanted = checkGroupName(name);
    const id = await session.engine(async (engine) => {
      const made = await engine.create(wanted);
      await session.adopt(made);
      return made;
    }, timeoutMs);
    return groupAddress(database, id);
  }

  async change(name: string, change: GroupChange, { timeoutMs }: GroupOptions): Promise<void> {
    const { session, database, conversations } = this.#options, id = this.#groups.find(name);
    const wanted = change.do === "rename" ? { ...change, name: checkGroupName(change.name) } : change;
    await session.engine((engine) => engine.change(id, wanted), timeoutMs ?? changeTimeoutMs(wanted));
    if (change.do !== "delete") return await session.refresh(id);
    // No row comes that would say so.
    database.transaction(() => conversations.setEnded(id));
  }

  async leave(name: string, { timeoutMs }: GroupOptions): Promise<void> {
    const { session, database, conversations } = this.#options, id = this.#groups.find(name);
    await session.engine((engine) => engine.leave(id), timeoutMs);
    // No row comes that would say so.
    database.transaction(() => conversations.endGroup(id));
  }

  /** The open invite link, or a new one. @param options.revoke Closes those there are. */
  async link(
    name: string,
    { revoke = false, timeoutMs = CHANGE_TIMEOUT_MS }: GroupOptions & { readonly revoke?: boolean },
  ): Promise<string> {
    const id = this.#groups.find(name);
    return await this.#options.session.engine((engine) => engine.link(id, { revoke }), timeoutMs);
  }

  /** Asks to be let in. */
  join(link: string, { timeoutMs }: GroupOptions): Promise<ConversationId> {
    return this.#options.session.engine((engine) => engine.join(link), timeoutMs);
  }

  /** With what only its own state tells. */
  async details(name: string, { timeoutMs }: GroupOptions): Promise<GroupDetails> {
    const id = this.#groups.find(name);
    const state = await this.#options.session.engine((engine) => engine.known(id), timeoutMs);
    return this.#groups.details(id, state)!;
  }
}

/** Others may change the group at the same time, and a race that is lost is run again. */
const CHANGE_TIMEOUT_MS = 60_000;
/** More for each of very many who are let in: keys of all of them are fetched and checked. */
function changeTimeoutMs(change: GroupChange): number {
  return CHANGE_TIMEOUT_MS + (change.do === "add" ? change.names.length * 300 : 0);
}
