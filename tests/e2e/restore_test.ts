/** An older backup is restored under people who have gone on talking since: what a disaster looks like from both ends. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { ChatClient } from "../../client/mod.ts";
import { inDirectory } from "../temporary.ts";
import { startCluster } from "./harness.ts";
import { Person } from "./people.ts";
import { balancer } from "./upkeep.ts";

Deno.test("an older backup is restored: nothing new is dropped, nothing comes twice, and what nobody had is sent again", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "older.fcb"), dataDir = join(directory, "data");
    const home = (name: string) => join(directory, name);
    const first = await startCluster(2, [], dataDir);
    const people: Person[] = [];
    const enter = async (name: string) => {
      const person = await Person.open({ name, server: first.server, home: home(name) });
      people.push(person);
      return person;
    };
    try {
      const alice = await enter("alice"), bob = await enter("bob");
      await alice.client.send("bob", "1");
      await bob.until(() => bob.from("alice").length === 1, "the first message");
      const made = await balancer("backup", file, "--data", dataDir);
      assert.equal(made.code, 0, made.stderr);
      for (const text of ["2", "3"]) await alice.client.send("bob", text);
      const known = await bob.client.send("alice", "I have them");
      await bob.until(() => bob.client.status(known.id).state === "delivered", "alice has it");
      await bob.close();
      const unheard = await alice.client.send("bob", "nobody has this yet");
      assert.equal(alice.client.status(unheard.id).state, "stored");
    } finally {
      for (const person of people) await person.close();
      await first.stop();
    }

    // As the manual says: the old directory is kept, its keys go to the new one.
    await Deno.rename(dataDir, `${dataDir}.old`);
    await Deno.mkdir(join(dataDir, "keys"), { recursive: true, mode: 0o700 });
    for (const name of ["cluster.pem", "secrets.json"]) {
      await Deno.copyFile(join(`${dataDir}.old`, "keys", name), join(dataDir, "keys", name));
    }
    const restored = await balancer("restore", file, "--data", dataDir, "--verify", "--end-sessions");
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(restored.stdout, /All sessions are over/);

    const second = await startCluster(2, [], dataDir, first.port);
    try {
      people.length = 0;
      const bob = await enter("bob"), alice = await enter("alice");
      await bob.until(() => bob.from("alice").includes("nobody has this yet"), "what the server had lost");
      await alice.client.send("bob", "4");
      await bob.client.send("alice", "5");
      await bob.until(() => bob.from("alice").includes("4"), "what is new");
      await alice.until(() => alice.from("bob").includes("5"), "what is new");
      await alice.until(
        () =>
          alice.client.history("bob", 50).filter(({ from }) => from === "alice").every(({ state }) =>
            state === "delivered"
          ),
        "everything of hers is known to be there",
      );
      const said = ["1", "2", "3", "I have them", "nobody has this yet", "4", "5"];
      for (const person of [alice, bob]) {
        const other = person === alice ? "bob" : "alice";
        const shown = person.client.history(other, 50).map(({ text }) => text);
        assert.deepEqual(shown.toSorted(), said.toSorted(), `${person.name} has everything, once`);
        const reasons = person.refused.map(({ reason }) => reason);
        assert.equal(reasons.length, 1, JSON.stringify(reasons));
        assert.match(
          reasons[0]!,
          /restored from a backup: what was said between .* UTC and .* UTC is on the devices that have it/,
        );
        assert.deepEqual(person.notices.filter((text) => /never came|another message/.test(text)), []);
      }
      const checked = await balancer("check", "--data", dataDir);
      assert.equal(checked.code, 0, checked.stdout);
    } finally {
      for (const person of people) await person.close();
      await second.stop();
    }
  }));

Deno.test("where somebody signed up since the backup, people are asked before they go on with a shorter log of keys", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "older.fcb"), dataDir = join(directory, "data");
    const home = (name: string) => join(directory, name);
    const first = await startCluster(1, [], dataDir), { server } = first;
    const enter = (name: string) => Person.open({ name, server, home: home(name) });
    const alice = await enter("alice"), bob = await enter("bob");
    try {
      await alice.client.send("bob", "1");
      await bob.until(() => bob.from("alice").length === 1, "the first message");
      const made = await balancer("backup", file, "--data", dataDir, "--with-keys");
      assert.equal(made.code, 0, made.stderr);
      const carol = await enter("carol");
      await carol.client.send("alice", "I am new");
      await alice.until(() => alice.from("carol").length === 1, "her message");
      await alice.client.send("carol", "so you are");
      await carol.close();
    } finally {
      await alice.close();
      await bob.close();
      await first.stop();
    }
    await Deno.rename(dataDir, `${dataDir}.old`);
    assert.equal((await balancer("restore", file, "--data", dataDir)).code, 0);
    const second = await startCluster(1, [], dataDir, first.port);
    const people: Person[] = [];
    try {
      const wary = await enter("alice");
      people.push(wary);
      await wary.until(() => wary.notices.some((text) => /different key logs/.test(text)), "a warning");
      assert.match(
        wary.notices.find((text) => /different key logs/.test(text))!,
        /set back to a backup.*trust --server/,
      );
      await assert.rejects(wary.client.send("bob", "2", { timeoutMs: 3_000 }));
      await wary.close();
      await ChatClient.trustServer({ home: home("alice"), server });
      const calm = await enter("alice"), him = await enter("bob");
      people.splice(0, 1, calm, him);
      await calm.client.send("bob", "3");
      await him.until(() => him.from("alice").includes("3"), "what is new");
      assert.deepEqual(him.refused.map(({ reason }) => /restored from a backup/.test(reason)), [true]);
    } finally {
      for (const person of people) await person.close();
      await second.stop();
    }
  }));
