/** A store that takes nothing for a while: its leader is stopped under clients that go on sending. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { dataPaths, parseServerStatus, readServerStates } from "../../shared/cluster/mod.ts";
import { callControl } from "../../shared/host/mod.ts";
import { inDirectory } from "../temporary.ts";
import { startCluster } from "./harness.ts";
import { Person } from "./people.ts";

Deno.test({
  name:
    "a store that stands still: what a client sends waits in its outbox, servers stay small, and all of it arrives, once and in order",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, "data"), home = join(directory, "alice");
      // Nobody ends the leader for its silence: it is a disk that takes its time.
      const cluster = await startCluster(2, ["--hung-after", "3600", "--strategy", "round-robin"], dataDir);
      const people: Person[] = [];
      let leader: number | undefined;
      try {
        const { leading, following } = await roles(dataDir);
        const alice = await openAt(following.port, { name: "alice", server: cluster.server, home }, people);
        const bob = await openAt(
          following.port,
          { name: "bob", server: cluster.server, home: join(directory, "bob") },
          people,
        );
        await alice.client.send("bob", "before");
        await bob.until(() => bob.from("alice").length === 1, "the first message");

        const before = residentMiB(following.pid);
        Deno.kill(leader = leading.pid, "SIGSTOP");
        const texts = Array.from({ length: MESSAGES }, (_, at) => `${at} `.padEnd(TEXT_BYTES, "x"));
        const sending = Promise.all(texts.map((text) => alice.client.send("bob", text)));
        sending.catch(() => {});
        let most = 0, inFlight = 0;
        for (let look = 0; look < STILL_MS / LOOK_MS; look++) {
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
          most = Math.max(most, residentMiB(following.pid));
          inFlight = Math.max(inFlight, sealedBytes(home));
        }
        const offered = MESSAGES * TEXT_BYTES;
        assert.equal(bob.from("alice").length, 1, "nothing was stored meanwhile");
        assert.ok(inFlight > 0 && inFlight < 5 << 20, `${inFlight} of ${offered} bytes left the outbox`);
        assert.ok(
          most - before < 24,
          `The server grew by ${most - before} MiB while ${offered >> 20} MiB were offered`,
        );

        Deno.kill(leader, "SIGCONT");
        leader = undefined;
        const stored = await sending;
        assert.deepEqual(
          stored.map(({ seq }) => seq),
          stored.map((_, at) => stored[0]!.seq + at),
          "in order, without gaps",
        );
        await bob.until(() => bob.from("alice").length === 1 + MESSAGES, "everything", 240);
        assert.deepEqual(
          bob.from("alice").slice(1).map((text) => Number(text.split(" ")[0])),
          texts.map((_, at) => at),
        );
        assert.deepEqual(bob.refused, []);
      } finally {
        if (leader !== undefined) Deno.kill(leader, "SIGCONT");
        for (const person of people) await person.close();
        await cluster.stop();
      }
    }),
});

interface Serving {
  readonly pid: number;
  readonly port: number;
}

async function roles(dataDir: string): Promise<{ leading: Serving; following: Serving }> {
  const found = await Promise.all((await readServerStates(dataDir)).map(async ({ number, pid, port }) => {
    const answer = await callControl(dataPaths(dataDir).server(number).socket, { command: "status" });
    return { pid, port, store: parseServerStatus(answer)!.store };
  }));
  const leading = found.find(({ store }) => store === "leader"),
    following = found.find(({ store }) => store === "follower");
  assert.ok(leading && following);
  return { leading, following };
}

/** Comes again until the balancer has sent it to the server at that port. */
async function openAt(port: number, options: Parameters<typeof Person.open>[0], people: Person[]): Promise<Person> {
  for (let attempt = 0; attempt < 30; attempt++) {
    const person = await Person.open(options);
    await person.until(() => person.connections.length > 0, "a connection");
    if (person.connections.at(-1)?.server?.endsWith(`:${port}`)) {
      people.push(person);
      return person;
    }
    await person.close();
  }
  throw new Error(`Nobody was sent to port ${port}`);
}

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]) / 1024;
}

/** What was made ready to leave and is not known to be stored. */
function sealedBytes(home: string): number {
  const database = new DatabaseSync(join(home, "fastchat.db"), { readOnly: true, timeout: 10_000 });
  try {
    return database.prepare("SELECT coalesce(sum(length(body)), 0) AS bytes FROM outbox").get()!["bytes"] as number;
  } finally {
    database.close();
  }
}

const MESSAGES = 200;
const TEXT_BYTES = 200_000;
/** Longer than a server waits for an answer of the leader. */
const STILL_MS = 12_000;
const LOOK_MS = 200;
