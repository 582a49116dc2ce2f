/** Catching up takes as long as the line needs: a page that is on its way is not given up and asked for again. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatHostPort } from "../../shared/net/mod.ts";
import { Relay } from "../relay.ts";
import { inDirectory } from "../temporary.ts";
import { startCluster } from "./harness.ts";
import { Person } from "./people.ts";

/** With this, `BYTES` take 25 s, which is longer than any other request may. */
const RATE_BITS = 120_000;
const BYTES = 350_000;

Deno.test("what takes 25 s to come over a slow line comes, and nothing is said to be missing", () =>
  inDirectory(async (directory) => {
    const cluster = await startCluster(1, [], join(directory, "data"));
    const relay = new Relay({ rewriteLocated: true });
    const front = relay.map("127.0.0.1", cluster.port);
    const open = (name: string) =>
      Person.open({ server: formatHostPort(front.host, front.port), name, home: join(directory, name) });
    try {
      const alice = await open("alice");
      await (await open("bob")).close();
      await alice.client.send("bob", "x".repeat(BYTES));
      await alice.client.send("bob", "and this");
      await alice.close();
      Object.assign(relay.down.faults, { rateBits: RATE_BITS, queue: 30 });
      const startMs = performance.now();
      const bob = await Person.open({
        server: formatHostPort(front.host, front.port),
        name: "bob",
        home: join(directory, "bob"),
        catchUp: false,
      });
      await bob.until(() => bob.messages.length === 2, "both texts are there", 240);
      const seconds = (performance.now() - startMs) / 1000;
      assert.deepEqual(bob.from("alice").map(({ length }) => length), [BYTES, 8]);
      assert.deepEqual(bob.notices.filter((notice) => /could be read|never came/.test(notice)), []);
      assert.ok(seconds > 20, `The line was not slow: ${seconds} s`);
      await bob.close();
    } finally {
      relay.close();
      await cluster.stop();
    }
  }));
