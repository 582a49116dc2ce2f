/** Why a device may be removed by anybody (SECURITY M5): what a commit cites, looked up in what this device has read. Pure. */
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { CommitNotes, Grounds, IdentityOf, MayComeIn } from "../mls/mod.ts";
import type { KeyLogView } from "./options.ts";
import type { ConversationState } from "./state_row.ts";

/**
 * The grounds that the notes of a commit give.
 *
 * A leave notice before this device came in is one that it cannot read: then what the leaver has signed counts, which the commit
 * repeats. A number alone would let anybody put out anybody, for all who came in behind that row.
 *
 * @param leavers Who has signed that they leave, by the notes' proofs.
 */
export function groundsOf(
  { leaves: cited, keyLogEntries }: CommitNotes,
  { leaves }: Pick<ConversationState, "leaves">,
  keyLog: Pick<KeyLogView, "isRevoked">,
  leavers: ReadonlySet<UserName>,
): Grounds {
  return ({ user, device }) =>
    leavers.has(user) || leaves.some((leave) => leave.user === user && cited.includes(leave.seq)) ||
    (keyLogEntries > 0 && keyLog.isRevoked(user, device, keyLogEntries));
}

/** Which devices may come in by themselves, as far as their commit has read the key log (SECURITY P9). */
export function comersOf({ keyLogEntries }: CommitNotes, keyLog: KeyLogView): MayComeIn {
  return (user, device) => keyLog.isUsable(user as UserName, device as DeviceId, keyLogEntries);
}

/** By which identities people go, as far as a commit has read the key log. */
export function identitiesOf({ keyLogEntries }: CommitNotes, keyLog: KeyLogView): IdentityOf {
  return (user, identity) =>
    keyLogEntries === 0 ? identity : keyLog.identityOf(user as UserName, identity, keyLogEntries);
}
