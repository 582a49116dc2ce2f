/**
 * Conversations of several people and devices, with real servers and processes: offline and back, killed servers, killed
 * clients, programs that share a home, and homes put back (SECURITY M11 and test 6).
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { alive, eventually, fastchat, lines, startCluster, startFastchat, TEST_ENV } from "./harness.ts";
import { inDirectory } from "../temporary.ts";
import { Person } from "./people.ts";
import type { UserName } from "../../shared/protocol/mod.ts";

const names = (...all: string[]) => all as UserName[];

Deno.test("members: four devices of three people across four servers, offline and back, with a server killed", () =>
  inDirectory(async (homes) => {
    const cluster = await startCluster(4);
    const open = (name: string, home = name) => Person.open({ server: cluster.server, name, home: join(homes, home) });
    const people = new Map<string, Person>();
    try {
      for (const name of ["alice", "bob", "carol"]) people.set(name, await open(name));
      const alice = people.get("alice")!.client;
      await alice.createGroup("team");
      await alice.changeGroup("team", { do: "add", names: names("bob", "carol") });
      const isIn = (name: string) => () => people.get(name)!.client.groups().length === 1;
      for (const name of ["bob", "carol"]) await eventually(() => isIn(name)() || undefined, `${name} is in`);
      await alice.send("#team", "1");

      // Carol is away, Alice has a second device by now, and a server dies while people type.
      await people.get("carol")!.close();
      people.set("alice2", await open("alice", "alice2"));
      await people.get("bob")!.client.send("#team", "2");
      await eventually(() => isIn("alice2")() || undefined, "the second device is in");
      const [victim] = await cluster.serverPids();
      const sending = ["alice", "alice2", "bob"].flatMap((name) =>
        [1, 2, 3, 4, 5].map((i) => people.get(name)!.client.send("#team", `${name} ${i}`))
      );
      Deno.kill(victim!, "SIGKILL");
      await Promise.all(sending);
      await eventually(() => !alive(victim!) || undefined, "it is dead");
      people.set("carol", await open("carol"));
      await people.get("carol")!.client.send("#team", "last");

      const wanted = ["alice", "alice2", "bob"].flatMap((name) => [1, 2, 3, 4, 5].map((i) => `${name} ${i}`));
      const heard = (name: string) => people.get(name)!.client.history("#team", 100).map(({ text }) => text);
      for (const name of people.keys()) {
        await eventually(
          () => heard(name).includes("last") && heard(name).length >= 17 || undefined,
          `${name} has all`,
        );
        const own = heard(name).filter((text) => wanted.includes(text));
        assert.deepEqual(own.toSorted(), wanted.toSorted(), `${name}: each once`);
        assert.deepEqual(people.get(name)!.refused, [], name);
        for (const sender of ["alice", "alice2", "bob"]) {
          assert.deepEqual(
            own.filter((text) => text.startsWith(`${sender} `)),
            wanted.filter((text) => text.startsWith(`${sender} `)),
          );
        }
      }
      const first = heard("bob").slice(-16);
      for (const name of people.keys()) assert.deepEqual(heard(name).slice(-16), first, `${name}: one order for all`);
      for (const person of people.values()) {
        assert.deepEqual(person.client.group("team").members.map(({ name }) => name), ["alice", "bob", "carol"]);
      }
    } finally {
      for (const person of people.values()) await person.close();
      await cluster.stop();
    }
  }));

Deno.test("members: send runs in a home whose listener is open, to a group too, and both go on", () =>
  inDirectory(async (homes) => {
    const cluster = await startCluster(2);
    const at = (name: string) => ["--home", join(homes, name)];
    try {
      for (const name of ["alice", "bob"]) {
        const made = await fastchat(["register", name, "--server", cluster.server, ...at(name)]);
        assert.equal(made.code, 0, made.stderr);
      }
      const listening = startFastchat([...at("bob"), "listen", "--json"]);
      const errors = new Response(listening.stderr).text(), heard: { type: string; text?: string }[] = [];
      const reading = (async () => {
        for await (const line of lines(listening.stdout)) heard.push(JSON.parse(line));
      })();
      try {
        await eventually(() => heard.some(({ type }) => type === "connection") || undefined, "bob listens");
        const run = async (...words: string[]) => {
          const { code, stdout, stderr } = await fastchat(words);
          assert.equal(code, 0, stderr + stdout);
        };
        await run("group", "create", "team", ...at("alice"));
        await run("group", "add", "#team", "bob", ...at("alice"));
        await run("send", "#team", "one", ...at("alice"));
        await eventually(() => heard.some(({ text }) => text === "one") || undefined, "bob hears it");
        await Promise.all(["two", "three", "four"].map((text) => run("send", "#team", text, ...at("bob"))));
        await run("send", "#team", "five", ...at("alice"));
        await eventually(() => heard.some(({ text }) => text === "five") || undefined, "bob hears that, too");
        const history = await fastchat(["history", "#team", "--json", ...at("bob")]);
        const texts = history.stdout.trim().split("\n").map((line) => JSON.parse(line).text).filter(Boolean);
        assert.deepEqual(texts.toSorted(), ["five", "four", "one", "three", "two"]);
        assert.deepEqual(heard.filter(({ type }) => type === "refused"), []);
      } finally {
        listening.kill("SIGTERM");
        await listening.status;
        await reading;
        await errors;
        await listening.stdin.close().catch(() => {});
      }
    } finally {
      await cluster.stop();
    }
  }));

Deno.test("members: a client killed between sealing and sending uses no key twice, and what it sealed arrives once", () =>
  inDirectory(async (homes) => {
    const dataDir = join(homes, "data"), cluster = await startCluster(2, [], dataDir), home = join(homes, "alice");
    const bob = await Person.open({ server: cluster.server, name: "bob", home: join(homes, "bob") });
    try {
      const alice = await Person.open({ server: cluster.server, name: "alice", home });
      await alice.client.send("bob", "0");
      await alice.close();
      for (let round = 0; round < 4; round++) {
        const child = startTypist(cluster.server, home, 10_000);
        const status = child.status;
        const reading = (async () => {
          for await (const _line of lines(child.stdout));
        })();
        // Sealed and kept, and the answer is not there: whether it has left nobody knows.
        await eventually(() => waitsSealed(home) || undefined, "something is sealed");
        child.kill("SIGKILL");
        await Promise.all([status, reading]);
      }
      const again = await Person.open({ server: cluster.server, name: "alice", home });
      await eventually(() => again.client.outbox().length === 0 || undefined, "everything left", 120);
      const wanted = again.client.history("bob", 100_000).map(({ text }) => text);
      await bob.until(() => bob.from("alice").length >= wanted.length, "everything arrives", 120);
      assert.deepEqual(bob.from("alice"), wanted, "each once, in order");
      assert.deepEqual([bob.refused, bob.notices.filter((text) => /did not arrive|never came|back/.test(text))], [
        [],
        [],
      ]);
      await again.close();
    } finally {
      await bob.close();
      await cluster.stop();
    }
    // Two rows under one key would have opened for nobody: Bob opened all there are.
    const database = new DatabaseSync(join(dataDir, "store.db"), { readOnly: true, timeout: 10_000 });
    const { rows, ids } = database.prepare("SELECT count(*) AS rows, count(DISTINCT message_id) AS ids FROM log")
      .get()!;
    database.close();
    assert.equal(rows, ids);
  }));

Deno.test("Rolled-back home: after a restore 50 messages old and a send no key has two ciphertexts, and the message arrives once", () =>
  inDirectory(async (homes) => {
    const dataDir = join(homes, "data"), cluster = await startCluster(2, [], dataDir), home = join(homes, "alice");
    const bob = await Person.open({ server: cluster.server, name: "bob", home: join(homes, "bob") });
    const open = () => Person.open({ server: cluster.server, name: "alice", home });
    try {
      let alice = await open();
      await alice.client.send("bob", "0");
      await alice.close();
      const files = ["fastchat.db", "fastchat.db-wal"], copies = new Map<string, Uint8Array>();
      for (const file of files) {
        const bytes = await Deno.readFile(join(home, file)).catch(() => undefined);
        if (bytes !== undefined) copies.set(file, bytes);
      }
      alice = await open();
      for (let i = 1; i <= 50; i++) await alice.client.send("bob", String(i));
      await alice.close();
      for (const file of [...files, "fastchat.db-shm"]) await Deno.remove(join(home, file)).catch(() => {});
      for (const [file, bytes] of copies) await Deno.writeFile(join(home, file), bytes);

      alice = await open();
      await alice.client.send("bob", "after the restore");
      await bob.until(() => bob.from("alice").includes("after the restore"), "it arrives");
      const expected = [...Array.from({ length: 51 }, (_, i) => String(i)), "after the restore"];
      assert.deepEqual(bob.from("alice"), expected, "each once");
      assert.deepEqual(bob.refused, [], "a key that was used twice would open for nobody");
      assert(alice.notices.some((text) => /older|back/.test(text)), JSON.stringify(alice.notices));
      await bob.client.send("alice", "welcome back");
      await alice.until(() => alice.from("bob").includes("welcome back"), "and she reads on");
      await alice.close();
    } finally {
      await bob.close();
      await cluster.stop();
    }
    const database = new DatabaseSync(join(dataDir, "store.db"), { readOnly: true, timeout: 10_000 });
    const bodies = database.prepare("SELECT body FROM log").all().map(({ body }) => (body as Uint8Array).toHex());
    database.close();
    assert.equal(new Set(bodies).size, bodies.length);
  }));

/** Whether an outbox row is sealed and not stored yet. */
function waitsSealed(home: string): boolean {
  const database = new DatabaseSync(join(home, "fastchat.db"), { readOnly: true, timeout: 10_000 });
  try {
    return database.prepare("SELECT 1 FROM outbox WHERE body IS NOT NULL").get() !== undefined;
  } finally {
    database.close();
  }
}

function startTypist(server: string, home: string, last: number): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("typist.ts", import.meta.url).pathname,
      server,
      home,
      "bob",
      String(last),
    ],
    env: TEST_ENV,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}
