import assert from "node:assert/strict";
import * as fc from "fast-check";
import {
  compareLink,
  linkCommitment,
  type LinkComparison,
  type LinkGrant,
  linkLetterPlace,
  type LinkOffer,
  newLinkOpening,
  oldLinkOpening,
  x25519FromPrivate,
} from "../../../shared/crypto/mod.ts";
import { aeadOpen } from "../../../shared/crypto/sealed_bytes.ts";
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER } from "../../keys.ts";
import file from "../../vectors/link_comparison.json" with { type: "json" };

const ALICE = "alice" as UserName;

/** One of the two devices, whose key has 32 bytes of this. */
function oldDevice(seed: number, clusterId = TEST_CLUSTER) {
  const ephemeral = x25519FromPrivate(new Uint8Array(32).fill(seed));
  const opening = oldLinkOpening({ clusterId, ephemeral: ephemeral.publicKey });
  return { ephemeral, opening, commitment: linkCommitment("old", opening) };
}

function newDevice(seed: number, changes: Partial<LinkOffer> = {}) {
  const ephemeral = x25519FromPrivate(new Uint8Array(32).fill(seed));
  const offer: LinkOffer = {
    ephemeral: ephemeral.publicKey,
    device: "12".repeat(16) as DeviceId,
    leafKey: new Uint8Array(32).fill(7),
    envelopeKey: new Uint8Array(100).fill(9),
    ...changes,
  };
  const opening = newLinkOpening(offer);
  return { ephemeral, offer, opening, commitment: linkCommitment("new", opening) };
}

type Old = ReturnType<typeof oldDevice>;
type New = ReturnType<typeof newDevice>;

function between(side: "new" | "old", old: Old, fresh: New, user = ALICE): LinkComparison | undefined {
  return compareLink({
    side,
    user,
    ephemeral: (side === "old" ? old : fresh).ephemeral,
    commitments: { old: old.commitment, new: fresh.commitment },
    openings: { old: old.opening, new: fresh.opening },
  });
}

function grantOf(): LinkGrant {
  return {
    user: ALICE,
    clusterId: TEST_CLUSTER,
    identity: new Uint8Array(32).fill(1),
    identityPem: new TextEncoder().encode("a key file"),
    accountKey: new Uint8Array(32).fill(6),
    salt: new Uint8Array(16).fill(3),
    log2N: 17,
    serial: 2,
  };
}

Deno.test("compareLink() gives both devices the same digits, verdicts and seal, as the vectors have them", () => {
  for (const vector of file.vectors) {
    const hex = (name: "oldPrivate" | "newPrivate" | "clusterId" | "leafKey" | "envelopeKey") =>
      Uint8Array.fromHex(vector[name]);
    const old = oldDevice(hex("oldPrivate")[0]!, hex("clusterId"));
    const fresh = newDevice(hex("newPrivate")[0]!, {
      device: vector.device as DeviceId,
      leafKey: hex("leafKey"),
      envelopeKey: hex("envelopeKey"),
    });
    assert.equal(old.commitment.toHex(), vector.oldCommitment);
    assert.equal(fresh.commitment.toHex(), vector.newCommitment);
    assert.equal(linkLetterPlace("new commitment", old.commitment).toHex(), vector.joining);
    assert.equal(linkLetterPlace("old opening", old.commitment, fresh.commitment).toHex(), vector.opening);
    for (const side of ["new", "old"] as const) {
      const seen = between(side, old, fresh, vector.user as UserName)!;
      assert.equal(seen.digits, vector.digits);
      assert.equal(seen.verdict("new", true).toHex(), vector.newYes);
      assert.equal(seen.verdict("old", false).toHex(), vector.oldNo);
      assert.deepEqual(seen.offer, fresh.offer);
      const aad = new TextEncoder().encode("fastchat/link/2 grant");
      const [key, nonce] = [Uint8Array.fromHex(vector.key), Uint8Array.fromHex(vector.nonce)];
      assert.notEqual(aeadOpen({ key, nonce, aad, sealed: seen.seal(grantOf()) }), undefined);
    }
  }
});

