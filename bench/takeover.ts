/**
 * How long after `kill -9` of the store's leader is a message stored again?
 *
 * Two processes on one data directory: the leader, and this one, which follows and keeps 64 appends under way, so that the leader
 * dies in the midst of a transaction and leaves a WAL to recover. From the signal to the first append that is stored afterwards, by this
 * process, which has taken the lock. Every append that was under way is counted until it is stored: none may be lost.
 */
import { openBackend } from "../server/store/backend.ts";
import type { StoreAppend } from "../server/store/store.ts";
import { silentLogger } from "../shared/log.ts";
import type { MessageId } from "../shared/protocol/mod.ts";
import { percentile, report, type Row } from "./report.ts";
import { freshId, lead, populate } from "./store.ts";

const KILLS = 20;
const OUTSTANDING = 64;
const LOAD_MS = 300;

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
  else report([await takeover()]);
}
