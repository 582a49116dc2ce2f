import assert from "node:assert/strict";
import { KeyChangedError, UsageError } from "../../../client/errors.ts";
import { KnownServers } from "../../../client/network/known_servers.ts";
import { Pins } from "../../../client/trust/pins.ts";
import { formatServerAddress, parseServerAddress } from "../../../client/network/server_address.ts";
import { formatFingerprint } from "../../../shared/crypto/mod.ts";
import { BOB, withDatabase } from "../homes.ts";

const [one, two, three] = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];
const cluster = new Uint8Array(16).fill(7);

Deno.test("parseServerAddress() reads names, addresses and fingerprints", () => {
  assert.deepEqual(parseServerAddress("Example.org:9000"), { host: "example.org", port: 9000 });
  assert.deepEqual(parseServerAddress("[::1]:9000"), { host: "::1", port: 9000 });
  assert.deepEqual(parseServerAddress(`127.0.0.1:1#${formatFingerprint(one)}`), {
    host: "127.0.0.1",
    port: 1,
    fingerprint: one,
  });
  assert.deepEqual(parseServerAddress(`h:1#${one.toHex()}`).fingerprint, one);
  assert.equal(formatServerAddress({ host: "::1", port: 9000 }), "[::1]:9000");
  assert.equal(formatServerAddress({ host: "h", port: 1 }), "h:1");
});

Deno.test("parseServerAddress() refuses what is none, saying what one is", () => {
  for (
    const text of [
      "",
      "host",
      "host:",
      ":9000",
      "host:0",
      "host:65536",
      "::1:9000",
      "a b:1",
      "h:1#",
      "h:1#x",
      "h:1#a#b",
      "h:-1",
    ]
  ) {
    assert.throws(() => parseServerAddress(text), UsageError, text);
  }
});

Deno.test("KnownServers.accept() pins at first contact and stops at another key", async () => {
  await withDatabase((database) => {
    const servers = new KnownServers(database), server = parseServerAddress("h:1");
    assert.equal(servers.expected(server), undefined);
    assert.equal(servers.accept(server, one), "pinned");
    assert.equal(servers.accept(server, one), "known");
    assert.deepEqual(servers.expected(server), one);
    assert.throws(() => servers.accept(server, two), (error) => {
      assert(error instanceof KeyChangedError);
      assert.equal(error.exitCode, 6);
      for (const word of [formatFingerprint(one), formatFingerprint(two), "fastchat trust --server h:1"]) {
        assert(error.message.includes(word), word);
      }
      return true;
    });
    assert.deepEqual(servers.expected(server), one, "nothing changes until a person says so");
  });
});

Deno.test("KnownServers.trust() accepts the key that was shown, or the one that was named", async () => {
  await withDatabase((database) => {
    const servers = new KnownServers(database), server = parseServerAddress("h:1");
    assert.equal(servers.trust(server), undefined, "a server nobody contacted");
    servers.accept(server, one);
    assert.deepEqual(servers.trust(server), one, "nothing else was shown");
    servers.refuse(server, two);
    assert(servers.hasOffer(server));
    assert.deepEqual(servers.trust(server), two);
    assert(!servers.hasOffer(server));
    assert.equal(servers.accept(server, two), "known");
    assert.deepEqual(servers.trust({ ...server, fingerprint: three }), three);
    assert.deepEqual(servers.expected(server), three);
  });
});

Deno.test("KnownServers.expected() stops where the address names another key than the pinned one", async () => {
  await withDatabase((database) => {
    const servers = new KnownServers(database), server = parseServerAddress("h:1");
    assert.deepEqual(servers.expected({ ...server, fingerprint: two }), two);
    servers.accept(server, one);
    assert.throws(() => servers.expected({ ...server, fingerprint: two }), KeyChangedError);
    assert.deepEqual(servers.expected({ ...server, fingerprint: one }), one);
  });
});

