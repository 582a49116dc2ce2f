/**
 * What the network may do to people who talk, and what of it they may notice: real clients and servers behind a relay that
 * delays, loses, doubles, reorders and is slow, that forgets where they were, and servers that die under them.
 *
 * The limits in seconds and per cent are promises of the product, not guesses of the test; they are far from what is
 * measured.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BalancerStatus } from "../../balancer/control.ts";
import { dataPaths, readServerStates } from "../../shared/cluster/mod.ts";
import { callControl } from "../../shared/host/mod.ts";
import { formatHostPort } from "../../shared/net/mod.ts";
import type { Faults, Relay } from "../relay.ts";
import { inDirectory } from "../temporary.ts";
import { relayBetween } from "./between.ts";
import { type Cluster, onceOf, startCluster } from "./harness.ts";
import { FarPerson } from "./far_person.ts";

const NAMES = ["alice", "bob", "carol", "dave", "erin"];
const CLEAN: Partial<Faults> = { delayMs: 0, loss: 0, duplicate: 0, reorder: 0, rateBits: 0 };
const BAD: Partial<Faults> = { delayMs: 20, loss: 0.1, duplicate: 0.05, reorder: 0.1 };
const SLOW: Partial<Faults> = { delayMs: 20, rateBits: 1e6, queue: 50 };

Deno.test("chat over bad networks and dying servers", async (t) => {
  await inDirectory(async (directory) => {
    const cluster = await startCluster(3, [], join(directory, "data"));
    const { relay, server } = await relayBetween(cluster, { seed: 4711 });
    const slow = await relayBetween(cluster, SLOW);
    const open = (name: string, over: string) => FarPerson.open({ server: over, name, home: join(directory, name) });
    const people = await Promise.all(NAMES.map((name) => open(name, server)));
    try {
      await t.step(
        "1,000 messages in 10 conversations, 10 % lost, 5 % doubled, 10 % out of order",
        () => talkThroughFaults(people, relay),
      );
      await t.step(
        "a client whose address changes goes on without a new login",
        () => onceOf(4, () => talkFromMovingAddresses(people, relay)),
      );
      await t.step(
        "servers killed in mid-send lose, double and misorder nothing",
        () => talkWhileServersDie(people, relay, cluster),
      );
      await t.step("2 MiB over a 1 Mbit/s link with a queue of 50: loss under 10 %, goodput above 70 %", async () => {
        const [alice, bob] = people as [FarPerson, FarPerson];
        await alice.close();
        people[0] = await open("alice", slow.server);
        await sendOverSlowLink(people[0], bob, slow.relay);
      });
    } finally {
      await Promise.all(people.map((person) => person.close()));
      relay.close();
      slow.relay.close();
      await cluster.stop();
    }
  });
});

async function talkThroughFaults(people: readonly FarPerson[], relay: Relay): Promise<void> {
  setFaults(relay, BAD);
  const began = performance.now();
  await talk(people, { perSide: 50, label: "bad" });
  const seconds = (performance.now() - began) / 1000;
  setFaults(relay, CLEAN);
  report(`1,000 messages in ${seconds.toFixed(2)} s`);
  // Four seconds where nothing else runs, three times that on a third of a processor.
  assert.ok(seconds < 60, `It took ${seconds} s`);
  for (const { counters: { carried, lost, duplicated, reordered } } of [relay.up, relay.down]) {
    report(JSON.stringify({ carried, lost, duplicated, reordered }));
    for (const count of [lost, duplicated, reordered]) assert.ok(count > carried / 40, "The network was not bad");
  }
}

async function talkFromMovingAddresses(people: readonly FarPerson[], relay: Relay): Promise<void> {
  const before = people.map(({ connections }) => connections.length);
  relay.rebind();
  await talk(people, { perSide: 3, label: "moved" });
  // Idle for longer than a silent server is borne with: that is no silence. Then a network on which answers take a while.
  await new Promise((resolve) => setTimeout(resolve, 1800));
  relay.rebind();
  setFaults(relay, { delayMs: 200 });
  await talk(people, { perSide: 3, label: "moved again" });
  setFaults(relay, CLEAN);
  assert.deepEqual(people.map(({ connections }) => connections.length), before, "Somebody connected anew");
}

async function talkWhileServersDie(people: readonly FarPerson[], relay: Relay, cluster: Cluster): Promise<void> {
  const [alice] = people as [FarPerson];
  const talking = talk(people, { perSide: 15, label: "killed", pauseMs: 100 });
  // A talk that fails early is told of when it is awaited.
  talking.catch(() => {});
  await alice.until(() => alice.from("bob").includes("killed 2 of bob"), "the talk is under way");
  const leader = await storeLeader(cluster);
  Deno.kill(leader, "SIGKILL");
  await alice.until(() => alice.from("bob").includes("killed 5 of bob"), "the talk goes on without the store's leader");

  const left = (await alice.now()).connectedTo, pid = await pidBehind(relay, cluster, left);
  assert.notEqual(pid, leader);
  const changes = alice.connections.length, began = performance.now();
  Deno.kill(pid, "SIGKILL");
  await alice.until(
    () => alice.connections.length > changes && alice.connections.at(-1)!.state === "connected",
    "alice is connected anew",
  );
  report(`alice was on another server ${((performance.now() - began) / 1000).toFixed(2)} s after hers was killed`);
  assert.notEqual((await alice.now()).connectedTo, left);
  await talking;
}

async function sendOverSlowLink(from: FarPerson, to: FarPerson, relay: Relay): Promise<void> {
  const texts = ["a", "b"].map((letter) => letter.repeat(1 << 20));
  const heard = to.from(from.name).length;
  const { stats: before } = await from.now(), overflowed = relay.up.counters.overflowed;
  const began = performance.now();
  await Promise.all(texts.map((text) => from.send(to.name, text)));
  const seconds = (performance.now() - began) / 1000;
  await to.until(() => to.from(from.name).length >= heard + 2, "both texts are there");
  assert.deepEqual(to.from(from.name).slice(heard).map((text) => texts.indexOf(text)), [0, 1]);
  const { stats } = await from.now(), sent = stats.datagramsSent - before.datagramsSent;
  const goodput = texts.length * (1 << 20) * 8 / seconds / SLOW.rateBits!;
  const dropped = (relay.up.counters.overflowed - overflowed) / sent;
  const lost = (stats.packetsLost - before.packetsLost) / sent;
  report(
    `2 MiB in ${seconds.toFixed(1)} s: goodput ${percent(goodput)} of the link, ` +
      `${percent(dropped)} of the datagrams dropped, ${percent(lost)} taken for lost`,
  );
  assert.ok(goodput > 0.7, `Goodput is ${percent(goodput)} of the link`);
  assert.ok(dropped < 0.1 && lost < 0.1, `${percent(dropped)} were dropped, ${percent(lost)} taken for lost`);
}

interface Talk {
  /** Messages from each of two people to the other. */
  readonly perSide: number;
  readonly label: string;
  /** Between one message of a person to a peer and the next; all at once by default. */
  readonly pauseMs?: number;
}

