/** A client whose NAT gives it another source port all the time, while it writes and is written to. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatHostPort } from "../../shared/net/mod.ts";
import { Relay } from "../relay.ts";
import { inDirectory } from "../temporary.ts";
import { startCluster } from "./harness.ts";
import { Person } from "./people.ts";

const MESSAGES_PER_SIDE = 500;
const PAUSE_MS = 20;
/** A NAT as bad as anybody has met; ten changes at least in the time of the messages. */
const REBIND_MS = 1000;

Deno.test("1,000 messages while the source port changes every second: none lost, none twice, one login", async () => {
  await inDirectory(async (directory) => {
    const cluster = await startCluster(2, [], join(directory, "data"));
    const relay = new Relay({ rewriteLocated: true, delayMs: 10 });
    const front = relay.map("127.0.0.1", cluster.port);
    const roaming = await Person.open({
      server: formatHostPort(front.host, front.port),
      name: "roaming",
      home: join(directory, "roaming"),
    });
    const settled = await Person.open({
      server: formatHostPort("127.0.0.1", cluster.port),
      name: "settled",
      home: join(directory, "settled"),
    });
    let rebindings = 0;
    const timer = setInterval(() => (relay.rebind(), rebindings++), REBIND_MS);
    try {
      const loggedIn = logIns(roaming);
      const both = [[roaming, settled], [settled, roaming]] as const;
      await Promise.all(both.map(([from, to]) => send(from, to)));
      for (const [from, to] of both) {
        await to.until(() => to.from(from.name).length >= MESSAGES_PER_SIDE, `${to.name} hears ${from.name}`, 30);
      }
      for (const [from, to] of both) assert.deepEqual(to.from(from.name), wanted(from));
      assert.ok(rebindings >= 8, `${rebindings} changes of port`);
      // A machine that stood still for a moment can be the reason for one; a change of port never is.
      assert.ok(logIns(roaming) - loggedIn <= rebindings / 4, "It connected anew");
    } finally {
      clearInterval(timer);
      await Promise.all([roaming.close(), settled.close()]);
      relay.close();
      await cluster.stop();
    }
  });
});

function logIns(person: Person): number {
  return person.connections.filter(({ state }) => state === "connected").length;
}

function wanted(from: Person): string[] {
  return Array.from({ length: MESSAGES_PER_SIDE }, (_, index) => `${index} of ${from.name}`);
}

async function send(from: Person, to: Person): Promise<void> {
  const sent: Promise<unknown>[] = [];
  for (const text of wanted(from)) {
    sent.push(from.client.send(to.name, text));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  await Promise.all(sent);
}
