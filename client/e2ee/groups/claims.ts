/**
 * Who is said to know a later epoch than this device (SECURITY M4). Nobody who lacks that epoch can check it, so any member can make
 * it up with a row of noise, and all others would stop sending. It holds until this device has been let in again, until all who
 * said so were put out, or until a person says that it is made up: then those people's word about it counts for nothing in this
 * epoch. Kept as the state's `troubleText`. Pure.
 */
import type { UserName } from "../../../shared/protocol/mod.ts";
import { type ConversationState, Trouble } from "./state_row.ts";

type Claimed = Pick<ConversationState, "trouble" | "troubleText">;

/** Whose word stopped this device, or was found to be made up. */
export function claimants({ troubleText }: Pick<Claimed, "troubleText">): UserName[] {
  return words(troubleText).filter((word) => word !== FORKED) as UserName[];
}

/** One more who says it. */
export function claimedBy<S extends Claimed>(state: S, user: UserName): S {
  const before = state.trouble === Trouble.withheld
    ? words(state.troubleText)
    : state.trouble === Trouble.fork
    ? [FORKED]
    : [];
  const names = before.includes(user) || before.length >= NAMES_MAX ? before : [...before, user];
  return { ...state, trouble: Trouble.withheld, troubleText: names.join(" ") };
}

/** Whether a person has said that this one makes it up. */
export function isDisbelieved({ trouble, troubleText }: Claimed, user: UserName): boolean {
  return trouble === Trouble.none && claimants({ troubleText }).includes(user);
}

/** A person says that it is made up; `undefined` where nobody in particular has said it. */
export function disbelieved<S extends Claimed>(state: S): S | undefined {
  return state.trouble === Trouble.withheld && state.troubleText !== ""
    ? { ...state, trouble: Trouble.none }
    : undefined;
}

/** In the next epoch, which this device took: whoever said so and is out says nothing any more. */
export function inNextEpoch<S extends Claimed>(state: S, members: readonly { readonly user: UserName }[]): S {
  if (state.trouble === Trouble.none) return { ...state, troubleText: "" };
  const names = words(state.troubleText);
  // With so many there may be others; and a fork that came before takes a person's word.
  if (state.trouble !== Trouble.withheld || names.length === 0 || names.length >= NAMES_MAX) return state;
  if (names.includes(FORKED)) return state;
  const isThere = names.some((name) => members.some(({ user }) => user === name));
  return isThere ? state : { ...state, trouble: Trouble.none, troubleText: "" };
}

function words(text: string): string[] {
  return text === "" ? [] : text.split(" ");
}

/** No name: it was stopped by a fork before. */
const FORKED = "*";
/** As many as the state has room for. */
const NAMES_MAX = 12;
