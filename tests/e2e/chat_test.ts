/** The client library and the commands over real servers: what must hold when processes die, share a home, or are not who they were. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { KeyChangedError, NotAuthenticatedError, RefusedError } from "../../client/mod.ts";
import { ChatClient } from "../../client/mod.ts";
import { inDirectory } from "../temporary.ts";
import {
  type Cluster,
  eventually,
  fastchat,
  lines,
  PASSWORD,
  runArguments,
  startCluster,
  startFastchat,
  steadyPort,
  TEST_ENV,
} from "./harness.ts";
import { Person } from "./people.ts";

Deno.test("chat: servers killed in mid-send and a dead balancer lose, repeat and reorder nothing", async () => {
  await inDirectory(async (homes) => {
    const cluster = await startCluster(3);
    const open = (name: string) => Person.open({ server: cluster.server, name, home: join(homes, name) });
    const people: Person[] = [];
    try {
      const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
      people.push(alice, bob);
      const expected: string[] = [];
      for (const round of ["first", "second"]) {
        const texts = Array.from({ length: 80 }, (_, i) => `${round} ${i}`);
        const sends = texts.map((text) => alice.client.send("bob", text));
        expected.push(...texts);
        await sends[20];
        Deno.kill(await pidOf(cluster, alice.client.connectedTo), "SIGKILL");
        const seqs = (await Promise.all(sends)).map(({ seq }) => seq);
        // The first row is the commit that made the group.
        assert.deepEqual(seqs, texts.map((_, i) => expected.length - texts.length + i + 2));
        await bob.until(() => bob.from("alice").length >= expected.length, "bob has everything");
        assert.deepEqual(bob.from("alice"), expected);
      }
      cluster.balancer.kill("SIGKILL");
      await cluster.balancer.status;
      await alice.client.send("bob", "without the balancer");
      await bob.until(() => bob.from("alice").includes("without the balancer"), "chat goes on");
      await bob.close();
      // Not only what is connected goes on: a home remembers its cluster's servers.
      const again = await open("bob");
      people.push(again);
      await again.client.send("alice", "back");
      await alice.until(() => alice.from("bob").includes("back"), "alice hears bob, who came back without a balancer");
    } finally {
      for (const person of people) await person.close();
      await cluster.stop();
    }
  });
});

Deno.test("chat: two processes on one home show each message once and send in turn", async () => {
  await inDirectory(async (homes) => {
    const cluster = await startCluster(2);
    const home = join(homes, "bob");
    const alice = await Person.open({ server: cluster.server, name: "alice", home: join(homes, "alice") });
    const bob = await Person.open({ server: cluster.server, name: "bob", home });
    await bob.close();
    const listening = startFastchat(["--home", home, "listen", "--json"]);
    const errors = new Response(listening.stderr).text(), heard: { type: string; text?: string; id?: string }[] = [];
    const reading = (async () => {
      for await (const line of lines(listening.stdout)) heard.push(JSON.parse(line));
    })();
    try {
      const received = () => heard.filter(({ type }) => type === "message").map(({ text }) => text);
      await eventually(() => heard.some(({ type }) => type === "connection") || undefined, "bob listens");
      await alice.client.send("bob", "one");
      const sent = await Promise.all(
        ["two", "three"].map((text) => fastchat(["--home", home, "send", "alice", text])),
      );
      assert.deepEqual(sent.map(({ code, stderr }) => [code, stderr]), [[0, ""], [0, ""]]);
      for (const { stdout } of sent) assert.match(stdout, /^[0-9a-f]{32}\n$/);
      await alice.until(() => alice.from("bob").length >= 2, "alice hears both");
      await alice.client.send("bob", "four");
      await eventually(() => received().length >= 2 || undefined, "bob hears both");
      assert.deepEqual(received(), ["one", "four"]);
      const recv = await fastchat(["--home", home, "recv", "--json"]);
      assert.deepEqual([recv.code, recv.stdout], [0, ""], "what one process has shown no other shows again");
      const history = await fastchat(["--home", home, "history", "alice", "--json"]);
      const told = history.stdout.trim().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(told.map(({ seq }) => seq), [2, 3, 4, 5]);
      assert.deepEqual(told.map(({ text }) => text).sort(), ["four", "one", "three", "two"]);
    } finally {
      listening.kill("SIGTERM");
      await listening.status;
      await reading;
      await errors;
      await listening.stdin.close().catch(() => {});
      await alice.close();
      await cluster.stop();
    }
  });
});

Deno.test("chat: who is not who they say is told so", async () => {
  await inDirectory(async (homes) => {
    const cluster = await startCluster(1);
    const alice = await Person.open({ server: cluster.server, name: "alice", home: join(homes, "alice") });
    const attempt = (options: { name: string; password?: string; register?: "only" }) =>
      ChatClient.open({ server: cluster.server, home: join(homes, "new"), password: PASSWORD, ...options });
    try {
      await assert.rejects(attempt({ name: "alice", password: "not the password 1" }), NotAuthenticatedError);
      await assert.rejects(attempt({ name: "nobody" }), NotAuthenticatedError);
      await assert.rejects(attempt({ name: "ALICE", register: "only" }), RefusedError);
      await assert.rejects(alice.client.send("nobody", "hello?"), RefusedError);
    } finally {
      await alice.close();
      await cluster.stop();
    }
  });
});

Deno.test("chat: another cluster at the same address is refused until it is trusted", async () => {
  await inDirectory(async (folder) => {
    const port = await steadyPort(), home = join(folder, "alice"), server = `127.0.0.1:${port}`;
    const one = await startBalancer(port, join(folder, "one"));
    const open = () =>
      ChatClient.open({ server, home, name: "alice", password: PASSWORD, register: true, timeoutMs: 30_000 });
    await (await open()).close();
    await stopBalancer(one, join(folder, "one"));
    const two = await startBalancer(port, join(folder, "two"));
    try {
      await assert.rejects(open(), (error) => {
        assert(error instanceof KeyChangedError);
        assert.equal(error.exitCode, 6);
        assert.match(error.message, new RegExp(`fastchat trust --server ${server}`));
        return true;
      });
      const refused = await fastchat(["--home", home, "send", "bob", "hi"]);
      assert.deepEqual([refused.code, refused.stdout], [6, ""]);
      const trusted = await fastchat(["--home", home, "trust", "--server", server]);
      assert.equal(trusted.code, 0, trusted.stderr);
      // Trusted, but nobody there: the account was another cluster's.
      const unknown = await fastchat(["--home", home, "send", "bob", "hi"]);
      assert.notEqual(unknown.code, 6, unknown.stderr);
      assert.notEqual(unknown.code, 0);
    } finally {
      await stopBalancer(two, join(folder, "two"));
    }
  });
});

/** The server process behind HOST:PORT. */
async function pidOf(cluster: Cluster, address: string): Promise<number> {
  const run = join(cluster.dataDir, "run");
  for await (const entry of Deno.readDir(run)) {
    if (!/^server-\d+\.json$/.test(entry.name)) continue;
    const state = JSON.parse(await Deno.readTextFile(join(run, entry.name)));
    if (address.endsWith(`:${state.port}`)) return state.pid;
  }
  throw new Error(`No server is at ${address}`);
}

/** On a port of one's choice, unlike {@linkcode startCluster}. */
async function startBalancer(port: number, dataDir: string): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...runArguments("balancer"), "1", String(port), "--host", "127.0.0.1", "--data", dataDir],
    env: TEST_ENV,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  for await (const line of lines(child.stdout)) {
    assert.match(line, /^ready /);
    return child;
  }
  throw new Error(`The balancer ended with ${(await child.status).code}`);
}

async function stopBalancer(child: Deno.ChildProcess, dataDir: string): Promise<void> {
  child.kill("SIGTERM");
  await child.status;
  await eventually(
    async () => {
      for await (const entry of Deno.readDir(join(dataDir, "run"))) {
        if (/^server-\d+\.json$/.test(entry.name)) {
          return undefined;
        }
      }
      return true;
    },
    "its servers are gone",
  );
}
