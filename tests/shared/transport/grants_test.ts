import assert from "node:assert/strict";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { decodeGrant, type TicketLogin, Tickets } from "../../../shared/handshake/mod.ts";
import { type Granted, Grants } from "../../../shared/transport/grants.ts";

const primitives = await createPrimitives();
const LOGIN: TicketLogin = {
  user: "alice",
  device: new Uint8Array(16).fill(1),
  session: new Uint8Array(32).fill(2),
  generation: 3,
};
const WALL_SECONDS = 1_800_000_000, SECOND_US = 1_000_000;

/** A server whose clients and keys are what the test says. */
function setUp() {
  const now = { clients: 1, key: 1 };
  const keyOf = (n: number) => ({ id: new Uint8Array(8).fill(n), key: new Uint8Array(32).fill(n) });
  const tickets = new Tickets(primitives, () => ({ sealing: keyOf(now.key), opening: [keyOf(now.key)] }));
  const grants = new Grants({ tickets, wallSeconds: () => WALL_SECONDS, clients: () => now.clients });
  const connection = { connectionId: new Uint8Array(8).fill(4), secret: new Uint8Array(32).fill(5) };
  return { now, tickets, connection, make: (nowUs: number) => grants.make(LOGIN, { ...connection, nowUs }), grants };
}

Deno.test("Grants.make() gives a ticket that says who the client is, and remembers only that", () => {
  const { tickets, connection, make } = setUp();
  const { bytes, granted } = make(0), { ticket, lifetimeSeconds } = decodeGrant(bytes)!;
  assert.equal(lifetimeSeconds, 7 * 24 * 3600);
  const { issuedSeconds, expirySeconds, ...opened } = tickets.open(ticket, WALL_SECONDS)!;
  assert.deepEqual([issuedSeconds, expirySeconds], [WALL_SECONDS, WALL_SECONDS + lifetimeSeconds]);
  assert.deepEqual(opened, { ...LOGIN, ...connection });
  assert.deepEqual(granted.login, LOGIN);
});

Deno.test("Grants.make() lets clients look less often the more of them there are", () => {
  const { now, make } = setUp();
  const watchMs = (clients: number) => {
    now.clients = clients;
    return decodeGrant(make(0).bytes)!.watchMs;
  };
  assert.deepEqual([1, 300, 301, 5_000, 15_000, 60_000].map(watchMs), [300, 300, 301, 5_000, 15_000, 15_000]);
});

Deno.test("Grants.isStale() asks for another where the ticket keys changed", () => {
  const { now, make, grants } = setUp(), { granted } = make(0);
  assert.equal(grants.isStale(granted, 60 * SECOND_US), false);
  now.key = 2;
  assert.equal(grants.isStale(granted, 120 * SECOND_US), true);
  const next = make(120 * SECOND_US).granted;
  assert.equal(grants.isStale(next, 180 * SECOND_US), false);
});

Deno.test("Grants.isStale() looks at most every ten seconds", () => {
  const { now, make, grants } = setUp(), { granted } = make(0);
  now.key = 2;
  assert.equal(grants.isStale(granted, 10 * SECOND_US - 1), false);
  assert.equal(grants.isStale(granted, 10 * SECOND_US), true);
  assert.equal(grants.isStale(granted, 20 * SECOND_US - 1), false);
});

Deno.test("Grants.isStale() holds looks near what a server wants, however clients came and went", () => {
  const property = fc.property(fc.array(fc.integer({ min: 0, max: 15_000 }), { maxLength: 20 }), (sizes) => {
    const { now, make, grants } = setUp(), held: Granted[] = [];
    let nowUs = 0;
    // Each step: so many clients are here, all of them are heard from, whoever is new is given a grant.
    for (const size of sizes) {
      held.length = Math.min(held.length, size);
      now.clients = size;
      nowUs += 10 * SECOND_US;
      const sample = held.length;
      for (let i = 0; i < sample; i++) if (grants.isStale(held[i]!, nowUs)) held[i] = make(nowUs).granted;
      // A hundred stand for all.
      while (held.length < Math.min(size, 100)) held.push(make(nowUs).granted);
      const looksPerSecond = held.reduce((sum, { watchMs }) => sum + 1000 / watchMs, 0) * size /
        Math.max(1, held.length);
      assert(looksPerSecond <= 2010, `${looksPerSecond} a second by ${size} clients`);
    }
  });
  fc.assert(property, { numRuns: 30 });
});