/** Patience, not a promise. */
const TALK_SECONDS = 120;

/** Everybody talks with everybody: all is stored, heard once and in order, and both sides see one order. */
async function talk(people: readonly FarPerson[], { perSide, label, pauseMs }: Talk): Promise<void> {
  const text = (from: FarPerson, index: number) => `${label} ${index} of ${from.name}`;
  const wanted = (from: FarPerson) => Array.from({ length: perSide }, (_, index) => text(from, index));
  const pairs = people.flatMap((from) => people.filter((to) => to !== from).map((to) => ({ from, to })));
  const marks = new Map(pairs.map((pair) => [pair, pair.to.from(pair.from.name).length]));
  const sending = pairs.map(async ({ from, to }) => {
    const sent: Promise<unknown>[] = [];
    for (let index = 0; index < perSide; index++) {
      sent.push(from.send(to.name, text(from, index)));
      if (pauseMs !== undefined) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    await Promise.all(sent);
  });
  const hearing = pairs.map((pair) => {
    const { from, to } = pair, count = marks.get(pair)! + perSide;
    return to.until(() => to.from(from.name).length >= count, `${to.name} hears ${from.name}`, TALK_SECONDS);
  });
  await Promise.all([...sending, ...hearing]);
  for (const pair of pairs) {
    const { from, to } = pair;
    assert.deepEqual(to.from(from.name).slice(marks.get(pair)), wanted(from), `${from.name} to ${to.name}`);
    const seen = await Promise.all(
      [[from, to], [to, from]].map(async ([one, other]) =>
        (await one!.history(other!.name, 2 * perSide)).map(({ seq, id, text }) => `${seq} ${id} ${text}`)
      ),
    );
    assert.deepEqual(seen[0], seen[1], `${from.name} and ${to.name} see different orders`);
  }
  assert.deepEqual(people.flatMap(({ refused }) => refused), []);
}

/** The process that owns the database now. */
async function storeLeader(cluster: Cluster): Promise<number> {
  const status = await callControl(dataPaths(cluster.dataDir).balancer.socket, { command: "status" });
  const { servers } = status as unknown as BalancerStatus;
  return servers.find((server) => server.status?.store === "leader")!.pid!;
}

/** The process behind an address that the relay gave a client. */
async function pidBehind(relay: Relay, cluster: Cluster, address: string): Promise<number> {
  for (const { port, pid } of await readServerStates(cluster.dataDir)) {
    const front = relay.map("127.0.0.1", port);
    if (formatHostPort(front.host, front.port) === address) return pid;
  }
  throw new Error(`No server is behind ${address}`);
}

function setFaults(relay: Relay, faults: Partial<Faults>): void {
  Object.assign(relay.up.faults, faults);
  Object.assign(relay.down.faults, faults);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function report(text: string): void {
  console.log(`    ${text}`);
}
