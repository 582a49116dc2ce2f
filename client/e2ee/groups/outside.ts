/**
 * Rows that a device meets outside of the group: before it is let in, behind a change that it was not shown, or written by itself
 * later than it knows (SECURITY M4, M11). One placeholder stands for all that it cannot read, and it looks for a way in.
 */
import type { Record } from "../../../shared/protocol/mod.ts";
import { claimedBy, isDisbelieved } from "./claims.ts";
import type { Context } from "./context.ts";
import type { Conversation, Next } from "./conversation.ts";
import type { Joiner } from "./joiner.ts";
import { REFUSED, ROLLED_BACK, withheld } from "./reasons.ts";
import { nothing, refused, type Result, wait } from "./result.ts";
import { type ConversationState, Trouble } from "./state_row.ts";

export class Outside {
  readonly #context: Context;
  readonly #joiner: Joiner;

  constructor(context: Context, joiner: Joiner) {
    this.#context = context;
    this.#joiner = joiner;
  }

  /** A message while this device is not in the group. */
  message(here: Conversation, { seq }: Record): Result {
    const { state } = here, found = this.#joiner.foundBefore(here, seq);
    if (found === undefined) return wait(this.#joiner.look(here.id, seq), PERHAPS_WELCOME);
    if (found !== "none" && !here.isFounding) return wait(this.#joiner.joinLate(here, found), PERHAPS_WELCOME);
    if (state.trouble === Trouble.removed) return { taken: nothing(), next: {} };
    this.#joiner.wantsIn(here);
    const next = { state: { ...state, gapShown: true, missed: state.missed + 1 } };
    return state.gapShown ? { taken: nothing(), next } : { ...refused(REFUSED.before), next };
  }

  /** A commit while this device is not in the group: perhaps the one that lets it in. */
  async commit(here: Conversation, record: Record): Promise<Result> {
    const seen = { ...here.state, lastCommit: record.seq }, found = this.#joiner.foundFor(here.id, record.seq);
    if (found === undefined) return wait(this.#joiner.look(here.id, record.seq), PERHAPS_WELCOME);
    if (found !== "none") return await this.#joiner.joined(here, found, record.sender);
    // Where the log begins behind the commit that lets it in, this one is for it to take as a member.
    const earlier = this.#joiner.foundBefore(here, record.seq);
    // Who is in has no use for it, and would be offered this row for ever.
    if (here.isOut && earlier !== undefined && earlier !== "none" && !here.isFounding) {
      return wait(this.#joiner.joinLate(here, earlier), "There is a Welcome for this device");
    }
    return here.group === undefined || here.isFounding
      ? { taken: nothing(), next: { state: seen } }
      : this.behind(here, record, seen);
  }

  /** A commit of an epoch that is over, while this device can do nothing in its group: perhaps the first one of a group made anew. */
  async anew(here: Conversation, record: Record): Promise<Result> {
    const found = this.#joiner.foundFor(here.id, record.seq);
    if (found === undefined) return wait(this.#joiner.look(here.id, record.seq), PERHAPS_WELCOME);
    if (found !== "none") return await this.#joiner.joined(here, found, record.sender);
    return { taken: nothing(), next: { state: { ...here.state, lastCommit: record.seq } } };
  }

  /** Written in an epoch that this device was not shown. */
  behind(here: Conversation, { device, sender }: Record, state: ConversationState): Result {
    // By this very device, it says: then nobody withheld anything, but this home is an older copy of itself.
    if (device === this.#context.options.self.keys.id) return this.rolledBack(here, state);
    const isMadeUp = isDisbelieved(state, sender);
    const isNew = !isMadeUp && (state.trouble === Trouble.none || state.trouble === Trouble.fork);
    if (!isMadeUp) this.#joiner.wantsIn(here);
    const isWithheld = isNew || state.trouble === Trouble.withheld;
    const claimed = isWithheld ? claimedBy(state, sender) : state;
    const next: Next = { state: { ...claimed, gapShown: true, missed: state.missed + 1 } };
    const warnings = isNew ? [withheld(sender)] : [];
    if (state.gapShown) return { taken: nothing(warnings), next };
    return { taken: { kind: "refused", reason: REFUSED.behind, retryable: false, warnings }, next };
  }

  /** The log holds more of this device than it knows: nothing is sealed until it has a new leaf. */
  rolledBack(here: Conversation, state = here.state): Result {
    const isNew = here.state.trouble !== Trouble.rolledBack;
    this.#joiner.wantsIn(here);
    const next = { state: { ...state, trouble: Trouble.rolledBack, missed: state.missed + 1 } };
    return { taken: nothing(isNew ? [ROLLED_BACK] : []), next };
  }
}

const PERHAPS_WELCOME = "There may be a Welcome for this device";
