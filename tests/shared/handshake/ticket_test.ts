import assert from "node:assert/strict";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import {
  decodeGrant,
  encodeGrant,
  SEALED_BYTES_MAX,
  type TicketKey,
  type TicketKeys,
  type TicketLogin,
  Tickets,
} from "../../../shared/handshake/mod.ts";
import { ACCEPT_HEADER_BYTES } from "../../../shared/packet/mod.ts";
import { flipped, NOW_SECONDS } from "./fixture.ts";

const primitives = await createPrimitives();
const DAY_SECONDS = 24 * 3600;
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const login: fc.Arbitrary<TicketLogin> = fc.record({
  user: fc.stringMatching(/^[a-z0-9._-]{1,32}$/),
  device: bytes(16),
  session: bytes(32),
  generation: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
});
const fresh = fc.record({
  connectionId: bytes(8),
  secret: bytes(32),
  nowSeconds: fc.integer({ min: 0, max: 2 ** 40 }),
});
const [ALICE] = fc.sample(login, 1), [FRESH] = fc.sample(fresh, 1);

function key(first: number): TicketKey {
  return { id: new Uint8Array(8).fill(first), key: new Uint8Array(32).fill(first) };
}

function tickets(...keys: TicketKey[]): Tickets {
  const all: TicketKeys = { sealing: keys[0]!, opening: keys };
  return new Tickets(primitives, () => all);
}

function seal(of: Tickets, nowSeconds = NOW_SECONDS): Uint8Array {
  return of.seal(ALICE!, { ...FRESH!, nowSeconds });
}

Deno.test("Tickets.open() gives back what was sealed, and every ticket is another one", () => {
  const both = tickets(key(1));
  fc.assert(fc.property(login, fresh, (login, fresh) => {
    const sealed = both.seal(login, fresh);
    assert.ok(sealed.length <= SEALED_BYTES_MAX);
    const { nowSeconds, ...rest } = fresh;
    const expected = { ...login, ...rest, issuedSeconds: nowSeconds, expirySeconds: nowSeconds + 7 * DAY_SECONDS };
    assert.deepEqual(both.open(sealed, nowSeconds), expected);
    assert.notDeepEqual(both.seal(login, fresh), sealed);
  }));
});

Deno.test("Tickets.open() refuses every flipped bit and every truncation", () => {
  const both = tickets(key(1)), sealed = seal(both);
  for (let at = 0; at < sealed.length; at++) {
    assert.equal(both.open(flipped(sealed, at, 1 << at % 8), NOW_SECONDS), undefined);
    assert.equal(both.open(sealed.subarray(0, at), NOW_SECONDS), undefined);
  }
  assert.equal(both.open(new Uint8Array(1100), NOW_SECONDS), undefined);
  assert.equal(both.open(new Uint8Array([...sealed, 0]), NOW_SECONDS), undefined);
  assert.ok(both.open(sealed, NOW_SECONDS));
});

Deno.test("Tickets.open() refuses what has expired, and what a clock far ahead has made", () => {
  const both = tickets(key(1)), sealed = seal(both);
  assert.ok(both.open(sealed, NOW_SECONDS + 7 * DAY_SECONDS - 1));
  assert.equal(both.open(sealed, NOW_SECONDS + 7 * DAY_SECONDS), undefined);
  assert.ok(both.open(seal(both, NOW_SECONDS + 7 * DAY_SECONDS), NOW_SECONDS), "clocks differ");
  assert.equal(both.open(seal(both, NOW_SECONDS + 7 * DAY_SECONDS + 1), NOW_SECONDS), undefined);
});

Deno.test("Tickets open with the newest key and the one before, and with no other cluster's", () => {
  const old = seal(tickets(key(1)));
  assert.ok(tickets(key(2), key(1)).open(old, NOW_SECONDS));
  assert.equal(tickets(key(3), key(2)).open(old, NOW_SECONDS), undefined);
  const impostor = { id: key(1).id, key: key(9).key };
  assert.equal(tickets(impostor).open(old, NOW_SECONDS), undefined, "the same name is not the same key");
});

Deno.test("a sealed ticket shows nothing of whose it is, and its longest fits INITIAL and ACCEPT with room for servers", () => {
  const sealed = tickets(key(1)).seal({ ...ALICE!, user: "a-name-of-32-characters-00000000" }, FRESH!);
  const wire = sealed.toHex();
  for (const hidden of [ALICE!.device, ALICE!.session, FRESH!.secret, FRESH!.connectionId]) {
    assert.ok(!wire.includes(hidden.toHex()));
  }
  assert.equal(sealed.length, SEALED_BYTES_MAX);
  assert.ok(ACCEPT_HEADER_BYTES + sealed.length < 300);
});

Deno.test("decodeGrant() gives back what was encoded, and nothing for what is too short", () => {
  fc.assert(fc.property(
    fc.nat(0xffff_ffff),
    fc.nat(0xffff),
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    (lifetimeSeconds, watchMs, ticket) => {
      const grant = { lifetimeSeconds, watchMs, ticket };
      assert.deepEqual(decodeGrant(encodeGrant(grant)), grant);
    },
  ));
  for (let length = 0; length <= 6; length++) assert.equal(decodeGrant(new Uint8Array(length)), undefined);
});
