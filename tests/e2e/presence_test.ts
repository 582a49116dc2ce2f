/** Who is here and who types, across four servers that are killed, with real clients; some of which die with their server. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { PresenceEvent, TypingEvent } from "../../client/mod.ts";
import { dataPaths, parseServerStatus, type ServerStatus } from "../../shared/cluster/mod.ts";
import { callControl } from "../../shared/host/mod.ts";
import { inDirectory } from "../temporary.ts";
import { relayBetween } from "./between.ts";
import { type Cluster, eventually, fastchat, lines, startCluster, startFastchat } from "./harness.ts";
import { openClient } from "./people.ts";

/**
 * As docs/MANUAL.md says: within so long of a crash somebody who is not back is shown as gone. A machine that has other things to
 * do takes some times as long.
 */
const GONE_SECONDS = 8;
/** Whoever is back by then was never shown as gone: less than servers wait. */
const BACK_MS = 2_000;
/** Longer than the board waits for anybody: what is not told by then is not told. */
const QUIET_MS = 6_000;

/** A client in this process, and what it was told of the moment. */
class Watcher {
  readonly told: (PresenceEvent | TypingEvent)[] = [];
  /** When it was connected last. */
  connectedMs = 0;

  private constructor(readonly client: Awaited<ReturnType<typeof openClient>>) {
    const events = client.events({ presence: true });
    void (async () => {
      for await (const event of events) {
        if (event.type === "presence" || event.type === "typing") this.told.push(event);
        if (event.type === "connection" && event.state === "connected") this.connectedMs = performance.now();
      }
    })();
  }

  static async open(name: string, directory: string, server: string): Promise<Watcher> {
    return new Watcher(await openClient({ name, server, home: join(directory, name) }));
  }

  /** What was told of somebody's presence, in order. */
  of(name: string): (boolean | null)[] {
    return this.told.flatMap((event) => event.type === "presence" && event.name === name ? [event.online] : []);
  }

  knows(names: readonly string[], online: boolean): Promise<unknown> {
    return eventually(
      () => names.every((name) => this.client.presence(name) === online) || undefined,
      `${this.client.name} knows that ${names} ${online ? "are" : "are not"} here`,
    );
  }
}

/** A client in a process of its own, to be killed. */
class Mortal {
  private constructor(readonly child: Deno.ChildProcess, readonly port: number, readonly name: string) {}

  static async open(name: string, directory: string, server: string): Promise<Mortal> {
    const home = ["--home", join(directory, name)];
    const { code, stderr } = await fastchat(["register", name, "--server", server, ...home]);
    assert.ok(code === 0 || /taken/.test(stderr), stderr);
    const child = startFastchat(["listen", "--json", ...home]);
    const output = lines(child.stdout);
    for (;;) {
      const event = JSON.parse((await output.next()).value!);
      if (event.state === "connected") return new Mortal(child, Number(event.server.split(":").at(-1)), name);
    }
  }

  /** As people leave. */
  leave(): Promise<void> {
    return this.kill("SIGTERM");
  }

  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    this.child.kill(signal);
    await Promise.all([this.child.status, this.child.stdin.close(), this.child.stderr.cancel()]);
  }
}

async function statuses({ dataDir }: Cluster): Promise<ServerStatus[]> {
  const paths = dataPaths(dataDir);
  const all = await Promise.all(
    [0, 1, 2, 3].map((number) =>
      callControl(paths.server(number).socket, { command: "status" }).catch(() => undefined)
    ),
  );
  return all.flatMap((answer) => (answer && parseServerStatus(answer)) ?? []);
}

