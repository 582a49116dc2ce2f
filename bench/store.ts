/**
 * How many rows a second does the store commit, and how long does an acknowledgement take?
 *
 * 200-byte bodies of 100 users in 50 conversations, each append its own call, `synchronous=FULL`. `direct` is the leader's own
 * store in this process; `link` is the leader in another process, reached over the local socket, with all records coming back
 * as notices (as where both ends of every conversation are on this server). `CPU` is the leader's user and system time. `worker` is the
 * same leader in a Worker of this process, so its `CPU` is that of both ends. `pause` is how late timers of this process were.
 */
import { openBackend } from "../server/store/backend.ts";
import { Leader } from "../server/store/leader.ts";
import type { Store, StoreAppend } from "../server/store/store.ts";
import { silentLogger } from "../shared/log.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { percentile, processCpuUs, report, type Row } from "./report.ts";

const USERS = 100;
const BODY_BYTES = 200;
const OUTSTANDING = [1, 64, 1024];
const WARM_UP_MS = 500;
const MEASURED_MS = 3000;
const TICK_MS = 2;

async function direct(): Promise<Row[]> {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  const leader = (await Leader.tryLead({ dataDir: directory, logger: silentLogger }))!, { store } = leader;
  try {
    return await measure("direct", store, Deno.pid, () => store.transactions);
  } finally {
    await leader.close();
    await Deno.remove(directory, { recursive: true });
  }
}

async function link(): Promise<Row[]> {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  const leader = new Deno.Command(Deno.execPath(), {
    args: ["run", "--frozen", "-A", "--no-check", import.meta.url, "--leader", directory],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const ready = leader.stdout.getReader();
  await ready.read();
  const backend = await openBackend({ dataDir: directory, serverNumber: 1, logger: silentLogger });
  let heard = 0;
  backend.bus.listener = {
    onCommitted: (committed) => heard += committed.length,
    onDevicesChanged() {},
    onReceipts() {},
    onSessionsEnded() {},
    onGroupNews() {},
    onPresence() {},
    onTyping() {},
    onGap() {},
  };
  for (let user = 0; user < USERS; user++) backend.bus.announce(nameOf(user), true);
  try {
    const rows = await measure("link", backend.store, leader.pid);
    if (heard === 0) throw new Error("No record came back");
    return rows;
  } finally {
    await backend.close();
    await ready.cancel();
    await leader.stdin.close();
    await leader.status;
    await Deno.remove(directory, { recursive: true });
  }
}

async function worker(): Promise<Row[]> {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  const thread = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
  const tell = (message: string) =>
    new Promise<void>((resolve) => {
      thread.onmessage = () => resolve();
      thread.postMessage(message);
    });
  await tell(directory);
  const backend = await openBackend({ dataDir: directory, serverNumber: 1, logger: silentLogger });
  try {
    if (backend.role() !== "follower") throw new Error("The Worker does not lead");
    return await measure("worker", backend.store, Deno.pid);
  } finally {
    await backend.close();
    await tell("");
    thread.terminate();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Leads until its input ends. */
export async function lead(dataDir: string): Promise<void> {
  const backend = await openBackend({ dataDir, serverNumber: 0, logger: silentLogger });
  console.log(backend.role());
  for await (const _ of Deno.stdin.readable);
  await backend.close();
}

async function measure(subject: string, store: Store, leaderPid: number, transactions?: () => number): Promise<Row[]> {
  const appends = await populate(store);
  const rows: Row[] = [];
  for (const outstanding of OUTSTANDING) {
    await run(store, appends, outstanding, WARM_UP_MS);
    const cpuUs = processCpuUs(leaderPid) ?? NaN, begun = transactions?.() ?? NaN;
    const { latenciesMs, seconds, pauseMs } = await run(store, appends, outstanding, MEASURED_MS);
    const count = latenciesMs.length;
    rows.push({
      bench: "store",
      subject,
      outstanding,
      "rows/s": Math.round(count / seconds),
      "p50 ms": percentile(latenciesMs, 0.5),
      "p99 ms": percentile(latenciesMs, 0.99),
      "max ms": percentile(latenciesMs, 1),
      "pause p99 ms": percentile(pauseMs, 0.99),
      "CPU µs/row": ((processCpuUs(leaderPid) ?? NaN) - cpuUs) / count,
      ...(transactions === undefined ? {} : { "rows/commit": count / (transactions() - begun) }),
    });
  }
  return rows;
}

/** Keeps `outstanding` appends under way. */
async function run(store: Store, appends: readonly StoreAppend[], outstanding: number, ms: number) {
  const latenciesMs: number[] = [], beginMs = performance.now(), endMs = beginMs + ms;
  const pauseMs: number[] = [];
  let next = 0, tickMs = beginMs;
  const ticking = setInterval(() => {
    const nowMs = performance.now();
    pauseMs.push(Math.max(0, nowMs - tickMs - TICK_MS));
    tickMs = nowMs;
  }, TICK_MS);
  await Promise.all(Array.from({ length: outstanding }, async () => {
    for (let nowMs = performance.now(); nowMs < endMs;) {
      const [result] = await store.append([{ ...appends[next++ % appends.length]!, messageId: freshId<MessageId>() }]);
      if (result?.status !== "stored" || result.duplicate) throw new Error(`Append ended as ${result?.status}`);
      const doneMs = performance.now();
      latenciesMs.push(doneMs - nowMs);
      nowMs = doneMs;
    }
  }));
  clearInterval(ticking);
  return { latenciesMs, pauseMs, seconds: (performance.now() - beginMs) / 1000 };
}

/** Signs up the users, opens their conversations, and returns one append of each. */
export async function populate(store: Store): Promise<StoreAppend[]> {
  const appends: StoreAppend[] = [];
  for (let user = 0; user < USERS; user += 2) {
    const conversation = freshId<ConversationId>(), pair = [nameOf(user), nameOf(user + 1)] as const;
    for (const name of pair) {
      const device = freshId<DeviceId>();
      await store.createUser({
        name,
        stretching: { salt: new Uint8Array(16), log2N: 17 },
        passwordHash: new Uint8Array(60),
        identityKey: new Uint8Array(422),
        backup: new Uint8Array(),
        device: { id: device, certificate: new Uint8Array(1000) },
        nowMs: Date.now(),
      });
      const body = crypto.getRandomValues(new Uint8Array(BODY_BYTES));
      const messageId = freshId<MessageId>();
      appends.push({ conversation, messageId, expectedEpoch: 2, body, user: name, device, nowMs: Date.now() });
    }
    await store.openDirect(conversation, ...pair);
  }
  return appends;
}

function nameOf(user: number): UserName {
  return `user${user}` as UserName;
}

export function freshId<T extends string>(): T {
  return crypto.getRandomValues(new Uint8Array(16)).toHex() as T;
}

if (import.meta.main) {
  if (Deno.args[0] === "--leader") await lead(Deno.args[1]!);
  else report([...await direct(), ...await worker(), ...await link()]);
}