Deno.test("KnownServers.remember() gives back how to reach a cluster", async () => {
  await withDatabase((database) => {
    const servers = new KnownServers(database), server = parseServerAddress("h:1");
    servers.accept(server, one);
    assert.equal(servers.remembered(server), undefined);
    const cluster = { clusterKey: two, token: three, servers: [{ number: 0, host: "", port: 9001 }] };
    servers.remember(server, cluster);
    assert.deepEqual(servers.remembered(server), cluster);
  });
});

Deno.test("Pins.check() pins at first use, by cluster and name", async () => {
  await withDatabase((database) => {
    const pins = new Pins(database, cluster);
    assert.equal(pins.check(BOB, one, 1), "pinned");
    assert.equal(pins.check(BOB, one, 2), "known");
    assert.equal(pins.check(BOB, two, 3), "changed");
    assert.deepEqual([pins.pinned(BOB), pins.offered(BOB)], [one, two]);
    const message = pins.changed(BOB, two).message;
    for (const word of [formatFingerprint(one), formatFingerprint(two), "fastchat trust bob"]) {
      assert(message.includes(word));
    }
    pins.trust(BOB, two, 4);
    assert.deepEqual([pins.pinned(BOB), pins.offered(BOB)], [two, undefined]);
    pins.check(BOB, three, 5);
    pins.check(BOB, two, 5);
    assert.equal(pins.offered(BOB), undefined, "the known one is back: nobody is warned of anything");
    const elsewhere = new Pins(database, new Uint8Array(16));
    assert.equal(elsewhere.check(BOB, three, 5), "pinned", "the same name in another cluster is somebody else");
  });
});

Deno.test("Pins.verify() marks the identity that was compared, and no other", async () => {
  await withDatabase((database) => {
    const pins = new Pins(database, cluster);
    assert.equal(pins.verify(BOB, one, 1), false, "nobody is known");
    assert.equal(pins.state(BOB), undefined);
    pins.check(BOB, one, 1);
    assert.deepEqual(pins.state(BOB), { pinned: one, offered: undefined, verified: "no" });
    assert.equal(pins.verify(BOB, two, 2), false, "another one was compared");
    assert.equal(pins.state(BOB)?.verified, "no");
    assert.equal(pins.verify(BOB, one, 2), true);
    assert.equal(pins.state(BOB)?.verified, "yes");
    assert.deepEqual([...pins.states()], [[BOB, { pinned: one, offered: undefined, verified: "yes" }]]);
    assert.equal(new Pins(database, new Uint8Array(16)).states().size, 0, "the same name in another cluster");
    pins.unverify(BOB);
    assert.equal(pins.state(BOB)?.verified, "no");
  });
});

Deno.test("Pins: a changed identity takes the mark away, and says that there was one", async () => {
  await withDatabase((database) => {
    const pins = new Pins(database, cluster);
    pins.check(BOB, one, 1);
    assert.doesNotMatch(pins.changed(BOB, two).message, /verified/);
    pins.verify(BOB, one, 2);
    pins.check(BOB, two, 3);
    assert.deepEqual(pins.state(BOB), { pinned: one, offered: two, verified: "yes" });
    const { change, message } = pins.changed(BOB, two);
    assert.equal(change.wasVerified, true);
    assert.match(message, /^WARNING: the key of bob, which you had verified/);
    for (const word of [formatFingerprint(one), formatFingerprint(two), "fastchat trust bob", "fastchat verify bob"]) {
      assert(message.includes(word), word);
    }
    assert.equal(pins.verify(BOB, one, 3), false, "not while another one waits to be accepted");
    assert.equal(pins.verify(BOB, two, 3), false);
    pins.trust(BOB, two, 4);
    assert.deepEqual(pins.state(BOB), { pinned: two, offered: undefined, verified: "earlier" });
    assert.doesNotMatch(pins.changed(BOB, three).message, /verified/, "that one was never compared");
    pins.verify(BOB, two, 5);
    assert.equal(pins.state(BOB)?.verified, "yes");
    pins.check(BOB, three, 6);
    pins.check(BOB, two, 7);
    assert.deepEqual(pins.state(BOB), { pinned: two, offered: undefined, verified: "yes" }, "the compared one is back");
  });
});
