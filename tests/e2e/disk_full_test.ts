/** A cluster whose disk is full: a file system of its own, 72 MiB in memory, which only root can mount. */
import assert from "node:assert/strict";
import { statfsSync } from "node:fs";
import { join } from "node:path";
import { inDirectory } from "../temporary.ts";
import { eventually, fastchat, startCluster } from "./harness.ts";
import { Person } from "./people.ts";
import { server } from "./upkeep.ts";

const NOT_HERE = Deno.build.os !== "linux"
  ? "only Linux mounts a tmpfs"
  : Deno.uid() !== 0
  ? "only root may mount a file system"
  : undefined;
if (NOT_HERE !== undefined) console.log(`The test of a full disk is left out: ${NOT_HERE}`);

Deno.test({
  name: "a full disk: messages wait in the outbox, log-ins and reading go on, and with room everything is stored once",
  ignore: NOT_HERE !== undefined,
  fn: () =>
    inDirectory(async (directory) => {
      const data = join(directory, "data");
      await Deno.mkdir(data, { mode: 0o700 });
      await run("mount", "-t", "tmpfs", "-o", "size=96m,mode=0700", "fastchat-test", data);
      const people: Person[] = [];
      const open = async (name: string, home = name) => {
        const person = await Person.open({ name, server: cluster.server, home: join(directory, home) });
        people.push(person);
        return person;
      };
      const cluster = await startCluster(2, [], data).catch(async (error) => {
        await run("umount", data);
        throw error;
      });
      try {
        const alice = await open("alice");
        for (const name of ["bob", "dave"]) await (await open(name)).close();
        await alice.client.send("bob", "first");
        await Deno.writeFile(join(data, "ballast"), new Uint8Array(24 << 20));

        // Larger and larger parts of what is left, until nothing goes any more.
        const texts: string[] = [], sending: Promise<unknown>[] = [];
        let stored = 0;
        const told = () => alice.notices.filter((text) => /disk is full/.test(text));
        while (told().length === 0) {
          const text = `${texts.length} ${"x".repeat(200_000)}`;
          texts.push(text);
          const sent = alice.client.send("bob", text).then(() => stored++);
          sending.push(sent);
          await Promise.race([
            sent,
            alice.until(() => told().length > 0, "the message is stored or held up", 120),
          ]);
          assert.ok(texts.length < 400, "The disk never fills");
        }
        assert.deepEqual(told(), [
          "The server's disk is full: what you send waits in the outbox, and goes when there is room",
        ]);
        // The server makes what room it can. Somebody else takes it, but for what log-ins need.
        const { bavail, bsize } = statfsSync(data);
        await Deno.writeFile(join(data, "more"), new Uint8Array(Math.max(0, bavail * bsize - LEFT_BYTES)));
        // A command says why, and with which exit code.
        const late = await fastchat(["send", "bob", "late", "--timeout", "10", "--home", join(directory, "dave")]);
        assert.equal(late.code, 7, late.stderr);
        assert.match(late.stderr, /disk is full/);
        const storedWhenFull = stored;
        assert.ok(storedWhenFull >= 1, `${storedWhenFull}`);

        // Whoever comes back reads what is stored; a new device logs in and somebody new signs up.
        const bob = await open("bob");
        await bob.until(() => bob.from("alice").length >= 1 + storedWhenFull, "bob reads what is stored");
        const carol = await open("carol");
        assert.ok((await carol.client.users()).some(({ name }) => name === "alice"));
        await open("bob", "bobs-second");
        assert.equal(stored, storedWhenFull);

        for (const name of ["ballast", "more"]) await Deno.remove(join(data, name));
        await Promise.all(sending);
        await alice.client.send("bob", "last");
        const wanted = ["first", ...texts];
        await bob.until(() => bob.from("alice").includes("last"), "bob hears everything", 60);
        assert.deepEqual(bob.from("alice"), [...wanted, "last"]);
        await eventually(
          () => log(data).then((text) => text.includes("store.room")),
          "the log says that there is room",
        );
        assert.match(await log(data), /store\.full/);
      } finally {
        for (const person of people) await person.close().catch(() => {});
        await cluster.stop();
        await run("umount", data);
      }
    }),
});

Deno.test({
  name: "whoever finds no room to begin in says so in a sentence, and a server begins once there is some",
  ignore: NOT_HERE !== undefined,
  fn: () =>
    inDirectory(async (directory) => {
      const data = join(directory, "data");
      await Deno.mkdir(data, { mode: 0o700 });
      // Room for keys and logs, and not for a database.
      await run("mount", "-t", "tmpfs", "-o", "size=160k,mode=0700", "fastchat-test", data);
      try {
        const smoke = () => server("--data", data, "--host", "127.0.0.1", "--smoke");
        const refused = await smoke();
        assert.equal(refused.code, 1, refused.stderr);
        assert.match(refused.stderr, /^Cannot start: there is no room on the disk of .*\. Make room and start again/);
        const homeless = await fastchat(["register", "alice", "--server", "127.0.0.1:1", "--home", join(data, "home")]);
        assert.deepEqual([homeless.code, /home: there is no room on its disk/.test(homeless.stderr)], [2, true]);
        await run("mount", "-o", "remount,size=96m", data);
        const begun = await smoke();
        assert.equal(begun.code, 0, begun.stderr);
      } finally {
        await run("umount", data);
      }
    }),
});

/** Less than the server holds back, so that it goes on to refuse messages. */
const LEFT_BYTES = 6 << 20;

/** All servers' logs. A full disk may have kept lines out, but never the first that said so: it came before. */
async function log(data: string): Promise<string> {
  const texts = [0, 1].map((number) => Deno.readTextFile(join(data, "log", `server-${number}.log`)).catch(() => ""));
  return (await Promise.all(texts)).join("");
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}
