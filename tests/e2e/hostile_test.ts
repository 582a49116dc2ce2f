/**
 * What somebody with a socket, or on the path, can do to people who talk: nothing (SECURITY test 7). Real clients and servers;
 * the attacker knows every datagram that was sent.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { askBalancer } from "../../balancer/control.ts";
import { ChatClient, KeyChangedError } from "../../client/mod.ts";
import { loadClusterKeys, readServerStates } from "../../shared/cluster/mod.ts";
import { createPrimitives, fingerprint } from "../../shared/crypto/mod.ts";
import {
  type Address,
  ChannelServer,
  connect,
  ConnectTimeoutError,
  formatHostPort,
  locate,
} from "../../shared/net/mod.ts";
import {
  connectionIdServer,
  decodeInitial,
  decodeLocated,
  encodeInitial,
  encodeLocated,
  PacketType,
} from "../../shared/packet/mod.ts";
import { testKeys } from "../keys.ts";
import { type Direction, Relay } from "../relay.ts";
import { Prng } from "../sim/prng.ts";
import { inDirectory } from "../temporary.ts";
import { Attacker, mangled } from "./attacker.ts";
import { relayBetween } from "./between.ts";
import { type Cluster, eventually, startCluster } from "./harness.ts";
import { Person } from "./people.ts";

const primitives = await createPrimitives();

Deno.test("On-path attacker: nobody who is not one of them gets at people who talk", async (t) => {
  await inDirectory(async (directory) => {
    const cluster = await startCluster(2, [], join(directory, "data"));
    const { relay, server } = await relayBetween(cluster, { record: true });
    const open = (name: string) => Person.open({ server, name, home: join(directory, name) });
    const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
    const scene: Scene = { cluster, relay, alice, bob, targets: await targetsOf(cluster), directory };
    try {
      await exchange(scene, "before");
      const steady = await steadyState(scene);
      const step = (name: string, attack: (scene: Scene) => Promise<void>) =>
        t.step(name, async () => {
          await attack(scene);
          await exchange(scene, `after: ${name}`);
          assert.deepEqual(await steadyState(scene), steady);
        });
      await step("10,000 random, truncated and changed datagrams delay nobody and crash nothing", flood);
      await step("replayed INITIALs bring no connection and touch no session", replayInitials);
      await step("a victim's connection id gets no reset, from whichever server", sendVictimsIds);
      await step("an INITIAL whose list of versions was changed on its way connects nobody", stripVersions);
      await step("a LOCATED with another key leads nobody astray who knows the right one", swapKeys);
    } finally {
      await Promise.all([alice.close(), bob.close()]);
      relay.close();
      await cluster.stop();
    }
  });
});

interface Scene {
  readonly cluster: Cluster;
  readonly relay: Relay;
  readonly alice: Person;
  readonly bob: Person;
  readonly targets: Targets;
  readonly directory: string;
}

interface Targets {
  readonly balancer: Address;
  /** By their numbers. */
  readonly servers: readonly Address[];
}

