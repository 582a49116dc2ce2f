import assert from "node:assert/strict";
import type { CopiedMessage } from "../../../client/copies/copied_message.ts";
import { partFault, type PartGiver, type PartPlace } from "../../../client/copies/judge.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { ALICE, BOB, BOBS_DEVICE, idOf } from "../homes.ts";

const NOW = 10_000_000, SINCE = 1_000, MINUTE = 60_000;

function fault(
  { giver = {}, place = {}, entries = [{}] }: {
    readonly giver?: Partial<PartGiver>;
    readonly place?: Partial<PartPlace>;
    readonly entries?: readonly Partial<CopiedMessage>[];
  } = {},
): string | undefined {
  return partFault(
    {
      bundle: idOf(1),
      part: 0,
      parts: 1,
      sinceMs: 0,
      isCut: false,
      entries: entries.map((changes, at) => ({
        seq: at + 1,
        id: idOf(at),
        sender: BOB,
        device: BOBS_DEVICE,
        timeMs: SINCE,
        text: "text",
        ...changes,
      })),
    },
    { user: BOB, isTheirs: true, isMember: true, isNew: false, ...giver },
    { self: ALICE, peer: undefined, historySinceMs: SINCE, nowMs: NOW, ...place },
  );
}

Deno.test("partFault() takes in a group what a member gives of the time in which it shares", () => {
  assert.equal(fault(), undefined);
  assert.equal(fault({ giver: { user: ALICE, isNew: true } }), undefined, "a new device of one's own is a member's");
  assert.equal(fault({ entries: [{ sender: "mallory" as UserName }] }), undefined, "who is out by now said it then");
  assert.match(fault({ giver: { isTheirs: false } })!, /not theirs/);
  assert.match(fault({ giver: { isMember: false } })!, /not in the group/);
  assert.match(fault({ place: { historySinceMs: 0 } })!, /does not share/);
  assert.match(fault({ entries: [{}, { timeMs: SINCE - 1 }] })!, /before the group began/);
  assert.equal(fault({ entries: [{ timeMs: NOW + 10 * MINUTE }] }), undefined, "clocks differ");
  assert.match(fault({ entries: [{ timeMs: NOW + 10 * MINUTE + 1 }] })!, /from the future/);
});

Deno.test("partFault() takes between two people what one's own devices give, which are not new themselves", () => {
  const place = { peer: BOB, historySinceMs: 0 }, own = { user: ALICE, isMember: false };
  assert.equal(fault({ place, giver: own, entries: [{ timeMs: 0 }, { sender: ALICE }] }), undefined);
  assert.match(fault({ place })!, /only your own devices/);
  assert.match(fault({ place, giver: { ...own, isTheirs: false } })!, /not theirs/);
  assert.match(fault({ place, giver: { ...own, isNew: true } })!, /password alone/);
  assert.match(fault({ place, giver: own, entries: [{ sender: "carol" as UserName }] })!, /somebody else/);
});
