/**
 * Whether a part of history that somebody handed to this device is taken (SECURITY M15). Judged by what this device knows of the
 * conversation itself, never by what the server says. Pure.
 */
import type { UserName } from "../../shared/protocol/mod.ts";
import type { BundlePart } from "./bundle.ts";

/** Who gave it, by the signature on it. */
export interface PartGiver {
  readonly user: UserName;
  /** Whether that device is one of theirs now, and by the identity that counts for them. */
  readonly isTheirs: boolean;
  /** Whether the conversation's own state has that very device among its members'. */
  readonly isMember: boolean;
  /** Certified by password alone, and not a day ago: it is not believed yet (SECURITY P9). */
  readonly isNew: boolean;
}

export interface PartPlace {
  readonly self: UserName;
  /** The other one of a direct conversation; `undefined` for a group. */
  readonly peer: UserName | undefined;
  /** Of a group: since when it shares what is said; 0 where it does not. */
  readonly historySinceMs: number;
  readonly nowMs: number;
}

/** Why it is not taken, as a clause for people; `undefined` where it is. */
export function partFault({ entries }: BundlePart, giver: PartGiver, place: PartPlace): string | undefined {
  if (!giver.isTheirs) return "it is by a device that is not theirs";
  if (place.peer === undefined) {
    if (!giver.isMember) return "they are not in the group";
    if (place.historySinceMs === 0) return "the group does not share what was said before";
    if (entries.some(({ timeMs }) => timeMs < place.historySinceMs)) {
      return "it has messages from before the group began to share them";
    }
  } else {
    const { self, peer } = place;
    if (giver.user !== self) return "in a conversation of two only your own devices hand on what was said";
    if (giver.isNew) return "it is by a device that was added with your password alone, a short while ago";
    if (entries.some(({ sender }) => sender !== self && sender !== peer)) return "it has messages of somebody else";
  }
  if (entries.some(({ timeMs }) => timeMs > place.nowMs + CLOCKS_MS)) return "it has messages from the future";
  return undefined;
}

/** Nobody's clock is right. */
const CLOCKS_MS = 10 * 60_000;