async function flood({ relay, targets, alice, bob }: Scene): Promise<void> {
  const prng = new Prng(4711), real = relay.recorded.map(({ bytes }) => bytes);
  // Those in clear are few, and all that a stranger's datagram can get an answer to.
  const clear = real.filter((bytes) => bytes[0]! < 0x40);
  // The first one's address is the victims', whose tokens prove it; the second one's is nobody's.
  const attackers = [new Attacker(victimsHost(relay, targets)), new Attacker()];
  const everybody = [targets.balancer, ...targets.servers];
  const talking = new AbortController(), measured: number[] = [];
  let sent = 0, isOver = false;
  const talk = keepTalking(alice, bob, talking.signal, measured).finally(() => isOver = true);
  talk.catch(() => {});
  try {
    // Until enough was said meanwhile to tell, however slow the machine is.
    while (!isOver && (sent < FLOOD_DATAGRAMS || measured.length <= MESSAGES_MIN)) {
      const burst: Promise<void>[] = [];
      for (; burst.length < FLOOD_BURST; sent++) {
        const attacker = attackers[sent % attackers.length]!, target = everybody[sent % everybody.length]!;
        burst.push(attacker.send(mangled(prng.chance(0.5) ? clear : real, prng), target));
      }
      await Promise.all(burst);
      // A socket's buffer holds about 92: what the kernel drops attacks nobody.
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  } finally {
    talking.abort();
  }
  await talk;
  const slowest = Math.max(...measured), received = attackers.reduce((sum, a) => sum + a.bytesReceived, 0);
  console.log(
    `    ${measured.length} messages during ${sent} hostile datagrams: ${median(measured).toFixed(1)} ms, ` +
      `at most ${slowest.toFixed(0)} ms; ${received} bytes answered to ${
        attackers.reduce((sum, a) => sum + a.bytesSent, 0)
      }`,
  );
  for (const attacker of attackers) {
    attacker.close();
    assert.deepEqual(attacker.amplifiers, [], "Somebody answered with more bytes than they got");
  }
  // A hundredth of a second where nothing else runs. Whoever is kept out waits longer than this.
  assert.ok(slowest < 10_000, `A message took ${slowest} ms`);
  assert.ok(received > 0, "Not even a RETRY came: was anything attacked?");
}

async function replayInitials(scene: Scene): Promise<void> {
  const { relay, targets, alice, bob, cluster } = scene;
  const initials = recorded(relay, "up", (bytes) => bytes[0] === PacketType.initial);
  assert.ok(initials.length >= 2);
  const connections = async () => (await askBalancer(cluster.dataDir)).servers.map(({ status }) => status?.connections);
  const before = await connections(), diskBefore = await onDisk(scene);
  const attacker = new Attacker(victimsHost(relay, targets));
  try {
    for (let round = 0; round < 3; round++) {
      for (const initial of initials) for (const target of targets.servers) await attacker.send(initial, target);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    // The tokens in them are still good, so a server that has not seen one yet may answer it; nobody can use the answer.
    const accepts = attacker.answers.filter(({ bytes }) => bytes[0] === PacketType.accept);
    const distinct = new Set(accepts.map(({ bytes }) => bytes.toHex()));
    assert.ok(distinct.size <= initials.length * (targets.servers.length - 1), `${distinct.size} ACCEPTs`);
    assert.deepEqual(attacker.amplifiers, []);
    // What a live connection was made from gets nothing more from the server that made it.
    const own = new Set(
      recorded(relay, "down", (bytes) => bytes[0] === PacketType.accept).map((bytes) => bytes.toHex()),
    );
    assert.ok([...distinct].every((accept) => !own.has(accept)), "An ACCEPT was given out once more");
    assert.deepEqual(await connections(), before, "A replay counts as a connection");
    assert.deepEqual(await names(alice), ["alice", "bob"]);
    assert.deepEqual(await names(bob), ["alice", "bob"]);
    assert.deepEqual(await onDisk(scene), diskBefore);
  } finally {
    attacker.close();
  }
}

async function sendVictimsIds(scene: Scene): Promise<void> {
  const { relay, targets } = scene, before = await onDisk(scene);
  const live = liveIds(relay), attacker = new Attacker();
  assert.ok(live.length >= 2, "Both people's connections are on record");
  const packets = recorded(relay, "up", (bytes) => isFor(bytes, live) && bytes.length > 43).slice(-200);
  try {
    for (const packet of packets) {
      const forged = packet.slice();
      forged.set(primitives.random.bytes(forged.length - 15), 15);
      for (const target of targets.servers) {
        await attacker.send(packet, target);
        await attacker.send(forged, target);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(attacker.answers, [], "Somebody answered to a live connection's id");
    assert.deepEqual(await onDisk(scene), before);
    // The same packets under ids that nobody has: their servers answer, and only those.
    const own = connectionIdServer(packets[0]!, 1);
    const unknown = packets[0]!.slice();
    unknown.set(primitives.random.bytes(4), 5);
    for (const target of targets.servers) await attacker.send(unknown, target);
    const { host, port } = targets.servers[own]!, expected = formatHostPort(host, port);
    await eventually(() => attacker.answers.some(({ from }) => from === expected) || undefined, "a reset");
    await new Promise((resolve) => setTimeout(resolve, 200));
    const resets = targets.servers.map((target) => attacker.take(target).length);
    assert.deepEqual(resets, targets.servers.map((_, number) => number === own ? 1 : 0));
  } finally {
    attacker.close();
  }
}

async function stripVersions({ cluster }: Scene): Promise<void> {
  let change = true, changed = 0;
  const relay = new Relay({
    rewriteLocated: true,
    rewrite: (datagram) => {
      const initial = change ? decodeInitial(datagram) : undefined;
      if (initial === undefined) return datagram;
      changed++;
      return encodeInitial({ ...initial, versions: [...initial.versions, 7] });
    },
  });
  const { host, port } = relay.map("127.0.0.1", cluster.port);
  try {
    const located = () => locate({ host, port, timeoutMs: 30_000, primitives });
    await assert.rejects(connect({ located: await located(), timeoutMs: 1200, primitives }), ConnectTimeoutError);
    assert.ok(changed > 0, "No INITIAL was changed");
    change = false;
    const { channel, ended } = await connect({ located: await located(), timeoutMs: 30_000, primitives });
    channel.close(0, "");
    await ended;
  } finally {
    relay.close();
  }
}

async function swapKeys({ cluster, directory, bob }: Scene): Promise<void> {
  const { pkcs8: privateKeyPkcs8, spki } = (await testKeys()).aliceIdentity;
  const random = (length: number) => primitives.random.bytes(length);
  let caught = 0, answersToSwap = Infinity;
  const trap = await ChannelServer.listen({
    host: "127.0.0.1",
    port: 0,
    serverNumber: 0,
    cluster: { id: random(16), privateKeyPkcs8, spki, tokenKey: random(32), resetKey: random(32) },
    primitives,
    servers: () => [],
    onChannel: () => caught++,
  });
  const relay = new Relay({
    rewriteLocated: true,
    rewrite: (datagram, direction) => {
      const located = direction === "down" ? decodeLocated(datagram) : undefined;
      if (located === undefined || answersToSwap-- <= 0) return datagram;
      return encodeLocated({ ...located, port: trap.address.port, clusterKey: spki });
    },
  });
  const server = addressOf(relay, cluster);
  // Another program with bob's home: it knows his session, and the key from the address that somebody gave it.
  const open = (address: string, timeoutMs: number) =>
    ChatClient.open({ server: address, home: join(directory, "bob"), unlock: bob.client.key(), timeoutMs });
  const isKeyChanged = (error: unknown) => {
    assert.ok(error instanceof KeyChangedError, String(error));
    assert.deepEqual([error.exitCode, error.change.kind], [6, "server"]);
    return true;
  };
  try {
    const began = performance.now();
    await assert.rejects(open(`${server}#${cluster.fingerprint}`, 6_000), isKeyChanged);
    assert.ok(performance.now() - began > 1000, "It was said before the true balancer had time to answer");
    // Whoever is quicker than the true answer only costs time.
    answersToSwap = 2;
    const client = await open(`${server}#${cluster.fingerprint}`, 60_000);
    assert.ok(answersToSwap <= 0, "No answer was swapped");
    assert.deepEqual(client.serverFingerprint, await fingerprintOf(cluster));
    await client.close();
    // Now the key is pinned, and need not be given.
    answersToSwap = Infinity;
    await assert.rejects(open(server, 10_000), isKeyChanged);
    assert.equal(trap.stats.endpoint.initials, 0, "Somebody tried to shake hands with the trap");
    assert.equal(caught, 0);
    // The trap works: who knows no key goes there.
    const { host, port } = relay.map("127.0.0.1", cluster.port);
    const located = await locate({ host, port, timeoutMs: 30_000, primitives });
    assert.deepEqual(located.fingerprint, fingerprint(spki));
  } finally {
    relay.close();
    await trap.close(0, "");
  }
}

/** A few messages both ways, heard once and in order. */
async function exchange({ alice, bob }: Scene, label: string): Promise<void> {
  for (const [from, to] of [[alice, bob], [bob, alice]] as const) {
    const heard = to.from(from.name).length, texts = [1, 2, 3].map((number) => `${label} ${number}`);
    await Promise.all(texts.map((text) => from.client.send(to.name, text)));
    await to.until(() => to.from(from.name).length >= heard + texts.length, `${label} arrives`);
    assert.deepEqual(to.from(from.name).slice(heard), texts);
  }
}

/** Both talk, one message after the other; notes how long each took from sending to being heard, in milliseconds. */
async function keepTalking(alice: Person, bob: Person, signal: AbortSignal, latencies: number[]): Promise<void> {
  const talk = async (from: Person, to: Person) => {
    const texts: string[] = [], heard = to.from(from.name).length;
    while (!signal.aborted) {
      const text = `meanwhile ${texts.length} of ${from.name}`,
        count = heard + texts.push(text),
        began = performance.now();
      await from.client.send(to.name, text);
      await to.until(() => to.from(from.name).length >= count, `${text} arrives`);
      latencies.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.deepEqual(to.from(from.name).slice(heard), texts);
  };
  await Promise.all([talk(alice, bob), talk(bob, alice)]);
}

/** What no attack may change. */
async function steadyState({ cluster, alice, bob }: Scene) {
  const { servers } = await askBalancer(cluster.dataDir);
  return {
    processes: servers.map(({ number, pid, healthy, restarts }) => ({ number, pid, healthy, restarts })),
    connections: [alice, bob].map(({ connections }) => connections.map(({ state }) => state)),
    refused: [alice, bob].map(({ refused }) => refused.length),
    online: await names(alice),
  };
}

/** Sessions and how far each device has read, on the servers' disk. */
async function onDisk({ cluster }: Scene): Promise<unknown> {
  const database = new DatabaseSync(join(cluster.dataDir, "store.db"), { readOnly: true, timeout: 10_000 });
  try {
    // What clients have to tell about what they read they tell a moment later. A conversation's row may lag behind its log.
    const behind = database.prepare(
      `SELECT 1 FROM conversations LEFT JOIN cursors ON cursors.conversation = conversations.id
       WHERE cursors.seq IS NOT (SELECT MAX(seq) FROM log WHERE log.conversation = conversations.id)`,
    );
    await eventually(() => behind.get() === undefined || undefined, "everybody has told what they have");
    return ["sessions", "devices", "cursors"].map((table) => database.prepare(`SELECT * FROM ${table}`).all());
  } finally {
    database.close();
  }
}

async function fingerprintOf({ dataDir }: Cluster): Promise<Uint8Array> {
  return (await loadClusterKeys(dataDir, { create: false })).fingerprint;
}

async function names(person: Person): Promise<string[]> {
  return (await person.client.online()).map(({ name }) => name);
}

async function targetsOf(cluster: Cluster): Promise<Targets> {
  const states = (await readServerStates(cluster.dataDir)).toSorted((a, b) => a.number - b.number);
  const servers = states.map(({ port }) => ({ host: "127.0.0.1", port }));
  return { balancer: { host: "127.0.0.1", port: cluster.port }, servers };
}

function recorded(relay: Relay, direction: Direction, wanted: (bytes: Uint8Array) => boolean): Uint8Array[] {
  return relay.recorded.filter((datagram) => datagram.direction === direction && wanted(datagram.bytes))
    .map(({ bytes }) => bytes);
}

/** Where everybody behind the relay seems to be. */
function victimsHost(relay: Relay, { balancer }: Targets): string {
  return relay.map(balancer.host, balancer.port).host;
}

/** Ids of the connections that were heard of last. */
function liveIds(relay: Relay): string[] {
  const protectedPackets = recorded(relay, "down", (bytes) => bytes[0]! >= 0x40);
  return [...new Set(protectedPackets.slice(-40).map((bytes) => bytes.subarray(1, 9).toHex()))];
}

function isFor(bytes: Uint8Array, ids: readonly string[]): boolean {
  return bytes[0]! >= 0x40 && ids.includes(bytes.subarray(1, 9).toHex());
}

function addressOf(relay: Relay, cluster: Cluster): string {
  const front = relay.map("127.0.0.1", cluster.port);
  return formatHostPort(front.host, front.port);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

const FLOOD_DATAGRAMS = 10_000;
const FLOOD_BURST = 30;
const MESSAGES_MIN = 20;
