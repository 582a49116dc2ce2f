import assert from "node:assert/strict";
import { CloseCode } from "../../../shared/errors.ts";
import { HANDSHAKE_TIMEOUT_US } from "../../../shared/limits.ts";
import { connectionIdServer, decodeRetry, PacketType, RetryReason } from "../../../shared/packet/mod.ts";
import { RESET_BYTES } from "../../../shared/transport/stateless_reset.ts";
import { DEFAULT_RSA_LIMITS, type Link } from "../../../shared/transport/mod.ts";
import { type Node, type Packet, World } from "./endpoint_world.ts";

const linkOf = (node: Node): Link | undefined => [...node.endpoint.links()][0];
const isConfirmed = (node: Node) => node.events.some(({ event }) => event.type === "confirmed");
const closeOf = (node: Node) => {
  const closed = node.events.map(({ event }) => event).find((event) => event.type === "closed");
  return closed?.type === "closed" ? closed.reason : undefined;
};
const isInitial = (packet: Packet) => packet.bytes[0] === PacketType.initial;
const isAccept = (packet: Packet) => packet.bytes[0] === PacketType.accept;

/** A server, a client, and the client's connection on both sides. */
async function connected(seed = 1) {
  const world = await World.create(seed);
  const server = world.server(5);
  const client = world.client("192.0.2.7", server);
  assert(world.run(() => isConfirmed(client) && isConfirmed(server)));
  return { world, server, client, atClient: linkOf(client)!, atServer: linkOf(server)! };
}

function say(world: World, node: Node, link: Link, text: string): number {
  const id = link.connection.openStream();
  link.connection.write(id, new TextEncoder().encode(text), true);
  node.endpoint.touch(link);
  world.poll(node);
  return id;
}

function heard(node: Node, link: Link): string[] {
  return node.events.flatMap(({ link: of, event }) => {
    if (of !== link || event.type !== "readable") return [];
    const bytes = link.connection.read(event.id);
    return bytes === undefined ? [] : [new TextDecoder().decode(bytes)];
  });
}

