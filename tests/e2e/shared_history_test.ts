/** What was said before somebody came, handed to them (SECURITY M15): real programs over several servers, one of them killed. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Relay } from "../relay.ts";
import { relayBetween } from "./between.ts";
import { type Cluster, eventually, fastchat, type Result, startCluster, startFastchat } from "./harness.ts";
import { inHome } from "./homes.ts";
import { Person } from "./people.ts";

let cluster: Cluster;
/** Between everybody and the cluster. */
let relay: Relay;
let server: string;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-shared-" });
  cluster = await startCluster(2);
  ({ relay, server } = await relayBetween(cluster));
  const registered = await Promise.all(
    ["alice", "bob", "carol"].map((name) => fastchat(["register", name, "--server", server, ...at(name)])),
  );
  for (const result of registered) succeeded(result);
});

Deno.test.afterAll(async () => {
  relay?.close();
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(home: string): string[] {
  return ["--home", join(folder, home)];
}

function succeeded({ code, stdout, stderr }: Result): string {
  assert.equal(code, 0, stderr);
  return stdout;
}

async function run(home: string, ...words: string[]): Promise<string> {
  return succeeded(await fastchat([...words, ...at(home)]));
}

interface Line {
  readonly type: string;
  readonly from: string;
  readonly text: string;
  readonly copyFrom?: string;
}

async function said(home: string, address: string): Promise<Line[]> {
  const all = await run(home, "history", address, "--limit", "1000", "--json");
  return all.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Line)
    .filter(({ type }) => type === "message");
}

Deno.test("a newcomer is given what a group shares, though who let them in was killed in the midst of giving", async () => {
  await run("alice", "group", "create", "team", "bob");
  await run("alice", "send", "#team", "nobody is given this");
  assert.match(await run("alice", "group", "history", "#team"), /is given nothing of what was said before/);
  assert.match(
    await run("alice", "group", "history", "#team", "on"),
    /is given what was said since 20.* UTC, as the copy/,
  );
  assert.match(await run("alice", "group", "members", "#team"), /is given what was said since 20/);
  const alice = await Person.open({ server, home: join(folder, "alice"), name: "alice" });
  for (let number = 1; number <= MESSAGES; number++) await alice.client.send("#team", textOf(number));
  await alice.close();
  // Over a slow line, so that there is a midst to be killed in.
  Object.assign(relay.up.faults, SLOW);
  const adding = startFastchat(["group", "add", "#team", "carol", ...at("alice")]);
  await adding.stdin.close();
  const output = Promise.all([new Response(adding.stdout).text(), new Response(adding.stderr).text()]);
  const gift = () =>
    inHome(
      join(folder, "alice"),
      ({ database }) => database.get("SELECT sent FROM gifts")?.["sent"] as number | undefined,
    );
  await eventually(async () => (await gift() ?? 0) > 0 || undefined, "some of it is at the server");
  adding.kill("SIGKILL");
  await Promise.all([adding.status, output]);
  assert.notEqual(await gift(), undefined, "it was killed before all was given");
  Object.assign(relay.up.faults, FAST);
  await run("carol", "recv", "--wait", "1");
  assert(copies(await said("carol", "#team")).length < MESSAGES);
  // Whatever this home does next, it gives the rest.
  await eventually(
    async () => (await run("alice", "recv"), await gift() === undefined) || undefined,
    "all is given",
  );
  await eventually(
    async () => (await run("carol", "recv"), copies(await said("carol", "#team")).length === MESSAGES) || undefined,
    "all is taken",
  );
  const heard = await said("carol", "#team");
  assert.deepEqual(heard.map(({ text }) => text), Array.from({ length: MESSAGES }, (_, at) => textOf(at + 1)));
  assert(heard.every(({ from, copyFrom }) => from === "alice" && copyFrom === "alice"));
  assert.match(await run("carol", "history", "#team", "--limit", "2"), /alice.*\(from alice's copy\): 24 /);
});

Deno.test("fastchat device share hands what two people said to another device, when it is approved", async () => {
  await run("alice", "send", "bob", "before the laptop");
  assert.match(await run("bob", "recv", "--wait", "20"), /before the laptop/);
  succeeded(await fastchat(["login", "alice", "--server", server, "--device-name", "laptop", ...at("laptop")]));
  const refused = await fastchat(["device", "share", "laptop", ...at("alice")]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /added with your password alone.*fastchat device approve \w{8}, or try again in 24 h/);
  await run("alice", "device", "approve", "laptop");
  const shared = JSON.parse(await run("alice", "device", "share", "laptop", "--json"));
  assert.deepEqual({ ...shared, id: "" }, {
    type: "device-shared",
    id: "",
    conversations: 1,
    messages: 1,
    cut: false,
    pending: false,
  });
  await run("laptop", "recv");
  assert.deepEqual((await said("laptop", "bob")).map(({ from, text, copyFrom }) => [from, text, copyFrom]), [
    ["alice", "before the laptop", "alice"],
  ]);
  const nothing = await run("alice", "device", "share", "laptop", "--since", "2100-01-01");
  assert.match(nothing, /There is nothing that the device \w{8} could be handed/);
  assert.equal((await fastchat(["device", "share", "laptop", "--since", "soon", ...at("alice")])).code, 2);
});

function copies(heard: readonly Line[]): Line[] {
  return heard.filter(({ copyFrom }) => copyFrom !== undefined);
}

/** So long that a bundle of them takes many parts. */
function textOf(number: number): string {
  return `${number} ${"x".repeat(150_000)}`;
}

const MESSAGES = 24;
/** What there is to give takes seven seconds. */
const SLOW = { rateBits: 4_000_000, queue: 50 };
const FAST = { rateBits: 0 };
