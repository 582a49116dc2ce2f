/**
 * How long after `kill -9` of the store's leader is a message stored again?
 *
 * Two processes on one data directory: the leader, and this one, which follows and keeps 64 appends under way, so that the leader
 * dies in the midst of a transaction and leaves a WAL to recover. From the signal to the first append that is stored afterwards, by this
 * process, which has taken the lock. Every append that was under way is counted until it is stored: none may be lost.
 *
 * And of a cluster of four servers under their balancer: when the next one leads, and when the last of the others follows it, by
 * their own logs.
 */
import { openBackend } from "../server/store/backend.ts";
import { dataPaths, parseServerStatus, type ServerStatus } from "../shared/cluster/mod.ts";
import { callControl } from "../shared/host/mod.ts";
import type { StoreAppend } from "../server/store/store.ts";
import { silentLogger } from "../shared/log.ts";
import type { MessageId } from "../shared/protocol/mod.ts";
import { startCluster } from "./load.ts";
import { percentile, report, type Row } from "./report.ts";
import { freshId, lead, populate } from "./store.ts";

const KILLS = 20;
const OUTSTANDING = 64;
const LOAD_MS = 300;
const SERVERS = 4;
const CLUSTER_KILLS = 10;
const SETTLE_MS = 1500;

async function takeover(): Promise<Row> {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  let appends: StoreAppend[] | undefined;
  const takeoverMs: number[] = [], waitedMs: number[] = [], walMiB: number[] = [];
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const round = await once(directory, appends);
      appends = round.appends;
      takeoverMs.push(round.takeoverMs);
      waitedMs.push(...round.waitedMs);
      walMiB.push(round.walMiB);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  return {
    bench: "takeover",
    subject: "kill -9 of the leader",
    kills: KILLS,
    "p50 ms": percentile(takeoverMs, 0.5),
    "p99 ms": percentile(takeoverMs, 0.99),
    "max ms": percentile(takeoverMs, 1),
    "under way": waitedMs.length,
    "they waited p50 ms": percentile(waitedMs, 0.5),
    "they waited max ms": percentile(waitedMs, 1),
    "WAL MiB": percentile(walMiB, 0.5),
  };
}

async function ofCluster(): Promise<Row> {
  const cluster = await startCluster(SERVERS), { dataDir } = cluster;
  const leadMs: number[] = [], followMs: number[] = [];
  try {
    for (let kill = 0; kill < CLUSTER_KILLS; kill++) {
      const leader = await settled(dataDir), killedMs = Date.now();
      Deno.kill(leader.pid, "SIGKILL");
      await pause(SETTLE_MS);
      const since = async (event: string) =>
        (await Promise.all(
          Array.from({ length: SERVERS }, (_, number) => number).filter((n) => n !== leader.number)
            .map((number) => logged(dataDir, number, event, killedMs)),
        )).flat();
      leadMs.push(...await since("store.leading"));
      followMs.push(Math.max(...await since("store.following")));
    }
  } finally {
    await cluster.stop();
  }
  return {
    bench: "takeover",
    subject: `cluster of ${SERVERS}: leads`,
    kills: CLUSTER_KILLS,
    "p50 ms": percentile(leadMs, 0.5),
    "p99 ms": percentile(leadMs, 0.99),
    "max ms": percentile(leadMs, 1),
    "all follow p50 ms": percentile(followMs, 0.5),
    "all follow max ms": percentile(followMs, 1),
  };
}

/** Waits until all servers are ready and one leads them. */
async function settled(dataDir: string): Promise<ServerStatus> {
  while (true) {
    // Long enough for the balancer to know that they serve.
    await pause(SETTLE_MS);
    const statuses = await Promise.all(
      Array.from({ length: SERVERS }, async (_, number) => {
        const { socket } = dataPaths(dataDir).server(number);
        return parseServerStatus(await callControl(socket, { command: "status" }).catch(() => ({})));
      }),
    );
    const leading = statuses.filter((status) => status?.store === "leader");
    if (leading.length === 1 && statuses.every((status) => status?.ready)) return leading[0]!;
  }
}

/** How long after a moment a server's log has an event. */
async function logged(dataDir: string, number: number, event: string, sinceMs: number): Promise<number[]> {
  const lines = (await Deno.readTextFile(dataPaths(dataDir).server(number).log)).trim().split("\n");
  return lines.map((line) => JSON.parse(line) as { time: string; event: string })
    .filter((line) => line.event === event && Date.parse(line.time) >= sinceMs)
    .map(({ time }) => Date.parse(time) - sinceMs);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function once(directory: string, known: StoreAppend[] | undefined) {
  const leader = new Deno.Command(Deno.execPath(), {
    args: ["run", "--frozen", "-A", "--no-check", import.meta.url, "--leader", directory],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const ready = leader.stdout.getReader();
  await ready.read();
  const backend = await openBackend({ dataDir: directory, serverNumber: 1, logger: silentLogger });
  const { store } = backend, appends = known ?? await populate(store);
  let killedMs = Infinity, firstMs = Infinity, next = 0;
  const waitedMs: number[] = [];
  const loops = Array.from({ length: OUTSTANDING }, async () => {
    while (firstMs === Infinity) {
      const beginMs = performance.now();
      const [result] = await store.append([{ ...appends[next++ % appends.length]!, messageId: freshId<MessageId>() }]);
      if (result?.status !== "stored") throw new Error(`Append ended as ${result?.status}`);
      const nowMs = performance.now();
      if (killedMs === Infinity || backend.role() !== "leader") continue;
      firstMs = Math.min(firstMs, nowMs);
      if (beginMs <= killedMs) waitedMs.push(nowMs - killedMs);
    }
  });
  await new Promise((resolve) => setTimeout(resolve, LOAD_MS));
  const walMiB = (await Deno.stat(`${directory}/store.db-wal`)).size / 2 ** 20;
  leader.kill("SIGKILL");
  killedMs = performance.now();
  await Promise.all(loops);
  await ready.cancel();
  await leader.stdin.close().catch(() => {});
  await leader.status;
  await backend.close();
  return { appends, takeoverMs: firstMs - killedMs, waitedMs, walMiB };
}

if (import.meta.main) {
  if (Deno.args[0] === "--leader") await lead(Deno.args[1]!);
  else report([await takeover(), await ofCluster()]);
}
