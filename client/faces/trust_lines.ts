/** How far people's identities are known, as lines and lists. */
import type { PeerTrust } from "../trust/people.ts";
import { paint } from "../output.ts";
import { trustMark } from "./marks.ts";

/** What whoever begins to talk to somebody should know; empty where there is nothing to tell. */
export function trustLine({ name, trust, wasVerified }: PeerTrust): string {
  switch (trust) {
    case "verified":
      return `* ${name}: ${trustMark(trust)}`;
    case "unverified": {
      const earlier = wasVerified ? `; you had verified an earlier key of ${name}'s, not this one` : "";
      return paint("dim", `* ${name}: unverified${earlier}; /verify shows the number to compare`);
    }
    case "changed":
      return paint(["bold", "red"], `* ${changedText({ name, wasVerified })}`);
    case "unknown":
    case "self":
      return "";
  }
}

/** Behind a name in a list: nothing where there is nothing to stand out. */
export function listMark({ trust }: PeerTrust): string {
  return trust === "verified" || trust === "changed" ? `  ${trustMark(trust)}` : "";
}

function changedText({ name, wasVerified }: Pick<PeerTrust, "name" | "wasVerified">): string {
  const what = wasVerified ? `WARNING: ${name}'s key changed after you had verified it` : `${name}'s key changed`;
  return `${what}. Nothing is sent to ${name}: /verify ${name} to compare the new one, /trust ${name} to accept it`;
}
