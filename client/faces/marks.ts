/** How far a message has come, in as few signs as possible. */
import type { MessageState, StateEvent } from "../events.ts";
import { paint } from "../output.ts";
import type { TrustState } from "../trust/people.ts";

/** How many of the other members have a message, and have read it. */
export interface Reach {
  readonly delivered: number;
  readonly read: number;
  readonly members: number;
}

/** Behind a line of one's own: ✓ stored, ✓✓ delivered, ✓✓ read; in a group with how many of how many while it is not all. */
export function mark(state: MessageState, reach?: Reach): string {
  const some = (count: number) => reach !== undefined && reach.members > 1 && count > 0 && count < reach.members;
  switch (state) {
    case "queued":
      return paint("dim", "queued");
    case "stored":
      return paint("green", some(reach?.delivered ?? 0) ? `✓✓ ${reach!.delivered}/${reach!.members}` : "✓");
    case "delivered":
      return some(reach?.read ?? 0) ? paint("cyan", `✓✓ read ${reach!.read}/${reach!.members}`) : paint("green", "✓✓");
    case "read":
      return paint("cyan", "✓✓ read");
    case "failed":
      return paint("red", "not sent");
  }
}

/** Stands for an identity that was compared. */
export const LOCK = "🔒";

/** How far somebody's identity is known, in as few words; nothing of whom one never met, and of oneself. */
export function trustMark(trust: TrustState): string {
  switch (trust) {
    case "verified":
      return paint("green", `${LOCK} verified`);
    case "unverified":
      return paint("dim", "unverified");
    case "changed":
      return paint(["bold", "red"], "! KEY CHANGED");
    case "unknown":
    case "self":
      return "";
  }
}

/** Behind a name where there is room for no more. */
export function trustSign(trust: TrustState): string {
  return trust === "verified" ? ` ${LOCK}` : trust === "changed" ? " !" : "";
}

/** The state of one message, in a line. */
export function stateLine({ id, to, state, delivered, read, members, reason }: StateEvent): string {
  const of = (count: number) => members > 1 ? ` ${count} of ${members}` : "";
  switch (state) {
    case "queued":
      return `${mark(state)} for ${to}, will be sent when the connection is back (${id})`;
    case "stored":
      return `${mark(state)} stored, for ${to}${delivered > 0 ? `; delivered to${of(delivered)}` : ""} (${id})`;
    case "delivered":
      return `${mark(state)} delivered to ${to}${read > 0 ? `; read by${of(read)}` : ""} (${id})`;
    case "read":
      return `${mark(state)} by ${to} (${id})`;
    case "failed":
      return `${mark(state)} to ${to}: ${reason} (${id})`;
  }
}
