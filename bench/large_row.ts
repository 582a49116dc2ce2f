/**
 * What does one row as large as there may be cost a server whose clients are all to have it? A removal from a fresh group of 1,000 has
 * 1.2 MB (`bench e2ee`), and everybody who is there reads it.
 *
 * One server with a group of `--here` members (200), all connected from this process. One of them commits a body of `--bytes`
 * (1,216,776); the others take it as a client does: what is delivered, or on `behind` by `read`. Memory is the resident size of the
 * server, looked at every 20 ms: its highest over what it was before. `all MiB` is what came to all of them.
 */
import { parseArgs } from "node:util";
import { systemRandom } from "../shared/crypto/mod.ts";
import type { Event, MessageId } from "../shared/protocol/mod.ts";
import { type LoadUser, startCluster } from "./load.ts";
import { connectInhabitants, GROUP_EPOCH, groupOf, populate } from "./population.ts";
import { report, type Row } from "./report.ts";
import { cpuUsOf, memoryKiBOf, pause } from "./workload.ts";

async function measure(here: number, bytes: number): Promise<Row> {
  const cluster = await startCluster(1, {
    prepare: (dataDir) => populate(dataDir, { users: here, groups: { count: 1, members: here } }),
  });
  try {
    const users = await connectInhabitants(cluster, 0, here), subject = { name: "1 server", pids: cluster.pids };
    await pause(SETTLE_MS);
    const before = memoryKiBOf(subject), cpuUs = cpuUsOf(subject), body = systemRandom.bytes(bytes);
    let highest = before, told = 0;
    const looking = setInterval(() => highest = Math.max(highest, memoryKiBOf(subject)), 20);
    const readings = users.map((user) => taking(user, bytes, () => told++)), beginMs = performance.now();
    const messageId = systemRandom.bytes(16).toHex() as MessageId;
    const commit = { conversation: groupOf(0), messageId, lastCommit: GROUP_EPOCH, body, add: [], remove: [] };
    await users[0]!.remote.ask<"commit">({ type: "commit", ...commit, welcomes: [], tree: new Uint8Array() });
    await Promise.all(readings);
    const seconds = (performance.now() - beginMs) / 1000;
    clearInterval(looking);
    for (const { remote } of users) remote.close();
    return {
      bench: "large_row",
      subject: `${bytes} bytes to ${here} members here`,
      seconds,
      told,
      allMiB: here * bytes / (1 << 20),
      memoryMiB: (highest - before) / 1024,
      serverCpuMs: (cpuUsOf(subject) - cpuUs) / 1000,
    };
  } finally {
    await cluster.stop();
  }
}

/** Resolves when the row is here. @param onTold It has to be asked for. */
function taking(user: LoadUser, bytes: number, onTold: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const has = (body: Uint8Array) => body.length === bytes && resolve();
    user.onEvent = (event: Event) => {
      if (event.type === "deliver") return has(event.record.body);
      if (event.type !== "behind") return;
      onTold();
      user.remote.ask<"read">({ type: "read", conversation: groupOf(0), after: GROUP_EPOCH, limit: 10 })
        .then((answer) => answer.type === "records" && answer.records.forEach(({ body }) => has(body)), reject);
    };
  });
}

const SETTLE_MS = 3_000;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: { here: { ...text, default: "200" }, bytes: { ...text, default: "1216776" }, json: { type: "boolean" } },
  });
  report([await measure(Number(values.here), Number(values.bytes))]);
  console.error(`Load average of the last minute: ${Deno.loadavg()[0]!.toFixed(1)}`);
  Deno.exit(0);
}