Deno.test("presence and typing over four servers", async (t) => {
  await inDirectory(async (directory) => {
    const cluster = await startCluster(4, ["--strategy", "round-robin"], join(directory, "data")),
      watchers: Watcher[] = [];
    const lossy = await relayBetween(cluster, { seed: 11, loss: 0.25, delayMs: 10 });
    const mortals: Mortal[] = [];
    try {
      const names = ["alice", "bob", "carol", "dave", "erin"];
      for (const name of names) watchers.push(await Watcher.open(name, directory, cluster.server));
      const [alice, bob] = watchers as [Watcher, Watcher];

      await t.step("everybody sees everybody, wherever they are", async () => {
        for (const watcher of watchers) watcher.client.watchPresence([...names, "frank", "grace"]);
        await Promise.all(watchers.map((watcher) => watcher.knows(names, true)));
        assert.ok(new Set(watchers.map(({ client }) => client.connectedTo)).size > 1, "on several servers");
      });

      await t.step("listen tells of it with --presence only", async () => {
        const home = ["--home", join(directory, "listener")];
        assert.equal((await fastchat(["register", "listener", "--server", cluster.server, ...home])).code, 0);
        await alice.client.send("listener", "hi");
        const types = async (...options: string[]) => {
          const child = startFastchat(["listen", "--json", ...options, ...home]), seen: string[] = [];
          let typing: ReturnType<typeof setInterval> | undefined;
          for await (const line of lines(child.stdout)) {
            const event = JSON.parse(line);
            seen.push(event.type === "message" ? event.text : event.type);
            if (event.type === "presence") assert.deepEqual(event, { type: "presence", name: "alice", online: true });
            if (event.type === "typing") assert.deepEqual([event.name, event.typing], ["alice", true]);
            // With every key, as people type: a hint may get lost.
            if (event.type === "presence") typing = setInterval(() => alice.client.typing("listener"), 300);
            // Without the option nothing but the message comes, whatever Alice does.
            if (event.text === "hi" && options.length === 0) {
              alice.client.typing("listener");
              await alice.client.send("listener", "end");
            }
            if (event.text === "end" || event.type === "typing") child.kill("SIGTERM");
          }
          clearInterval(typing);
          await Promise.all([child.status, child.stdin.close(), child.stderr.cancel()]);
          return seen.filter((type) => type !== "connection" && type !== "notice");
        };
        assert.deepEqual(await types(), ["hi", "end"]);
        assert.deepEqual(await types("--presence"), ["presence", "typing"]);
        for (const watcher of watchers) watcher.told.length = 0;
      });

      await t.step("typing goes to the other one, and ends", async () => {
        const { conversation } = await alice.client.send("bob", "hi");
        alice.client.typing("bob");
        const typing = () => bob.told.filter(({ type }) => type === "typing");
        await eventually(() => typing().length >= 1 || undefined, "Bob is told");
        assert.deepEqual(typing()[0], { type: "typing", name: "alice", conversation, typing: true });
        await eventually(() => typing().length >= 2 || undefined, "of the end too");
        assert.deepEqual(typing()[1], { type: "typing", name: "alice", conversation, typing: false });
        for (const watcher of watchers.slice(2)) assert.ok(watcher.told.every(({ type }) => type === "presence"));
      });

      await t.step(
        "over a path that loses a quarter nothing else suffers, and the truth comes in the end",
        async () => {
          const far = await Watcher.open("heidi", directory, lossy.server);
          far.client.watchPresence(["alice", "frank"]);
          await far.knows(["alice"], true);
          const frank = await Watcher.open("frank", directory, cluster.server);
          await eventually(() => far.client.presence("frank") || undefined, "Frank is seen");
          for (let count = 0; count < 40; count++) far.client.typing("frank");
          const sent = await Promise.all(Array.from({ length: 20 }, (_, i) => far.client.send("frank", `text ${i}`)));
          assert.deepEqual(sent.map(({ seq }) => seq), Array.from({ length: 20 }, (_, i) => i + 2));
          await eventually(() => frank.client.unshown().length === 20 || undefined, "all of it arrives");
          await frank.client.close();
          await eventually(() => far.client.presence("frank") === false || undefined, "and that Frank is gone", 80);
          await far.client.close();
          assert.ok(lossy.relay.down.counters.lost > 5);
        },
      );

      await t.step("a client that is killed alone is gone within forty seconds", async () => {
        const mortal = await Mortal.open("grace", directory, cluster.server);
        await alice.knows(["grace"], true);
        await mortal.kill();
        await eventually(() => alice.client.presence("grace") === false || undefined, "Grace is gone", 80);
      });

      for (const victim of ["a follower", "the leader"] as const) {
        await t.step(`${victim} is killed with some of its clients: they are gone, nobody else is`, async () => {
          // The killed are replaced by the balancer, so all four are there for the second round too.
          await eventually(async () => (await statuses(cluster)).length === 4 || undefined, "four servers");
          const isVictim = ({ store }: ServerStatus) => (store === "leader") === (victim === "the leader");
          // In turn: until one is where it can be killed with its server.
          let mortal: Mortal | undefined, server: ServerStatus | undefined;
          for (let attempt = 0; attempt < 16 && server === undefined; attempt++) {
            mortals.push(mortal = await Mortal.open("frank", directory, cluster.server));
            const now = await statuses(cluster);
            server = now.find((status) => isVictim(status) && status.port === mortal!.port);
            if (server === undefined) await mortals.pop()!.leave();
          }
          assert.ok(server !== undefined && mortal !== undefined, "a client on a server to be killed");
          const { name } = mortal;
          await Promise.all(watchers.map((watcher) => watcher.knows([name], true)));
          for (const watcher of watchers) watcher.told.length = 0;
          const away = watchers.filter(({ client }) => client.connectedTo.endsWith(`:${server!.port}`));
          console.log(`killing ${victim} with ${name} and ${away.length} who come back`);

          const dead = mortals.pop()!.kill();
          Deno.kill(server.pid, "SIGKILL");
          const killedMs = performance.now();
          await Promise.all([dead, ...watchers.map((watcher) => watcher.knows([name], false))]);
          const goneMs = performance.now() - killedMs;
          console.log(`gone after ${Math.round(goneMs)} ms`);
          assert.ok(goneMs < 4 * GONE_SECONDS * 1000);
          await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
          for (const watcher of watchers) {
            assert.deepEqual(watcher.of(name), [false], `${watcher.client.name} is told once that ${name} is gone`);
            for (const other of names) {
              const late = away.some(({ client, connectedMs }) =>
                client.name === other && connectedMs > killedMs + BACK_MS
              );
              if (late) assert.notEqual(watcher.of(other).at(-1), false, `${other} is back`);
              else assert.deepEqual(watcher.of(other), [], `${other} never was`);
            }
          }
          assert.deepEqual(
            (await alice.client.online()).map(({ name }) => name),
            names,
            "no ghost, and nobody missing",
          );
        });
      }
    } finally {
      for (const mortal of mortals) await mortal.kill();
      await Promise.all(watchers.map(({ client }) => client.close()));
      lossy.relay.close();
      await cluster.stop();
    }
  });
});
