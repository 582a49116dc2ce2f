import assert from "node:assert/strict";
import {
  formatLinkCode,
  linkCode,
  type LinkGrant,
  type LinkOffer,
  linkPlace,
  openLinkGrant,
  openLinkOffer,
  parseLinkCode,
  sealLinkGrant,
  sealLinkOffer,
  x25519FromPrivate,
} from "../../../shared/crypto/mod.ts";
import { TEST_CLUSTER, testKeys } from "../../keys.ts";

const pair = x25519FromPrivate(new Uint8Array(32).fill(7)), other = x25519FromPrivate(new Uint8Array(32).fill(8));

async function offerOf(): Promise<LinkOffer> {
  const { alice2 } = await testKeys();
  return {
    ephemeral: pair.publicKey,
    device: alice2.id,
    leafKey: alice2.leaf.publicKey,
    envelopeKey: alice2.envelopeKey,
  };
}

async function grantOf(): Promise<LinkGrant> {
  const { alice } = await testKeys();
  return {
    user: alice.user,
    clusterId: TEST_CLUSTER,
    identity: alice.identity.fingerprint,
    identityPem: new TextEncoder().encode("a key file"),
    accountKey: new Uint8Array(32).fill(6),
    salt: new Uint8Array(16).fill(3),
    log2N: 17,
    serial: 2,
  };
}

Deno.test("linkCode() is 26 characters of every key in the offer, read in any form that people type", async () => {
  const offer = await offerOf(), code = linkCode(offer);
  assert.match(code, /^[0-9A-HJKMNP-TV-Z]{26}$/);
  // Computed apart from this code: §18.
  assert.equal(code, "NE1WKDTQE3A2ZSVEEWFBF31A6J");
  for (
    const changed of [
      { ...offer, ephemeral: other.publicKey },
      { ...offer, leafKey: other.publicKey },
      { ...offer, device: "0".repeat(32) as typeof offer.device },
      { ...offer, envelopeKey: offer.envelopeKey.slice(1) },
    ]
  ) assert.notEqual(linkCode(changed), code);
  const shown = formatLinkCode(code);
  for (const typed of [code, shown, shown.toLowerCase(), ` ${shown.replaceAll("-", "  ")} `]) {
    assert.equal(parseLinkCode(typed), code);
  }
  assert.equal(parseLinkCode("OIL".padEnd(26, "0")), "011".padEnd(26, "0"));
  for (const bad of ["", code.slice(1), code + "0", "U" + code.slice(1)]) assert.equal(parseLinkCode(bad), undefined);
});

Deno.test("openLinkOffer() opens the very offer whose code it is given, and nothing else", async () => {
  const offer = await offerOf(), code = linkCode(offer), sealed = sealLinkOffer(offer);
  assert.deepEqual(openLinkOffer(sealed, code), offer);
  const another = linkCode({ ...offer, ephemeral: other.publicKey });
  assert.equal(openLinkOffer(sealed, another), undefined);
  assert.notDeepEqual(linkPlace(code), linkPlace(another));
  for (let at = 0; at < sealed.length; at += 7) {
    const changed = sealed.slice();
    changed[at]! ^= 1;
    assert.equal(openLinkOffer(changed, code), undefined);
  }
  assert.equal(openLinkOffer(new Uint8Array(3), code), undefined);
});

Deno.test("openLinkGrant() opens what was sealed for that offer by somebody who has the code", async () => {
  const offer = await offerOf(), grant = await grantOf(), sealed = sealLinkGrant(grant, offer)!;
  assert.deepEqual(openLinkGrant(sealed, offer, pair), grant);
  assert.notDeepEqual(sealLinkGrant(grant, offer), sealed, "another key each time");
  assert.equal(openLinkGrant(sealed, offer, other), undefined);
  // A server that knows every public key, but not the code, cannot have made it.
  const forged = sealLinkGrant(grant, { ...offer, device: "0".repeat(32) as typeof offer.device })!;
  assert.equal(openLinkGrant(forged, offer, pair), undefined);
  for (let at = 0; at < sealed.length; at += 11) {
    const changed = sealed.slice();
    changed[at]! ^= 1;
    assert.equal(openLinkGrant(changed, offer, pair), undefined);
  }
  assert.equal(openLinkGrant(sealed.subarray(0, 20), offer, pair), undefined);
  assert.equal(sealLinkGrant(grant, { ...offer, ephemeral: new Uint8Array(32) }), undefined, "a key that is none");
});
