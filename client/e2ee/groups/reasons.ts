/** Words for what is refused and what is warned of. */
import { formatFingerprint } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { KeyChangedError } from "../../errors.ts";
import type { Warning } from "../engine.ts";
import type { RefusalReason } from "../mls/mod.ts";
import { claimants } from "./claims.ts";
import { type ConversationState, Trouble } from "./state_row.ts";

export const REFUSALS: Readonly<{ [reason in RefusalReason]: string }> = {
  "malformed": "It is damaged",
  "other conversation": "It belongs to another conversation",
  "epoch is gone": "It is too old: the keys for it are gone",
  "does not open": "It was changed on its way, came twice, or was not sealed for this device",
  "other sender": "It names another sender than the device that sealed it",
};

export const REFUSED = {
  newer: "It needs a newer fastchat",
  damaged: "It is damaged",
  before: "Messages before this device was let in cannot be read on it",
  behind: "It was sealed in a state of the group that this device was not shown: a change was withheld from it",
  sender: (name: UserName) => `The server says that ${name} sent it, which is not so`,
  device: "The server names another device than the one that sent it",
  message: "The server names another message than this one",
} as const;

/** Why nothing is sent, for people. */
const BLOCKED: Readonly<Record<number, string>> = {
  [Trouble.withheld]:
    "A change of this conversation was withheld from this device: nothing is sent until it has been let in again",
  [Trouble.rolledBack]:
    "This home is an older copy of itself: nothing is sent until the conversation has been joined again with new keys",
  [Trouble.fork]: "Members of this conversation are shown different things: nothing is sent until you accept that " +
    "(fastchat trust NAME, or trust '#GROUP')",
  [Trouble.removed]: "You are no longer in this conversation",
};

/** Why nothing is sent in a conversation; `undefined` where something may be. */
export function blockedBy(
  { trouble, troubleText }: Pick<ConversationState, "trouble" | "troubleText">,
): string | undefined {
  const why = BLOCKED[trouble];
  const names = trouble === Trouble.withheld ? claimants({ troubleText }).join(", ") : "";
  if (names === "") return why;
  return `${why}. It is the word of ${names}: if that is made up, accept it (fastchat trust NAME, or trust '#GROUP') and put them out`;
}

export const NOT_IN_IT = BLOCKED[Trouble.removed]!;

/** In a direct conversation nobody removes the other one, but for another key of the same name. */
export const PUT_OUT =
  "The other one takes another key for yours, and this device is out of that conversation: compare your " +
  "safety numbers (fastchat verify NAME)";

export const WAITING = "This device is not in that conversation yet: it waits until a device that is lets it in";

export function gap(name: UserName, missing: number): Warning {
  const what = missing === 1 ? "A message" : `${missing} messages`;
  return { code: "gap", name, text: `${what} of ${name} before this one did not arrive` };
}

export function reordered(name: UserName): Warning {
  return { code: "gap", name, text: `This message of ${name} came later than one that was written after it` };
}

export function fork(name: UserName, of: string): Warning {
  return { code: "fork", name, text: `${name} is shown another ${of} than this device: the server may be lying` };
}

export function withheld(name: UserName): Warning {
  const text =
    `A change of this conversation was withheld from this device, or ${name} makes that up; it asks to be let in again`;
  return { code: "withheld", name, text };
}
export const ROLLED_BACK: Warning = {
  code: "rolled-back",
  text: "This home was put back to an earlier state: it joins this conversation again with new keys",
};

/** @param changed What is different from the group that this device knew; empty where nothing is. */
export function rejoined(missed: number, changed = ""): Warning {
  const what = missed === 1 ? "One row" : `${missed} rows`;
  const text = missed === 0
    ? "This device was let in"
    : `This device was let in again; ${what} before that cannot be read`;
  return { code: "rejoined", text: changed === "" ? text : `${text}. The group has changed meanwhile: ${changed}` };
}

export function skippedCommit(reason: string, by: UserName): Warning {
  return {
    code: "skipped-commit",
    text: `A change of the conversation, said to be by ${by}, does not count: ${reason}`,
  };
}

export function keyChanged(name: UserName): Warning {
  return {
    code: "key-changed",
    name,
    text:
      `${name} is in this conversation under a key that is not the trusted one: nothing is sent until you accept it`,
  };
}

/** Of the one who was put out of a direct conversation, for another identity of the same name. */
export function putOut(name: UserName): Warning {
  return {
    code: "key-changed",
    name,
    text:
      `${name} takes another key for yours, and writes to that one from now on: ask them why, in another way than here ` +
      `(fastchat verify ${name})`,
  };
}

export function noKeys(name: UserName): string {
  return `${name} has left no keys to write with yet: it waits until their device was online`;
}

/** Nobody but an admin may put somebody out of a group, so accepting the new key is not enough there. */
export function formerKey(name: UserName, pinned: Uint8Array, inGroup: Uint8Array): KeyChangedError {
  const change = {
    kind: "peer",
    subject: name,
    pinned: formatFingerprint(pinned),
    offered: formatFingerprint(inGroup),
  } as const;
  return new KeyChangedError(
    change,
    `${name} is in this group under a key that is not theirs (any more): nothing is sent until an admin has put that one out. ` +
      `To let ${name} in under the accepted one: fastchat group add GROUP ${name}; to do without them: fastchat group remove GROUP ${name}`,
  );
}

export function welcomeRefused(reason: string): Warning {
  return { code: "welcome-refused", text: `Somebody's Welcome to this conversation was refused: ${reason}` };
}

export function differs(name: UserName, what: string, remedy = ""): Warning {
  const text = `The server ${what} ${name}, which is not what its members agreed on${remedy}`;
  return { code: "members-differ", name, text };
}

export const DISMISSED: Warning = {
  code: "members-differ",
  text: "The server delivers this conversation to you no longer, although nobody who may has removed you",
};
