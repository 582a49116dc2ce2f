/** Servers that die at the worst moment of somebody's coming: named by the balancer, or between their handshake and their first answer. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readServerStates } from "../../shared/cluster/mod.ts";
import { formatHostPort } from "../../shared/net/mod.ts";
import { Relay } from "../relay.ts";
import { inDirectory } from "../temporary.ts";
import { startCluster } from "./harness.ts";
import { Person } from "./people.ts";

/** Far below the times after which somebody who waits for one server alone gives it up. */
const BACK_MS_MAX = 9_000;

Deno.test("a server that dies after its handshake is given up for another one", () =>
  inDirectory(async (directory) => {
    const cluster = await startCluster(2, [], join(directory, "data"));
    // Once its handshake is through, the first server's packets reach nobody, and nobody's reach it.
    const before = new Set<string>();
    let dead: number | undefined, swallowed = 0, isDying = false;
    const relay = new Relay({
      rewriteLocated: true,
      rewrite(datagram) {
        if ((datagram[0]! & 0xfe) !== PROTECTED_TYPE) return datagram;
        const connection = datagram.subarray(1, 9).toHex();
        if (!isDying) before.add(connection);
        if (before.has(connection)) return datagram;
        dead ??= datagram[1]!;
        if (datagram[1] !== dead) return datagram;
        swallowed++;
        return undefined;
      },
    });
    const front = relay.map("127.0.0.1", cluster.port);
    const options = { server: formatHostPort(front.host, front.port), name: "alice", home: join(directory, "alice") };
    try {
      await (await Person.open(options)).close();
      isDying = true;
      const startMs = performance.now(), alice = await Person.open(options);
      const tookMs = performance.now() - startMs;
      await alice.close();
      assert.ok(swallowed > 0, "Nobody was connected to the dead server");
      assert.ok(tookMs < BACK_MS_MAX, `Connected after ${Math.round(tookMs)} ms`);
    } finally {
      relay.close();
      await cluster.stop();
    }
  }));

Deno.test("where the server that the balancer names is dead another one is taken", () =>
  inDirectory(async (directory) => {
    // In turn: of two who come one after the other, one is sent to the dead server.
    const cluster = await startCluster(2, ["--strategy", "round-robin"], join(directory, "data"));
    const relay = new Relay({ rewriteLocated: true });
    const front = relay.map("127.0.0.1", cluster.port);
    const options = { server: formatHostPort(front.host, front.port), name: "alice", home: join(directory, "alice") };
    try {
      const first = await Person.open(options), port = Number(first.client.connectedTo.split(":").at(-1));
      await first.close();
      // The balancer hears its server well; nobody who comes through the relay does.
      const states = await readServerStates(cluster.dataDir);
      const dead = states.find((server) => relay.map("127.0.0.1", server.port).port === port)!;
      relay.retarget(dead.port, DEAD_PORT);
      const places: string[] = [];
      for (let coming = 0; coming < 2; coming++) {
        const startMs = performance.now(), alice = await Person.open(options);
        const tookMs = performance.now() - startMs;
        places.push(alice.client.connectedTo);
        await alice.close();
        assert.ok(tookMs < BACK_MS_MAX, `Connected after ${Math.round(tookMs)} ms`);
      }
      assert.equal(new Set(places).size, 1);
    } finally {
      relay.close();
      await cluster.stop();
    }
  }));

const PROTECTED_TYPE = 0x40;
/** Discard: nothing listens there. */
const DEAD_PORT = 9;