Deno.test("ServerEndpoint and ClientEndpoint shake hands and agree on bind, id and data", async () => {
  const { world, server, client, atClient, atServer } = await connected();
  assert.deepEqual(atClient.bind, atServer.bind);
  assert.deepEqual(atClient.connectionId, atServer.connectionId);
  assert.equal(connectionIdServer(atServer.connectionId), 5);
  assert.deepEqual(client.endpoint.connected!.servers, [{ number: 5, host: "", port: 9005 }]);
  say(world, client, atClient, "hello");
  assert(world.run(() => server.events.some(({ event }) => event.type === "finished" || event.type === "readable")));
  assert.deepEqual(heard(server, atServer), ["hello"]);
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("ServerEndpoint keeps nothing for a sender without a token: a RETRY, smaller than its question", async () => {
  const world = await World.create(2);
  const server = world.server(5);
  let first: Packet | undefined;
  world.filter = (packet) => {
    if (isInitial(packet)) first ??= packet;
    return !isInitial(packet) || packet === first;
  };
  const client = world.client("192.0.2.7", server, new Uint8Array(0));
  assert(world.run(() => server.sent.length > 0));
  const [answer] = server.sent;
  assert.equal(decodeRetry(answer!.bytes)!.reason, RetryReason.token);
  assert(answer!.bytes.length <= 120);
  assert.equal(server.endpoint.size, 0);
  assert.equal(world.rsaDecryptions, 0);
  world.filter = () => true;
  assert(world.run(() => isConfirmed(client)), "The client comes back with the token");
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("ServerEndpoint refuses a token that was made for another address", async () => {
  const world = await World.create(3);
  const server = world.server(5);
  world.client("192.0.2.7", server, world.token("192.0.2.8"));
  assert(world.run(() => server.sent.length > 0));
  assert.equal(decodeRetry(server.sent[0]!.bytes)!.reason, RetryReason.token);
  assert.equal(world.rsaDecryptions, 0);
});

Deno.test("handshakes come about with 30 % loss each way", async () => {
  let succeeded = 0;
  for (let seed = 100; seed < 120; seed++) {
    const world = await World.create(seed);
    world.loss = 0.3;
    const server = world.server(5);
    const client = world.client("192.0.2.7", server);
    if (!world.run(() => isConfirmed(client) && isConfirmed(server), HANDSHAKE_TIMEOUT_US)) continue;
    succeeded++;
    assert.equal(world.rsaDecryptions, 1, "One INITIAL, however often it is repeated, costs one decryption");
    assert.equal(server.endpoint.size, 1);
  }
  assert(succeeded >= 19, `${succeeded} of 20`);
});

Deno.test("a repeated INITIAL gets the same ACCEPT while unconfirmed, and nothing afterwards", async () => {
  const world = await World.create(4);
  const server = world.server(5);
  let initial: Packet | undefined;
  // The client hears nothing yet, so the connection stays unconfirmed.
  world.filter = (packet) => {
    if (isInitial(packet)) initial ??= packet;
    return !isAccept(packet);
  };
  const client = world.client("192.0.2.7", server);
  assert(world.run(() => server.sent.length > 0));
  for (let i = 0; i < 5; i++) world.deliver(initial!);
  world.deliver({ ...initial!, from: { host: "192.0.2.7", port: 1 } });
  const accepts = server.sent.filter(isAccept);
  assert.equal(accepts.length, 7);
  for (const { bytes } of accepts) assert.deepEqual(bytes, accepts[0]!.bytes);
  assert.equal(world.rsaDecryptions, 1);
  assert.equal(server.endpoint.size, 1);
  world.filter = () => true;
  assert(world.run(() => isConfirmed(client) && isConfirmed(server)));
  const before = server.sent.length;
  for (let i = 0; i < 5; i++) world.deliver(initial!);
  assert.equal(server.sent.length, before);
  assert.equal(server.endpoint.size, 1);
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("a ciphertext in another INITIAL is not decrypted twice", async () => {
  const world = await World.create(5);
  const server = world.server(5);
  let initial: Packet | undefined;
  world.filter = (packet) => {
    if (isInitial(packet)) initial ??= packet;
    return true;
  };
  world.client("192.0.2.7", server);
  assert(world.run(() => isConfirmed(server)));
  const bytes = initial!.bytes.slice();
  // Byte 40 lies in the ephemeral key: another INITIAL with the same RSA ciphertext.
  bytes[40]! ^= 1;
  world.deliver({ ...initial!, bytes });
  world.pass(1_000_000);
  assert.equal(world.rsaDecryptions, 1);
  assert.equal(server.endpoint.size, 1);
});

Deno.test("a failed decryption is silent and leaves nothing behind", async () => {
  const world = await World.create(6);
  world.isRsaBroken = true;
  const server = world.server(5);
  const client = world.client("192.0.2.7", server);
  assert(world.run(() => client.endpoint.failure !== undefined));
  assert.equal(client.endpoint.failure!.why, "timeout");
  assert.equal(client.endpoint.failure!.reason.code, CloseCode.handshakeTimeout);
  assert.equal(server.sent.length, 0);
  assert.equal(server.endpoint.size, 0);
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("an unconfirmed connection is forgotten after the handshake timeout", async () => {
  const world = await World.create(7);
  const server = world.server(5);
  world.filter = (packet) => !isAccept(packet);
  world.client("192.0.2.7", server);
  assert(world.run(() => server.endpoint.size === 1));
  world.pass(HANDSHAKE_TIMEOUT_US - 100_000);
  assert.equal(server.endpoint.size, 1);
  world.pass(200_000);
  assert.equal(server.endpoint.size, 0);
  assert.equal(server.endpoint.nextDeadlineUs(), undefined);
});

Deno.test("closed connections are forgotten on both sides, and their slots are used again", async () => {
  const world = await World.create(8);
  const server = world.server(5, { connectionsMax: 3 });
  const ids = new Set<string>();
  for (let i = 0; i < 12; i++) {
    const client = world.client(`192.0.2.${i}`, server);
    assert(world.run(() => isConfirmed(client)), `Client ${i}`);
    const link = linkOf(client)!;
    ids.add(link.connectionId.toHex());
    link.connection.close(CloseCode.none, "Bye", world.nowUs);
    client.endpoint.touch(link);
    world.poll(client);
    assert(world.run(() => server.endpoint.size === 0 && linkOf(client) === undefined));
    world.remove(client);
  }
  assert.equal(ids.size, 12);
});

Deno.test("a full server says busy, and a client that comes again gets in when there is room", async () => {
  const world = await World.create(9);
  const server = world.server(5, { connectionsMax: 1 });
  const first = world.client("192.0.2.1", server);
  assert(world.run(() => isConfirmed(first)));
  const second = world.client("192.0.2.2", server);
  world.pass(500_000);
  assert.equal(server.endpoint.counters.busy > 0, true);
  assert.equal(server.endpoint.size, 1);
  assert.equal(world.rsaDecryptions, 1, "A full server spends no RSA");
  const link = linkOf(first)!;
  link.connection.close(CloseCode.none, "", world.nowUs);
  first.endpoint.touch(link);
  world.poll(first);
  assert(world.run(() => isConfirmed(second), HANDSHAKE_TIMEOUT_US));
});

Deno.test("two who race for the last place: one is decrypted, the other gets in later with the same INITIAL", async () => {
  const world = await World.create(11);
  const server = world.server(5, { connectionsMax: 1 });
  const clients = [world.client("192.0.2.1", server), world.client("192.0.2.2", server)];
  world.pass(300_000);
  assert.equal(world.rsaDecryptions, 1, "A decrypted INITIAL that is turned away could never come again");
  const inside = clients.find(isConfirmed)!, outside = clients.find((client) => client !== inside)!;
  const link = linkOf(inside)!;
  link.connection.close(CloseCode.none, "", world.nowUs);
  inside.endpoint.touch(link);
  world.poll(inside);
  assert(world.run(() => isConfirmed(outside), HANDSHAKE_TIMEOUT_US));
});

Deno.test("RSA is bounded per address, in flight and queued", async () => {
  const world = await World.create(10);
  const server = world.server(5, {
    rsa: {
      ...DEFAULT_RSA_LIMITS,
      inFlightMax: 2,
      queuedMax: 4,
      perAddress: { perSecond: 3, burst: 8 },
      ceiling: { perSecond: 1000, burst: 1000 },
    },
  });
  // Ports differ, the address is one; and neighbours in one /64 count as one.
  for (let i = 0; i < 20; i++) world.client(`2001:db8::${(i + 1).toString(16)}`, server);
  world.pass(100_000);
  // Eight of the twenty are within the burst; two of those had to give way in the queue.
  assert.equal(world.rsaDecryptions, 6);
  assert.equal(server.endpoint.counters.busy, 14);
  const other = world.client("2001:db8:0:1::1", server);
  assert(world.run(() => isConfirmed(other), 500_000), "Another network is not affected");
});

Deno.test("wrong ids find nothing: another server's, another slot's, other random bits", async () => {
  const { world, server, client, atClient, atServer } = await connected(11);
  say(world, client, atClient, "one");
  const packet = client.sent.findLast(({ bytes }) => bytes[0]! >= 0x40)!;
  const before = { ...atServer.connection.stats };
  for (let at = 1; at < 9; at++) {
    const bytes = packet.bytes.slice();
    bytes[at]! ^= 0x10;
    assert.equal(server.endpoint.handleDatagram(bytes, client.address, world.nowUs), undefined);
  }
  assert.equal(atServer.connection.stats.datagramsReceived, before.datagramsReceived);
  world.poll(server);
  assert(world.run(() => heard(server, atServer).includes("one")));
});

Deno.test("a server that lost its memory resets the client at once", async () => {
  const { world, server, client, atClient } = await connected(12);
  world.remove(server);
  const reborn = world.server(5);
  assert.equal(reborn.address.port, server.address.port);
  say(world, client, atClient, "a message that is longer than a reset");
  assert(world.run(() => closeOf(client) !== undefined, 1_000_000));
  assert.equal(closeOf(client)!.code, CloseCode.reset);
  assert.equal(reborn.endpoint.counters.resets >= 1, true);
  assert(reborn.sent.every(({ bytes }) => bytes.length === RESET_BYTES));
});

Deno.test("even a PING learns that the server lost its memory", async () => {
  const { world, server, client, atClient } = await connected();
  world.remove(server);
  world.server(5);
  atClient.connection.ping();
  client.endpoint.touch(atClient);
  world.poll(client);
  assert(world.run(() => closeOf(client) !== undefined, 1_000_000), "A short packet is never answered by a reset");
  assert.equal(closeOf(client)!.code, CloseCode.reset);
});

Deno.test("resets: never for a live id, another server's id or a short packet; always shorter; at a limited rate", async () => {
  const { world, server, client, atClient } = await connected(13);
  const before = server.sent.length;
  const unknown = (length: number, change: (bytes: Uint8Array) => void = () => {}) => {
    const bytes = world.prng.bytes(length);
    bytes[0] = 0x40;
    bytes.set(atClient.connectionId.subarray(0, Math.min(8, length - 1)), 1);
    if (length > 8) bytes[8]! ^= 0xff;
    change(bytes);
    world.deliver({ bytes, from: client.address, to: server.address });
  };
  unknown(100, (bytes) => bytes.set(atClient.connectionId, 1)); // The live id: a packet that does not open.
  unknown(100, (bytes) => bytes[1] = 6); // Another server's.
  for (let length = 1; length <= 43; length++) unknown(length);
  assert.equal(server.sent.length, before, "None of these is answered");
  for (let i = 0; i < 1000; i++) unknown(44 + i % 1157);
  const resets = server.sent.slice(before);
  assert.equal(resets.length, 100, "The burst, and no more");
  for (const { bytes } of resets) {
    assert.equal(bytes.length, RESET_BYTES);
    assert.equal(bytes[0]! & 0xfe, 0x40);
  }
  world.pass(1_000_000);
  unknown(60);
  assert.equal(server.sent.length, before + 101, "The rate has recovered");
});

Deno.test("a reset answers no reset: two servers cannot keep one another busy", async () => {
  const { world, server } = await connected(14);
  const other = world.server(6);
  const bytes = world.prng.bytes(100);
  bytes[0] = 0x40;
  bytes[1] = 6;
  world.deliver({ bytes, from: server.address, to: other.address });
  world.pass(1_000_000);
  assert.equal(other.sent.length, 1);
  assert.equal(server.sent.filter(({ to }) => to.port === other.address.port).length, 0);
});

Deno.test("SECURITY test 7: replays, stripped versions and a stolen id leave a session as it is, and earn no more than they cost", async () => {
  const world = await World.create(15);
  const servers = [1, 2, 3].map((number) => world.server(number));
  const [server] = servers as [typeof servers[number]];
  const seen: Packet[] = [];
  world.filter = (packet) => {
    seen.push({ ...packet, bytes: packet.bytes.slice() });
    return true;
  };
  const client = world.client("192.0.2.7", server);
  assert(world.run(() => isConfirmed(client) && isConfirmed(server)));
  const atClient = linkOf(client)!, atServer = linkOf(server)!;
  say(world, client, atClient, "before");
  assert(world.run(() => heard(server, atServer).includes("before")));
  world.pass(1_000_000);

  const attacker = { host: "192.0.2.7", port: 6666 };
  const fromClient = seen.filter(({ from }) => from === client.address);
  const sentBefore = servers.map(({ sent }) => sent.length);
  let bytesIn = 0;
  for (const target of servers) {
    for (const packet of fromClient) {
      for (const variant of [packet.bytes, stripVersions(packet.bytes)]) {
        bytesIn += variant.length;
        world.deliver({ bytes: variant, from: attacker, to: target.address });
      }
    }
  }
  world.pass(2_000_000);
  const bytesOut = servers.flatMap(({ sent }, i) => sent.slice(sentBefore[i]))
    .filter(({ to }) => to.port === attacker.port)
    .reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert(bytesOut <= bytesIn, `${bytesOut} out for ${bytesIn} in`);
  for (const { endpoint } of servers) {
    assert.equal(endpoint.counters.resets, 0, "No reset for an id that is live somewhere");
  }
  assert.equal(server.endpoint.counters.confirmed, 1);
  for (const other of servers.slice(1)) {
    assert.equal(isConfirmed(other), false, "A replayed INITIAL never becomes a connection that counts");
  }

  assert.equal(atServer.connection.peer.port, client.address.port);
  say(world, client, atClient, "after");
  say(world, server, atServer, "and back");
  assert(world.run(() => heard(server, atServer).includes("after") && heard(client, atClient).includes("and back")));
  world.pass(HANDSHAKE_TIMEOUT_US);
  assert.deepEqual(servers.map(({ endpoint }) => endpoint.size), [1, 0, 0]);
});

Deno.test("a client that expects another cluster key connects nowhere", async () => {
  const world = await World.create(16);
  const server = world.server(5);
  const pinned = world.clusterKey.slice();
  pinned[100]! ^= 1;
  const client = world.client("192.0.2.7", server, world.token("192.0.2.7"), pinned);
  assert(world.run(() => client.endpoint.failure !== undefined));
  assert.equal(client.endpoint.connected, undefined);
  assert.equal(server.endpoint.counters.accepts, 1, "The server answered, and the client did not believe it");
});

Deno.test("idle connections cost nothing per packet of one that talks", async () => {
  const world = await World.create(17);
  const unlimited = { perSecond: 1e6, burst: 1e6 };
  const server = world.server(5, {
    rsa: { inFlightMax: 1e4, queuedMax: 1e4, perAddress: unlimited, ceiling: unlimited, addressesMax: 10 },
  });
  const clients = Array.from({ length: 60 }, (_, i) => world.client(`192.0.2.${i}`, server));
  assert(world.run(() => clients.every(isConfirmed)));
  world.pass(5_000_000);
  // Nothing may be polled but the one that got something.
  const talker = linkOf(clients[7]!)!;
  say(world, clients[7]!, talker, "hi");
  const packet = clients[7]!.sent.at(-1)!;
  let polled = 0;
  for (const link of server.endpoint.links()) {
    const next = link.connection.nextDeadlineUs.bind(link.connection);
    link.connection.nextDeadlineUs = () => (polled++, next());
  }
  world.deliver(packet);
  server.endpoint.nextDeadlineUs();
  assert(polled <= 2, `${polled} connections were asked for their deadline`);
});

Deno.test("10,000 random, truncated and mutated datagrams neither crash nor fill an endpoint, while a connection talks", async () => {
  const { world, server, client, atClient, atServer } = await connected(18);
  const samples = [...client.sent, ...server.sent].map(({ bytes }) => bytes);
  const stranger = { host: "203.0.113.9", port: 5 };
  for (let i = 0; i < 10_000; i++) {
    const sample = world.prng.pick(samples).slice();
    const kind = i % 4;
    const bytes = kind === 0
      ? world.prng.bytes(world.prng.integer(1, 1300))
      : kind === 1
      ? sample.subarray(0, world.prng.integer(1, sample.length))
      : mutate(world, sample);
    for (const node of [server, client] as Node[]) {
      node.endpoint.handleDatagram(bytes.slice(), i % 3 === 0 ? client.address : stranger, world.nowUs);
      world.poll(node);
    }
    if (i % 1000 === 0) say(world, client, atClient, `word ${i}`);
    if (i % 100 === 0) world.pass(20_000);
  }
  world.pass(5_000_000);
  assert.deepEqual(heard(server, atServer), Array.from({ length: 10 }, (_, i) => `word ${i * 1000}`));
  assert.equal(closeOf(client), undefined);
  assert.equal(server.endpoint.size, 1);
});

/** An INITIAL's list of versions made shorter by naming fewer: what a downgrade attack would do. */
function stripVersions(bytes: Uint8Array): Uint8Array {
  const stripped = bytes.slice();
  if (stripped[0] === PacketType.initial) stripped[5] = 0x7f;
  return stripped;
}

function mutate(world: World, bytes: Uint8Array): Uint8Array {
  for (let flips = world.prng.integer(1, 4); flips > 0; flips--) {
    bytes[world.prng.integer(0, bytes.length - 1)]! ^= 1 << world.prng.integer(0, 7);
  }
  return bytes;
}
