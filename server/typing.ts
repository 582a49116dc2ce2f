/**
 * That somebody types: from a connection to the servers of the other members, if the person is a member.
 *
 * Who the members are is looked up once and remembered for a minute. What comes while that is under way is dropped: the
 * client says it again.
 */
import type { Clock } from "../shared/net/clock.ts";
import type { ConversationId, DeviceId, UserName } from "../shared/protocol/mod.ts";
import type { Bus, GroupNews } from "./bus/bus.ts";
import type { Session } from "./sessions.ts";
import { ConversationKind } from "./store/groups.ts";
import type { Store } from "./store/store.ts";

export interface TypingOptions {
  readonly store: Pick<Store, "conversations" | "members">;
  readonly bus: Pick<Bus, "hint">;
  readonly clock: Clock;
}

export class Typing {
  readonly #options: TypingOptions;
  /** By user and conversation, the oldest first; without members where the user is none, or while they are looked up. */
  readonly #members = new Map<string, { readonly members: readonly UserName[]; readonly untilUs: number }>();

  constructor(options: TypingOptions) {
    this.#options = options;
  }

  /** Never throws, and never waits where the members are known. */
  async typed(
    { user, device }: Pick<Session, "user" | "device">,
    conversation: ConversationId,
    active: boolean,
  ): Promise<void> {
    const key = `${conversation} ${user}`, known = this.#members.get(key);
    if (known !== undefined && this.#options.clock.nowUs() < known.untilUs) {
      return this.#tell(conversation, user, known.members, active);
    }
    this.#keep(key, []);
    try {
      const members = await this.#lookUp(user, device, conversation);
      this.#keep(key, members);
      this.#tell(conversation, user, members, active);
    } catch {
      // The store is busy changing hands; typing is not worth a second question.
      this.#members.delete(key);
    }
  }

  /** Who was dismissed neither says any more that they type, nor sees it of others. */
  membersChanged(news: GroupNews): void {
    if (news.type !== "dismissed") return;
    for (const key of this.#members.keys()) if (key.startsWith(news.conversation)) this.#members.delete(key);
  }

  #tell(conversation: ConversationId, user: UserName, members: readonly UserName[], active: boolean): void {
    if (members.length > 0) this.#options.bus.hint({ conversation, user, members, active });
  }

  /** The page of the user's conversations that begins with this one, if it is theirs. */
  async #lookUp(user: UserName, device: DeviceId, conversation: ConversationId): Promise<readonly UserName[]> {
    const [head] = await this.#options.store.conversations(user, device, before(conversation), 1);
    if (head?.conversation !== conversation) return [];
    if (head.kind === ConversationKind.Direct) return head.members;
    const members = await this.#options.store.members(user, conversation, "", TYPING_MEMBERS_MAX + 1) ?? [];
    return members.length > TYPING_MEMBERS_MAX ? [] : members;
  }

  #keep(key: string, members: readonly UserName[]): void {
    this.#members.delete(key);
    this.#members.set(key, { members, untilUs: this.#options.clock.nowUs() + MEMBERS_AGE_US_MAX });
    if (this.#members.size > MEMBERS_MAX) this.#members.delete(this.#members.keys().next().value!);
  }
}

/** The id just below. */
function before(conversation: ConversationId): ConversationId | undefined {
  const number = BigInt(`0x${conversation}`);
  return number === 0n ? undefined : (number - 1n).toString(16).padStart(32, "0") as ConversationId;
}

/** Hints of one connection: typing takes one every three seconds, in as many conversations as a person has hands for. */
export const HINTS_PER_SECOND = 4;
export const HINTS_BURST = 8;
/** In larger groups nobody is told who types. */
const TYPING_MEMBERS_MAX = 256;
const MEMBERS_AGE_US_MAX = 60_000_000;
const MEMBERS_MAX = 16_384;