Deno.test("compareLink(): digits are of everything that the two say, and of whose devices they are", () => {
  const old = oldDevice(1), fresh = newDevice(2), { digits } = between("old", old, fresh)!;
  const others = [
    between("old", oldDevice(3), fresh),
    between("old", oldDevice(1, new Uint8Array(16)), fresh),
    between("old", old, newDevice(3)),
    between("old", old, newDevice(2, { device: "13".repeat(16) as DeviceId })),
    between("old", old, newDevice(2, { leafKey: new Uint8Array(32) })),
    between("old", old, newDevice(2, { envelopeKey: new Uint8Array(99).fill(9) })),
    between("old", old, fresh, "bob" as UserName),
  ];
  for (const other of others) assert.notEqual(other!.digits, digits);
  assert.match(digits, /^\d{6}$/);
});

Deno.test("compareLink(): what a device is bound to cannot be changed once it is", () => {
  const old = oldDevice(1), fresh = newDevice(2);
  const judge = (openings: { old: Uint8Array; new: Uint8Array }, ephemeral = old.ephemeral) =>
    compareLink({
      side: "old",
      user: ALICE,
      ephemeral,
      commitments: { old: old.commitment, new: fresh.commitment },
      openings,
    });
  assert.notEqual(judge({ old: old.opening, new: fresh.opening }), undefined);
  assert.equal(judge({ old: old.opening, new: newDevice(3).opening }), undefined);
  assert.equal(judge({ old: oldDevice(3).opening, new: fresh.opening }), undefined);
  assert.equal(judge({ old: fresh.opening, new: old.opening }), undefined, "each in its role");
  assert.equal(judge({ old: old.opening, new: fresh.opening }, fresh.ephemeral), undefined, "with one's own key");
  for (let at = 0; at < fresh.opening.length; at++) {
    const changed = fresh.opening.slice();
    changed[at]! ^= 1;
    assert.equal(judge({ old: old.opening, new: changed }), undefined);
  }
});

Deno.test("compareLink() refuses openings that are none, and keys that agree with every other", () => {
  const old = oldDevice(1), fresh = newDevice(2);
  const bind = (opening: Uint8Array) => ({ ...fresh, opening, commitment: linkCommitment("new", opening) });
  for (const length of [0, 31, 80, fresh.opening.length - 1]) {
    assert.equal(between("old", old, bind(fresh.opening.slice(0, length))), undefined);
  }
  assert.equal(between("old", old, bind(new Uint8Array([...fresh.opening, 0]))), undefined);
  assert.equal(between("old", old, newDevice(2, { ephemeral: new Uint8Array(32) })), undefined);
});

Deno.test("somebody in between, who has to bind himself first, makes the same digits by chance only", () => {
  // Both halves of what he does: towards the one device he is the other one, under keys of his own.
  const seeds = fc.uniqueArray(fc.integer({ min: 1, max: 250 }), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(seeds, ([a, b, c, d]) => {
      const shownNew = between("new", oldDevice(c!), newDevice(b!))!,
        shownOld = between("old", oldDevice(a!), newDevice(d!))!;
      assert.notEqual(shownNew.digits, shownOld.digits);
      assert.equal(shownNew.open(shownOld.seal(grantOf())), undefined);
    }),
    { seed: 20261123, numRuns: 30 },
  );
});

Deno.test("LinkComparison.open() opens what the other device has sealed, once, and nothing else", () => {
  const old = oldDevice(1),
    fresh = newDevice(2),
    ours = between("old", old, fresh)!,
    theirs = between("new", old, fresh)!;
  const sealed = ours.seal(grantOf());
  assert.deepEqual(theirs.open(sealed), grantOf());
  assert.throws(() => ours.seal(grantOf()), /seals one grant/);
  assert.equal(between("new", old, newDevice(3))!.open(sealed), undefined);
  for (let at = 0; at < sealed.length; at += 7) {
    const changed = sealed.slice();
    changed[at]! ^= 1;
    assert.equal(theirs.open(changed), undefined);
  }
  assert.equal(theirs.open(new Uint8Array(3)), undefined);
});
