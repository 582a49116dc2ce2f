/**
 * Whose turn it is to hand a new device what was said before it came, where the group shares that (SECURITY M15): the device that let
 * it in, then other devices of its user, then some of the others. Everybody finds the same order, so that one after the other may
 * see whether somebody was quicker. Pure.
 */
import { sha256 } from "../../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { Change, Member, Roster } from "../mls/mod.ts";

/** A device that has come, and how many others are asked first to give to it. */
export interface Turn {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly turn: number;
}

/**
 * What a commit leaves for one of the members to do; mostly nothing.
 *
 * @param self The device that asks.
 */
export function givingTurns(
  { before, after, change, by, self }: {
    readonly before: Roster;
    readonly after: Roster;
    readonly change: Pick<Change, "added">;
    /** Who made the commit: a device that came in by itself may be that. */
    readonly by: DeviceId;
    readonly self: DeviceId;
  },
): Turn[] {
  if (after.info.historySinceMs === 0) return [];
  const were = new Set(before.members.map(({ device }) => device));
  const staying = after.members.filter(({ device }) => were.has(device));
  if (!staying.some(({ device }) => device === self)) return [];
  return change.added.filter(({ device }) => !were.has(device)).flatMap(({ user, device }) => {
    const turn = orderFor({ user, device }, staying, by).indexOf(self);
    return turn < 0 ? [] : [{ user, device, turn }];
  });
}

function orderFor(comer: { user: UserName; device: DeviceId }, members: readonly Member[], by: DeviceId): DeviceId[] {
  const sorted = (some: readonly Member[]) =>
    some.map(({ device }) => ({ device, place: sha256(ENCODER.encode(`${LABEL} ${comer.device} ${device}`)).toHex() }))
      .sort((one, other) => one.place < other.place ? -1 : 1).map(({ device }) => device);
  const own = sorted(members.filter(({ user }) => user === comer.user));
  const others = sorted(members.filter(({ user }) => user !== comer.user)).slice(0, OTHERS);
  const first = members.some(({ device }) => device === by) ? [by] : [];
  return [...new Set([...first, ...own, ...others])];
}

const LABEL = "fastchat/giver/1";
/** Of a large group nobody but these keeps in mind that somebody came. */
const OTHERS = 3;
const ENCODER = new TextEncoder();
