/** Real server processes on loopback: UDP, SQLite, bcrypt, sockets and signals, nothing replaced. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type ClusterKeys,
  dataPaths,
  loadClusterKeys,
  parseServerStatus,
  type ServerStatus,
} from "../../shared/cluster/mod.ts";
import { createPrimitives } from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import { callControl } from "../../shared/host/mod.ts";
import { connect } from "../../shared/net/mod.ts";
import type { ConversationId } from "../../shared/protocol/mod.ts";
import { type TestDevice, testKeys } from "../keys.ts";
import {
  enrolment,
  expectError,
  expectType,
  logIn,
  makeDevice,
  message,
  OTHER_SECRET,
  registration,
  resumption,
  Speaker,
} from "../server/harness.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A cluster in a temporary folder; everything it started is gone when it is disposed of. */
class Cluster implements AsyncDisposable {
  readonly dataDir: string;
  readonly servers: ServerProcess[] = [];
  readonly #closing: (() => Promise<void>)[] = [];
  keys!: ClusterKeys;

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
  }

  static async open(servers: number, flags: readonly string[] = []): Promise<Cluster> {
    const cluster = new Cluster(await Deno.makeTempDir({ prefix: "fastchat-server-test-" }));
    for (let number = 0; number < servers; number++) await cluster.start(["--number", `${number}`, ...flags]);
    cluster.keys = await loadClusterKeys(cluster.dataDir, { create: true });
    return cluster;
  }

  async start(flags: readonly string[]): Promise<ServerProcess> {
    const server = new ServerProcess(this.dataDir, ["--port", "0", "--host", "127.0.0.1", ...flags]);
    this.servers.push(server);
    await server.ready();
    return server;
  }

  async connect(server: ServerProcess): Promise<Speaker> {
    const { channel, ended } = await connect({
      located: { host: "127.0.0.1", port: server.port, clusterKey: this.keys.spki, token: new Uint8Array() },
      primitives: await createPrimitives(),
      timeoutMs: 60_000,
    });
    this.#closing.push(() => {
      channel.close(CloseCode.none, "");
      return ended;
    });
    return new Speaker(channel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closing) await close();
    for (const server of this.servers) await server.end("SIGKILL");
    await Deno.remove(this.dataDir, { recursive: true });
  }
}

class ServerProcess {
  readonly #process: Deno.ChildProcess;
  readonly #dataDir: string;
  number = -1;
  port = 0;
  #ended = false;

  constructor(dataDir: string, flags: readonly string[]) {
    this.#dataDir = dataDir;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: command(dataDir, flags),
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
  }

  get pid(): number {
    return this.#process.pid;
  }

  async ready(): Promise<void> {
    const reader = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await reader.read();
    const match = /^ready 127\.0\.0\.1:(\d+) number=(\d+)\n$/.exec(value ?? "");
    assert(match, `The server said ${JSON.stringify(value)}`);
    [this.port, this.number] = [Number(match[1]), Number(match[2])];
    await reader.cancel();
  }

