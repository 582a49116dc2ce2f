/** Tickets between endpoints in virtual time (docs/PROTOCOL.md §2.6, SECURITY H8). */
import assert from "node:assert/strict";
import { decodeGrant, type TicketGrant, type TicketKey, type TicketLogin } from "../../../shared/handshake/mod.ts";
import { HANDSHAKE_TIMEOUT_US } from "../../../shared/limits.ts";
import { decodeRetry, PacketType, RetryReason } from "../../../shared/packet/mod.ts";
import type { ClientEndpoint, Link, ServerEndpoint } from "../../../shared/transport/mod.ts";
import { ResumeGate } from "../../../shared/transport/resume_gate.ts";
import { type Node, type Packet, World } from "./endpoint_world.ts";

const HOST = "192.0.2.7";
const LOGIN: TicketLogin = {
  user: "alice",
  device: new Uint8Array(16).fill(1),
  session: new Uint8Array(32).fill(2),
  generation: 3,
};

/** What NEW_TICKET brought to a client so far. */
const grantsOf = (node: Node): TicketGrant[] =>
  node.events.flatMap(({ event }) => event.type === "ticket" ? [decodeGrant(event.bytes)!] : []);
const linkOf = (node: Node): Link | undefined => [...node.endpoint.links()][0];
const isConfirmed = (node: Node) => node.events.some(({ event }) => event.type === "confirmed");
const isInitial = ({ bytes }: Packet) => bytes[0] === PacketType.initial;
const isClear = ({ bytes }: Packet) => bytes[0]! < 0x40;

/** A client that was let in by one server with RSA, and was given a ticket. */
async function withTicket(seed: number) {
  const world = await World.create(seed);
  const first = world.server(5);
  const client = world.client(HOST, first);
  assert.ok(world.run(() => isConfirmed(client) && isConfirmed(first)));
  const link = linkOf(first)!;
  first.endpoint.grant(link, LOGIN, world.nowUs);
  world.poll(first);
  assert.ok(world.run(() => grantsOf(client).length > 0));
  const { ticket } = grantsOf(client)[0]!;
  assert.equal(world.rsaDecryptions, 1);
  return { world, first, client, ticket: { ticket, secret: linkOf(client)!.resumption }, old: link.connectionId };
}

function comeBack(
  world: World,
  server: Node,
  ticket: Parameters<World["client"]>[4],
  host = HOST,
): Node<ClientEndpoint> {
  return world.client(host, server, world.token(host), world.clusterKey, ticket);
}

