import assert from "node:assert/strict";
import { ClusterBus } from "../../../server/bus/cluster_bus.ts";
import { Calls } from "../../../server/store/calls.ts";
import { Follower } from "../../../server/store/follower.ts";
import { Leader, storePaths } from "../../../server/store/leader.ts";
import { operations } from "../../../server/store/operations.ts";
import { silentLogger } from "../../../shared/log.ts";
import { nameOf } from "../store/fixtures.ts";
import { busContract } from "./contract.ts";

/** One server: its bus, its calls, and what they are joined to for now. */
class Server {
  readonly calls = new Calls();
  readonly bus = new ClusterBus({
    online: () => this.calls.call(operations.online, {}),
    among: (names) => this.calls.call(operations.among, { names: [...names] }),
    logger: silentLogger,
  });
  follower: Follower | undefined;

  /** As `backend.ts` does it. */
  async follow(dataDir: string, serverNumber: number): Promise<void> {
    const path = storePaths(dataDir).socket;
    this.follower = await Follower.connect({ path, serverNumber, calls: this.calls, port: this.bus });
    this.bus.attach(this.follower);
    this.calls.follow(this.follower.link);
  }

  lose(): void {
    this.bus.detach();
    this.calls.lose();
    this.follower?.link.close();
  }
}

/** All three reach the leader over its socket, as servers that do not lead do. */
busContract("ClusterBus over the link", async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-bus-" });
  const servers = [new Server(), new Server(), new Server()] as const;
  let leader = (await Leader.tryLead({ dataDir, logger: silentLogger }))!;
  const join = async () => {
    for (const [number, server] of servers.entries()) await server.follow(dataDir, number);
  };
  const settle = async () => {
    // Once for what they say, and once more for what the leader says to others because of it: a link keeps its order.
    for (let round = 0; round < 2; round++) for (const { bus } of servers) await bus.online();
  };
  await join();
  return {
    servers: [servers[0].bus, servers[1].bus, servers[2].bus] as const,
    get store() {
      return leader.hub;
    },
    settle,
    replaceLeader: async () => {
      for (const server of servers) server.lose();
      await leader.close();
      leader = (await Leader.tryLead({ dataDir, logger: silentLogger }))!;
      await join();
    },
    close: async () => {
      for (const server of servers) {
        server.lose();
        server.calls.close();
      }
      await leader.close();
      await Deno.remove(dataDir, { recursive: true });
    },
  };
});

Deno.test("ClusterBus: a listener that fails keeps nobody else from hearing, and hears what comes next", () => {
  const bus = new ClusterBus({
    online: () => Promise.resolve([]),
    among: () => Promise.resolve({ online: [], isSure: true }),
    logger: silentLogger,
  });
  let calls = 0;
  bus.listener = {
    onCommitted: () => {
      calls++;
      throw new Error("broken");
    },
    onReceipts() {},
    onDevicesChanged() {},
    onSessionsEnded() {},
    onGroupNews() {},
    onPresence() {},
    onTyping() {},
    onGap() {},
  };
  bus.committed([]);
  bus.committed([]);
  assert.equal(calls, 2);
});

Deno.test("ClusterBus: a hint without a leader is lost, an announcement is not", () => {
  const bus = new ClusterBus({
    online: () => Promise.resolve([]),
    among: () => Promise.resolve({ online: [], isSure: true }),
    logger: silentLogger,
  });
  const said: string[] = [];
  bus.announce(nameOf("alice"), true);
  bus.announce(nameOf("bob"), true);
  bus.announce(nameOf("bob"), false);
  bus.hint({ conversation: "c" as never, user: nameOf("alice"), members: [nameOf("alice")], active: true });
  bus.attach({
    announce: (user, online) => void said.push(`${user} ${online}`),
    watch: () => {},
    hint: () => assert.fail("It was worthless a moment later"),
  });
  assert.deepEqual(said, ["alice true"]);
});