  async control(name: string): Promise<Record<string, unknown>> {
    return await callControl(dataPaths(this.#dataDir).server(this.number).socket, { command: name });
  }

  async status(): Promise<ServerStatus> {
    const status = parseServerStatus(await this.control("status"));
    assert(status);
    return status;
  }

  exit(): Promise<Deno.CommandStatus> {
    return this.#process.status.finally(() => this.#ended = true);
  }

  async end(signal: Deno.Signal): Promise<Deno.CommandStatus> {
    if (!this.#ended) {
      try {
        this.#process.kill(signal);
      } catch { /* it is gone */ }
    }
    return await this.exit();
  }
}

function command(dataDir: string, flags: readonly string[]): string[] {
  const workers = ["password_worker.ts", "store/checkpoint_worker.ts"].map((file) => join(ROOT, "server", file));
  const permissions = [
    "--allow-net",
    `--allow-read=${[dataDir, ...workers].join(",")}`,
    `--allow-write=${dataDir}`,
    "--allow-env",
    "--allow-sys",
  ];
  const config = ["--quiet", "--no-check", "--no-prompt", "--config", join(ROOT, "deno.json")];
  return ["run", ...config, ...permissions, join(ROOT, "server", "main.ts"), "--data", dataDir, ...flags];
}

async function output(dataDir: string, flags: readonly string[]): Promise<{ code: number; stderr: string }> {
  const args = command(dataDir, flags);
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, stdout: "null", stderr: "piped" }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!condition()) {
    assert(performance.now() < deadlineMs, `Not within 60 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Alice at one server and Bob at another, signed up, subscribed, with their conversation. */
async function twoPeople(cluster: Cluster, atAlice: ServerProcess, atBob: ServerProcess) {
  const keys = await testKeys(), { clusterId } = cluster.keys;
  const alice = await makeDevice(keys.alice, { clusterId }), bob = await makeDevice(keys.bob, { clusterId });
  const join = async (server: ServerProcess, device: TestDevice) => {
    const client = await cluster.connect(server);
    const session = expectType(await client.ask(registration(device, client)), "session");
    expectType(await client.ask({ type: "subscribe" }), "ok");
    return { client, token: session.token };
  };
  const a = await join(atAlice, alice), b = await join(atBob, bob);
  const { head } = expectType(await a.client.ask({ type: "openDirect", peer: "bob" }), "conversation");
  return { alice, bob, a: a.client, b: b.client, aliceToken: a.token, bobToken: b.token, id: head.conversation };
}

function deliveredTo(client: Speaker): number[] {
  return client.events.flatMap((event) => event.type === "deliver" ? [event.record.seq] : []);
}

async function readAll(client: Speaker, id: ConversationId): Promise<string[]> {
  const found: string[] = [];
  for (let more = true, after = 0; more;) {
    const page = expectType(await client.ask({ type: "read", conversation: id, after, limit: 256 }), "records");
    for (const record of page.records) {
      assert.equal(record.seq, ++after);
      found.push(record.messageId);
    }
    more = page.more;
  }
  return found;
}

Deno.test("fastchat-server --smoke loads, binds, opens the store and exits 0", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    const { code, stderr } = await output(dataDir, ["--port", "0", "--host", "127.0.0.1", "--smoke"]);
    assert.deepEqual([code, stderr], [0, ""]);
    await assert.rejects(Deno.stat(dataPaths(dataDir).server(0).state), Deno.errors.NotFound);
    await assert.rejects(Deno.stat(dataPaths(dataDir).server(0).socket), Deno.errors.NotFound);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("fastchat-server says what is wrong: 2 for usage, 3 for a port or number that is taken", async () => {
  await using cluster = await Cluster.open(1);
  const { dataDir } = cluster, [server] = cluster.servers;
  const usage = await output(dataDir, ["--port", "70000"]);
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /--port takes a number from 0 to 65535, not '70000'/);
  const port = await output(dataDir, ["--host", "127.0.0.1", "--port", `${server!.port}`]);
  assert.equal(port.code, 3);
  assert.match(
    port.stderr,
    new RegExp(`Cannot listen on UDP 127.0.0.1:${server!.port}: another program uses this port`),
  );
  const number = await output(dataDir, ["--number", "0"]);
  assert.equal(number.code, 3);
  assert.match(number.stderr, new RegExp(`number 0 in .* is taken by pid ${server!.pid}`));
  assert.equal((await server!.status()).pid, server!.pid, "the first one is not disturbed");
});

Deno.test("people on different servers: sign up, write, get it live, log in again, enrol, resume", async () => {
  await using cluster = await Cluster.open(2);
  const [one, two] = cluster.servers as [ServerProcess, ServerProcess];
  const { alice, bob, a, b, aliceToken, id } = await twoPeople(cluster, one, two);
  const lane = a.lane();
  for (let i = 1; i <= 300; i++) lane.append(message(id, i, 2, 200));
  const answers = await lane.answers(300);
  assert.deepEqual(
    answers.map((answer) => expectType(answer, "stored").seq),
    Array.from({ length: 300 }, (_, i) => i + 1),
  );
  await eventually("all are delivered", () => deliveredTo(b).length === 300);
  assert.deepEqual(deliveredTo(b), Array.from({ length: 300 }, (_, i) => i + 1));
  assert.deepEqual(deliveredTo(a), []);
  const back = b.lane();
  back.append(message(id, 1000, 2, 1 << 20));
  expectType((await back.answers(1))[0]!, "stored");
  await eventually("a megabyte comes back", () => deliveredTo(a).length === 1);
  const { users } = expectType(await b.ask({ type: "users", after: "", onlineOnly: true }), "users");
  assert.deepEqual(users.map(({ name }) => name), ["alice", "bob"] as unknown);

  const wrong = await cluster.connect(two);
  expectError(await wrong.ask(logIn(alice, wrong, OTHER_SECRET)), ErrorCode.badCredentials);
  const resumed = await cluster.connect(two);
  expectType(await resumed.ask(resumption(alice, resumed, aliceToken)), "session");
  const second = await makeDevice(alice, { clusterId: cluster.keys.clusterId }), enrolling = await cluster.connect(two);
  expectType(await enrolling.ask({ ...logIn(second, enrolling), device: undefined }), "enrolNeeded");
  expectType(await enrolling.ask({ type: "backup" }), "backup");
  expectType(await enrolling.ask(await enrolment(second, enrolling)), "session");
  await eventually("Bob hears of Alice's device", () => b.events.some(({ type }) => type === "devicesChanged"));
  const stale = a.lane();
  stale.append(message(id, 2000, 2));
  assert.equal(expectError((await stale.answers(1))[0]!, ErrorCode.staleEpoch).epoch, 3);
  assert.equal((await readAll(resumed, id)).length, 301);
  assert.equal(bob.user, "bob");

  const status = await one.status(), counters = status.counters!;
  assert.equal(status.store, "leader");
  assert.deepEqual([status.ready, status.connections, status.users], [true, 1, 1]);
  assert.equal(counters["stored"], 300);
  assert(counters["bcryptRuns"]! >= 1 && counters["rsaDecryptions"]! >= 1 && counters["datagramsReceived"]! > 20);
  assert.equal((await two.status()).store, "follower");
});

Deno.test("kill -9 of the leader in the middle: nothing that was acknowledged is lost, the other server goes on", async () => {
  await using cluster = await Cluster.open(2);
  const [leader, follower] = cluster.servers as [ServerProcess, ServerProcess];
  const { a, b, bob, bobToken, id } = await twoPeople(cluster, follower, leader);
  const lane = a.lane();
  let sent = 0;
  const sendSome = (count: number) => {
    for (const end = sent + count; sent < end;) lane.append(message(id, ++sent, 2, 200));
  };
  sendSome(200);
  await lane.answers(100);
  sendSome(200);
  await leader.end("SIGKILL");
  sendSome(200);
  const answers = await lane.answers(600);
  assert.deepEqual(
    answers.map((answer) => expectType(answer, "stored").seq),
    Array.from({ length: 600 }, (_, i) => i + 1),
  );
  assert.equal((await follower.status()).store, "leader");
  const again = await cluster.connect(follower);
  expectType(await again.ask(resumption(bob, again, bobToken)), "session");
  const expected = Array.from({ length: 600 }, (_, i) => (i + 1).toString(16).padStart(32, "0"));
  assert.deepEqual(await readAll(again, id), expected);
  assert.equal(b.closed, undefined, "Bob's own connection waits for its server; his client would have moved on");
});

Deno.test("stop over the control socket and SIGTERM send clients elsewhere, clean up and exit 0", async () => {
  await using cluster = await Cluster.open(2);
  const [one, two] = cluster.servers as [ServerProcess, ServerProcess];
  const { a, b, bob, bobToken, id } = await twoPeople(cluster, one, two);
  const paths = dataPaths(cluster.dataDir);
  const stranger = await cluster.connect(one);
  assert.deepEqual(await one.control("stop"), {});
  assert.equal((await one.exit()).code, 0);
  await eventually("Alice is told", () => a.closed !== undefined && stranger.closed !== undefined);
  assert.deepEqual([a.closed!.code, a.closed!.byPeer], [CloseCode.goElsewhere, true]);
  for (const path of [paths.server(0).state, paths.server(0).socket]) {
    await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
  }
  const lane = b.lane();
  lane.append(message(id, 1, 2));
  expectType((await lane.answers(1))[0]!, "stored");
  assert.equal((await two.status()).store, "leader");
  assert.equal((await two.end("SIGTERM")).code, 0);
  await eventually("Bob is told", () => b.closed !== undefined);
  assert.equal(b.closed!.code, CloseCode.goElsewhere);

  const next = await cluster.start([]);
  assert.equal(next.number, 0);
  const bobAgain = await cluster.connect(next);
  expectType(await bobAgain.ask(resumption(bob, bobAgain, bobToken)), "session");
  assert.equal((await readAll(bobAgain, id)).length, 1);
});

Deno.test("10,000 random and truncated datagrams disturb nobody", async () => {
  await using cluster = await Cluster.open(1);
  const [server] = cluster.servers as [ServerProcess];
  const { a, b, id } = await twoPeople(cluster, server, server);
  const noise = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    const lane = a.lane();
    const to = { transport: "udp", hostname: "127.0.0.1", port: server.port } as const;
    for (let i = 0; i < 10_000; i++) {
      const bytes = crypto.getRandomValues(new Uint8Array(i % 1300));
      if (i % 3 > 0 && bytes.length > 0) bytes[0] = [0x01, 0x03, 0x04, 0x05, 0x40, 0x41][i % 6]!;
      // The connection id of somebody who is there, or nearly.
      if (i % 5 === 0 && bytes.length > 9) bytes.set([0, 0, 0, i % 4], 1);
      await noise.send(bytes, to).catch(() => {});
      if (i % 100 === 0) lane.append(message(id, i / 100 + 1, 2, 200));
    }
    const answers = await lane.answers(100);
    assert.deepEqual(answers.map((answer) => expectType(answer, "stored").seq), [...Array(100)].map((_, i) => i + 1));
    await eventually("all are delivered", () => deliveredTo(b).length === 100);
    const { counters, connections } = await server.status();
    assert.equal(connections, 2);
    assert(counters!["datagramsDropped"]! > 1000);
  } finally {
    noise.close();
  }
});