Deno.test("a ticket lets its client in at another server in one round trip, without RSA", async () => {
  const { world, ticket, old } = await withTicket(1);
  const second = world.server(6), beganUs = world.nowUs;
  const client = comeBack(world, second, ticket);
  assert.ok(world.run(() => client.endpoint.connected !== undefined));
  assert.equal(world.nowUs - beganUs, 20_000);
  assert.ok(client.endpoint.connected!.isResumed);
  assert.ok(world.run(() => isConfirmed(second)));
  const { connectionId, issuedSeconds: _, expirySeconds: __, secret, ...login } = linkOf(second)!.ticket!;
  assert.deepEqual(login, LOGIN);
  assert.deepEqual([connectionId, secret], [old, ticket.secret]);
  assert.equal(world.rsaDecryptions, 1);
  assert.equal(second.endpoint.counters.resumptions, 1);
  // The next one came with ACCEPT, has another secret, and works.
  const next = { ticket: decodeGrant(client.endpoint.connected!.ticket)!.ticket, secret: linkOf(client)!.resumption };
  assert.notDeepEqual(next.secret, ticket.secret);
  const third = world.server(7), again = comeBack(world, third, next);
  assert.ok(world.run(() => isConfirmed(again)));
  assert.ok(again.endpoint.connected!.isResumed);
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("a resumed connection shares no key with another one by the same ticket, nor with who only saw it", async () => {
  const { world, ticket } = await withTicket(2);
  const [one, two] = [world.server(6), world.server(7)].map((server) => comeBack(world, server, ticket));
  assert.ok(world.run(() => isConfirmed(one!) && isConfirmed(two!)));
  assert.notDeepEqual(linkOf(one!)!.bind, linkOf(two!)!.bind);
  assert.notDeepEqual(linkOf(one!)!.resumption, linkOf(two!)!.resumption);
  const server = world.server(8), thief = comeBack(world, server, { ...ticket, secret: new Uint8Array(32) });
  world.pass(5_000_000);
  assert.equal(thief.endpoint.connected, undefined, "the ticket alone opens no ACCEPT");
  assert.ok(!isConfirmed(server));
});

Deno.test("before the client's first packet nothing counts: nobody is told, and it is forgotten", async () => {
  const { world, ticket } = await withTicket(3);
  const second = world.server(6);
  world.filter = (packet) => isClear(packet) || packet.to.port !== second.address.port;
  const client = comeBack(world, second, ticket);
  assert.ok(world.run(() => client.endpoint.connected !== undefined));
  world.pass(1_000_000);
  assert.equal(second.endpoint.size, 1);
  assert.deepEqual(second.events, []);
  assert.ok(!linkOf(second)!.isReady);
  assert.equal(second.endpoint.counters.confirmed, 0);
  world.pass(HANDSHAKE_TIMEOUT_US);
  assert.equal(second.endpoint.size, 0);
  assert.deepEqual(second.events, []);
});

Deno.test("a replayed INITIAL gets the stored ACCEPT while unconfirmed, afterwards nothing", async () => {
  const { world, ticket } = await withTicket(4);
  const second = world.server(6);
  const accepts = () =>
    second.sent.filter(({ bytes }) => bytes[0] === PacketType.accept).map(({ bytes }) => bytes.toHex());
  world.filter = (packet) => packet.from.port !== second.address.port;
  const client = comeBack(world, second, ticket);
  const initial = client.sent.find(isInitial)!;
  world.send(initial);
  assert.ok(world.run(() => accepts().length >= 2));
  assert.equal(new Set(accepts()).size, 1);
  assert.equal(second.endpoint.size, 1);
  world.filter = () => true;
  assert.ok(world.run(() => isConfirmed(second) && isConfirmed(client)));
  const count = second.sent.filter(isClear).length;
  for (const from of [initial.from, { host: HOST, port: 6666 }]) world.send({ ...initial, from });
  world.pass(1_000_000);
  assert.equal(second.sent.filter(isClear).length, count);
  assert.equal(second.endpoint.size, 1);
  // A server that was not part of it answers, since nothing is shared; but nobody is let in by that.
  const third = world.server(7);
  world.send({ ...initial, to: third.address });
  world.pass(HANDSHAKE_TIMEOUT_US + 1_000_000);
  assert.equal(third.endpoint.counters.resumptions, 1);
  assert.deepEqual(third.events, []);
  assert.equal(third.endpoint.size, 0);
});

Deno.test("a ticket that does not open leads to RSA at the same server, with the same token", async () => {
  const { world, ticket } = await withTicket(5);
  const stranger = { id: new Uint8Array(8).fill(90), key: new Uint8Array(32).fill(91) };
  const second = world.server(6, {}, stranger);
  const client = comeBack(world, second, ticket);
  assert.ok(world.run(() => isConfirmed(client)));
  assert.equal(client.endpoint.connected!.isResumed, false);
  assert.equal(decodeRetry(second.sent[0]!.bytes)!.reason, RetryReason.ticket);
  assert.equal(client.sent.filter(isInitial).length, 2);
  assert.equal(linkOf(second)!.ticket, undefined);
  assert.equal(world.rsaDecryptions, 2);
  assert.equal(second.endpoint.counters.ticketsUnknown, 1);
});

Deno.test("a ticket is for once at a server: the second time leads to RSA", async () => {
  const { world, ticket } = await withTicket(6);
  const second = world.server(6);
  const client = comeBack(world, second, ticket);
  assert.ok(world.run(() => isConfirmed(client)));
  const again = comeBack(world, second, ticket);
  assert.ok(world.run(() => isConfirmed(again)));
  assert.equal(again.endpoint.connected!.isResumed, false);
  assert.equal(world.rsaDecryptions, 2);
});

Deno.test("a ticket from another address wants a token first, and is then taken", async () => {
  const { world, ticket } = await withTicket(7);
  const second = world.server(6);
  const client = world.client("192.0.2.99", second, world.token(HOST), world.clusterKey, ticket);
  assert.ok(world.run(() => isConfirmed(client)));
  assert.ok(client.endpoint.connected!.isResumed);
  assert.equal(decodeRetry(second.sent[0]!.bytes)!.reason, RetryReason.token);
  assert.equal(world.rsaDecryptions, 1);
});

Deno.test("resumptions never queue behind RSA", async () => {
  const { world, ticket } = await withTicket(8);
  const second = world.server(6);
  for (let i = 0; i < 60; i++) world.client(`198.51.100.${i}`, second);
  world.pass(20_001);
  const beganUs = world.nowUs, client = comeBack(world, second, ticket);
  assert.ok(world.run(() => client.endpoint.connected !== undefined));
  assert.equal(world.nowUs - beganUs, 20_000);
});

Deno.test("more than may resume at once are told when to come back, and all do, without RSA", async () => {
  const world = await World.create(9), first = world.server(5);
  const clients: Node[] = [];
  for (let i = 0; i < 12; i++) clients.push(world.client(`198.51.100.${i}`, first));
  assert.ok(world.run(() => clients.every(isConfirmed)));
  const rsa = world.rsaDecryptions;
  const limits = { ceiling: { perSecond: 10, burst: 2 }, perTicket: { perSecond: 1, burst: 4 }, ticketsMax: 100 };
  const second: Node<ServerEndpoint> = world.server(6, { resumption: limits });
  for (const link of first.endpoint.links()) first.endpoint.grant(link, LOGIN, world.nowUs);
  world.poll(first);
  assert.ok(world.run(() => clients.every((client) => grantsOf(client).length > 0)));
  const back = clients.map((client, i) => {
    const link = linkOf(client)!, { ticket } = grantsOf(client)[0]!;
    return comeBack(world, second, { ticket, secret: link.resumption }, `198.51.100.${i}`);
  });
  assert.ok(world.run(() => back.every(isConfirmed), 5_000_000));
  assert.ok(back.every(({ endpoint }) => endpoint.connected!.isResumed));
  assert.ok(second.endpoint.counters.busy >= 10);
  assert.equal(world.rsaDecryptions, rsa);
});

Deno.test("a client that stays for days holds a ticket that opens, though the keys change every 12 hours", async () => {
  const world = await World.create(10);
  const made: TicketKey[] = [1, 2, 3, 4].map((i) => ({
    id: new Uint8Array(8).fill(i),
    key: new Uint8Array(32).fill(i + 10),
  }));
  let newest = 0;
  const keys = () => ({ sealing: made[newest]!, opening: made.slice(Math.max(0, newest - 1), newest + 1) });
  const first = world.server(5, {}, keys), client = world.client(HOST, first);
  assert.ok(world.run(() => isConfirmed(client) && isConfirmed(first)));
  first.endpoint.grant(linkOf(first)!, LOGIN, world.nowUs);
  world.poll(first);
  for (newest = 0; newest < 3; newest++) world.pass(3600_000_000);
  assert.ok(world.run(() => grantsOf(client).length >= 4, 60_000_000));
  world.pass(600_000_000);
  assert.equal(grantsOf(client).length, 4, "one for each key");
  const second = world.server(6, {}, keys);
  const stale = comeBack(world, second, { ...grantsOf(client)[0]!, secret: linkOf(client)!.resumption });
  assert.ok(world.run(() => isConfirmed(stale)));
  assert.equal(stale.endpoint.connected!.isResumed, false);
  const back = comeBack(world, second, { ...grantsOf(client).at(-1)!, secret: linkOf(client)!.resumption });
  assert.ok(world.run(() => isConfirmed(back)));
  assert.ok(back.endpoint.connected!.isResumed);
  const { user, device, session, generation } = [...second.endpoint.links()].at(-1)!.ticket!;
  assert.deepEqual({ user, device, session, generation }, LOGIN);
});

Deno.test("ResumeGate.admit() sends many away each to a time of its own, and one ticket for long", () => {
  const gate = new ResumeGate({
    ceiling: { perSecond: 100, burst: 1 },
    perTicket: { perSecond: 1, burst: 2 },
    ticketsMax: 1000,
  }, 0);
  assert.deepEqual([0, 1, 2, 3].map((i) => gate.admit(`t${i}`, 0)), [0, 10, 20, 30]);
  const waits = Array.from({ length: 1000 }, (_, i) => gate.admit(`u${i}`, 0));
  assert.ok(waits.every((ms) => ms > 0 && ms <= 2000));
  assert.equal(gate.admit("t0", 5_000_000), 0);
  assert.equal(gate.admit("t0", 5_000_001), 10);
  assert.equal(gate.admit("t0", 5_000_002), 2000, "its burst was two");
});

Deno.test("a client notices that its server is gone, and that it is there again", async () => {
  const { world, first, client } = await withTicket(10);
  const link = linkOf(client)!;
  const told = () =>
    client.events.map(({ event }) => event.type).filter((type) => type === "silent" || type === "heard");
  link.connection.keepAlive(300_000, world.nowUs);
  world.pass(10_000_000);
  assert.deepEqual(told(), [], "who answers is not silent");
  const sent = client.sent.length;
  world.pass(3_000_000);
  assert.ok(client.sent.length - sent < 25, "a look costs a packet, an answer at the most another");
  world.filter = (packet) => packet.from.port !== first.address.port;
  const goneUs = world.nowUs;
  assert.ok(world.run(() => told().length > 0));
  assert.ok(world.nowUs - goneUs < 600_000, `${world.nowUs - goneUs} µs`);
  world.pass(2_000_000);
  assert.deepEqual(told(), ["silent"]);
  world.filter = () => true;
  assert.ok(world.run(() => told().length === 2));
  assert.deepEqual(told(), ["silent", "heard"]);
});
