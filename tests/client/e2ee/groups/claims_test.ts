/** Whose word of a later epoch counts, and until when (SECURITY M4). */
import assert from "node:assert/strict";
import {
  claimants,
  claimedBy,
  disbelieved,
  inNextEpoch,
  isDisbelieved,
} from "../../../../client/e2ee/groups/claims.ts";
import { Trouble } from "../../../../client/e2ee/groups/state_row.ts";
import { blockedBy } from "../../../../client/e2ee/groups/reasons.ts";
import type { UserName } from "../../../../shared/protocol/mod.ts";

const user = (name: string) => name as UserName;
const members = (...names: string[]) => names.map((name) => ({ user: user(name) }));
const SOUND = { trouble: Trouble.none as number, troubleText: "" };

Deno.test("claimedBy() remembers each who said so, until all of them are out or a person disbelieves them", () => {
  const one = claimedBy(SOUND, user("mallory")), two = claimedBy(claimedBy(one, user("trent")), user("mallory"));
  assert.deepEqual([one.trouble, claimants(one), claimants(two)], [Trouble.withheld, ["mallory"], [
    "mallory",
    "trent",
  ]]);
  assert.match(blockedBy(two)!, /the word of mallory, trent:/);
  assert.equal(inNextEpoch(two, members("alice", "trent")), two);
  assert.deepEqual(inNextEpoch(two, members("alice")), SOUND);
  const after = disbelieved(two)!;
  assert.equal(blockedBy(after), undefined);
  assert.deepEqual(["mallory", "trent", "bob"].map((name) => isDisbelieved(after, user(name))), [true, true, false]);
  assert.equal(isDisbelieved(one, user("mallory")), false, "while it stops this device");
  assert.deepEqual(
    inNextEpoch(after, members("alice", "mallory")),
    SOUND,
    "in the next epoch everybody is believed again",
  );
});

Deno.test("claimedBy() behind a fork does not make it good by somebody's removal", () => {
  const forked = claimedBy({ trouble: Trouble.fork, troubleText: "bob" }, user("mallory"));
  assert.deepEqual([forked.trouble, claimants(forked)], [Trouble.withheld, ["mallory"]]);
  assert.match(blockedBy(forked)!, /the word of mallory:/);
  assert.equal(inNextEpoch(forked, members("alice")), forked);
  assert.equal(disbelieved(forked)!.trouble, Trouble.none, "a person has accepted all of it");
});

Deno.test("claimedBy() of more people than are remembered is not made good by the removal of those", () => {
  let state = SOUND;
  for (let number = 0; number < 40; number++) state = claimedBy(state, user(`${"n".repeat(29)}${number}`));
  assert(state.troubleText.length <= 512);
  assert.equal(inNextEpoch(state, members("alice")), state);
});

Deno.test("disbelieved() leaves what nobody in particular has said, and what is no such trouble", () => {
  assert.equal(disbelieved({ trouble: Trouble.withheld, troubleText: "" }), undefined);
  assert.equal(disbelieved({ trouble: Trouble.rolledBack, troubleText: "" }), undefined);
  assert.equal(disbelieved(SOUND), undefined);
  const rolledBack = { trouble: Trouble.rolledBack, troubleText: "mallory" };
  assert.equal(inNextEpoch(rolledBack, members("alice")), rolledBack);
});
