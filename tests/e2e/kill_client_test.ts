/** Kill the sending client at any moment, start it again: nothing that it took is lost, nothing is sent twice. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Prng } from "../sim/prng.ts";
import { eventually, lines, startCluster, TEST_ENV } from "./harness.ts";
import { Person } from "./people.ts";

Deno.test("A client that is killed again and again loses nothing that was typed and sends nothing twice", async () => {
  const cluster = await startCluster(2), folder = await Deno.makeTempDir({ prefix: "fastchat-kill-" });
  const random = new Prng(SEED);
  const bob = await Person.open({ server: cluster.server, home: join(folder, "bob"), name: "bob" });
  try {
    let promised = 0, kills = 0;
    for (let isDone = false; !isDone;) {
      const typist = startTypist(cluster.server, join(folder, "alice"));
      // Some at any time, before they have connected too, most in the midst of their sending; when enough died, one may live.
      const isDoomed = kills < KILLS, moment = random.integer(0, 60), first = promised;
      const early = isDoomed && random.chance(0.3)
        ? setTimeout(() => kill(typist), random.integer(100, 900))
        : undefined;
      for await (const line of lines(typist.stdout)) {
        const number = Number(/^typed (\d+)$/.exec(line)?.[1] ?? NaN);
        if (line === "done") isDone = true;
        else {
          // It goes on behind what its home has: were that less than what the one before said, something would be lost.
          assert(number > promised, `${promised} was taken and is forgotten`);
          promised = number;
        }
        if (isDoomed && number - first === moment + 1) kill(typist);
      }
      clearTimeout(early);
      const { signal } = await typist.status;
      if (signal === "SIGKILL") kills++;
      else assert(isDone, "it ends by itself only when all is stored");
    }
    assert(kills >= KILLS / 2, `only ${kills} kills`);
    const wanted = Array.from({ length: LAST }, (_, at) => String(at + 1));
    await bob.until(() => bob.from("alice").length >= LAST, "everything arrives", 120);
    assert.deepEqual(bob.from("alice"), wanted, "each once, in order");
    assert.deepEqual([bob.refused, bob.notices.filter((text) => /never came|another message/.test(text))], [[], []]);
    // The sender's own word, and what the receiver said to it.
    const alice = await Person.open({ server: cluster.server, home: join(folder, "alice"), name: "alice" });
    await eventually(
      () => alice.client.history("bob", LAST).every(({ state }) => state === "delivered") || undefined,
      "all are delivered",
    );
    assert.deepEqual(alice.client.history("bob", 2 * LAST).map(({ text }) => text), wanted);
    assert.deepEqual(alice.client.outbox(), []);
    await alice.close();
  } finally {
    await bob.close();
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

function kill(typist: Deno.ChildProcess): void {
  try {
    typist.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}

function startTypist(server: string, home: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("typist.ts", import.meta.url).pathname,
      server,
      home,
      "bob",
      String(LAST),
    ],
    env: TEST_ENV,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

const SEED = 20_261_123;
const KILLS = 16;
const LAST = 600;
