/**
 * How long are clients away when their server dies? 200 clients on four servers, half of them idle, the others writing twice a
 * second; then one server is killed with SIGKILL.
 *
 * `idle_cpu_percent` is what the servers use while all clients are idle and look every 300 ms whether theirs lives.
 *
 * A client is back when another server serves it, counted from the kill. RSA and bcrypt are counted by the servers that are
 * left. Messages carry numbers, and the log is read at the end: what was acknowledged and is not there is lost. All clients
 * live in this process, on the same machine as the servers; each is the product's own link and dialer.
 *
 * Three rows: a follower of the store killed, its leader, and a follower while the balancer is dead. `--clients N` (200) and
 * `--servers N` (4) choose; `--loss P --delay MS` put a network between clients and cluster that also doubles 2 and holds up 5 of a
 * hundred datagrams (Linux).
 */
import { parseArgs } from "node:util";
import { dataPaths, parseServerStatus, type ServerStatus } from "../shared/cluster/mod.ts";
import { generateRsaPkcs8, importPssPrivate, spkiFromPkcs8 } from "../shared/crypto/mod.ts";
import { callControl } from "../shared/host/mod.ts";
import { Network } from "../tests/chaos/network.ts";
import type { UserName } from "../shared/protocol/mod.ts";
import { type BenchCluster, startCluster } from "./load.ts";
import { percentile, report, type Row } from "./report.ts";
import { ReturningClient } from "./returning_client.ts";

const SETTLE_MS = 3_000;
const BACK_MS_MAX = 10_000;
const RATE_MS = 3_000;

async function run(
  options: { clients: number; servers: number; leader: boolean; deadBalancer: boolean; loss: number; delayMs: number },
): Promise<Row> {
  const { loss, delayMs } = options, cluster = await startCluster(options.servers);
  const network = loss > 0 || delayMs > 0
    ? new Network({ seed: 1, delayMs, jitterMs: 0, loss, duplicate: 0.02, reorder: 0.05 })
    : undefined;
  const clients: ReturningClient[] = [], stop = new AbortController();
  let balancerIsDead = false;
  try {
    const pkcs8 = await generateRsaPkcs8();
    const identity = { key: await spkiFromPkcs8(pkcs8), signing: await importPssPrivate(pkcs8) };
    const address = { ...cluster };
    if (network) {
      for (const { port } of await statuses(cluster)) network.map(port);
      address.host = network.map(cluster.port).split(":")[0]!;
    }
    for (let index = 0; index < options.clients; index++) {
      clients.push(new ReturningClient(address, `u${String(index).padStart(4, "0")}` as UserName, identity));
    }
    for (let at = 0; at < clients.length; at += 10) {
      await Promise.all(clients.slice(at, at + 10).map(({ link }) => link.start(20_000)));
    }
    const idleUs = cluster.cpuUs();
    await pause(SETTLE_MS);
    const idleCpuPercent = (cluster.cpuUs() - idleUs) / (SETTLE_MS * 1000) * 100;
    const writers = clients.slice(0, clients.length / 2);
    const writing = writers.map((client, at) => client.write(writers[at ^ 1]!.name, stop.signal));
    await pause(SETTLE_MS);
    const before = await statuses(cluster);
    const busiest = before.toSorted((a, b) => b.connections - a.connections);
    const victim = (options.leader ? before.find(({ store }) => store === "leader") : undefined) ??
      busiest.find(({ store }) => store !== "leader")!;
    const away = clients.filter(({ server }) => server === victim.number);
    if (options.deadBalancer) {
      Deno.kill(cluster.pid, "SIGKILL");
      balancerIsDead = true;
    }
    const killedMs = performance.now();
    Deno.kill(victim.pid, "SIGKILL");
    while (away.some(({ connectedMs }) => connectedMs < killedMs) && performance.now() - killedMs < BACK_MS_MAX) {
      await pause(5);
    }
    const backMs = away.map(({ connectedMs }) => connectedMs < killedMs ? BACK_MS_MAX : connectedMs - killedMs);
    await pause(SETTLE_MS);
    const after = (await statuses(cluster)).filter(({ number }) => number !== victim.number);
    const rise = (name: string) =>
      after.reduce(
        (sum, { number, counters }) =>
          sum + (counters![name]! - before.find((status) => status.number === number)!.counters![name]!),
        0,
      );
    stop.abort();
    await Promise.all(writing);
    let missing = 0;
    for (const writer of writers) missing += await writer.missing();
    return {
      bench: "resume",
      subject: `${options.leader ? "leader" : "follower"} of ${options.servers} killed${
        options.deadBalancer ? ", balancer dead" : ""
      }`,
      clients: options.clients,
      ...(network && { loss, delay_ms: delayMs }),
      away: away.length,
      back_p50_ms: percentile(backMs, 0.5),
      back_p99_ms: percentile(backMs, 0.99),
      back_max_ms: Math.max(...backMs),
      rsa: rise("rsaDecryptions"),
      bcrypt: rise("bcryptRuns"),
      resumptions: rise("ticketLogIns"),
      sessions: rise("resumed"),
      idle_cpu_percent: idleCpuPercent,
      stored: writers.reduce((sum, { stored }) => sum + stored.length, 0),
      lost: missing,
    };
  } finally {
    stop.abort();
    await Promise.all(clients.map(({ link }) => link.close()));
    network?.close();
    if (balancerIsDead) { for (const { pid } of await statuses(cluster)) Deno.kill(pid, "SIGTERM"); }
    await cluster.stop();
  }
}

/** Clients that do nothing but come back: what a resumption costs a server, and how many it takes in a second. */
async function rate(lanes: number): Promise<Row> {
  const cluster = await startCluster(1);
  const clients: ReturningClient[] = [];
  try {
    const pkcs8 = await generateRsaPkcs8();
    const identity = { key: await spkiFromPkcs8(pkcs8), signing: await importPssPrivate(pkcs8) };
    for (let lane = 0; lane < lanes; lane++) {
      clients.push(new ReturningClient(cluster, `r${lane}` as UserName, identity));
    }
    for (const { link } of clients) await link.start(20_000);
    const [before] = await statuses(cluster);
    const cpuUs = cluster.cpuUs(), startMs = performance.now(), endMs = startMs + RATE_MS;
    const latencyMs: number[] = [];
    await Promise.all(clients.map(async (client) => {
      while (performance.now() < endMs) {
        const beganMs = performance.now();
        await client.comeBack();
        latencyMs.push(performance.now() - beganMs);
      }
    }));
    const seconds = (performance.now() - startMs) / 1000, usedUs = cluster.cpuUs() - cpuUs;
    const [after] = await statuses(cluster);
    const rise = (name: string) => after!.counters![name]! - before!.counters![name]!;
    const resumptions = rise("ticketLogIns");
    return {
      bench: "resume",
      subject: `one server, ${lanes} at a time`,
      resumptions_per_s: Math.round(resumptions / seconds),
      server_cpu_us: Math.round(usedUs / resumptions),
      p50_ms: percentile(latencyMs, 0.5),
      p99_ms: percentile(latencyMs, 0.99),
      rsa: rise("rsaDecryptions"),
      bcrypt: rise("bcryptRuns"),
    };
  } finally {
    await Promise.all(clients.map(({ link }) => link.close()));
    await cluster.stop();
  }
}

async function statuses(cluster: BenchCluster): Promise<ServerStatus[]> {
  const all: ServerStatus[] = [];
  for (let number = 0; number < 128; number++) {
    try {
      const answer = await callControl(dataPaths(cluster.dataDir).server(number).socket, { command: "status" });
      all.push(parseServerStatus(answer)!);
    } catch { /* no such server, or a dead one */ }
  }
  return all;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      clients: { type: "string", default: "200" },
      servers: { type: "string", default: "4" },
      loss: { type: "string", default: "0" },
      delay: { type: "string", default: "0" },
      json: { type: "boolean" },
      rate: { type: "boolean", default: false },
    },
  });
  const clients = Number(values.clients), servers = Number(values.servers);
  const loss = Number(values.loss), delayMs = Number(values.delay);
  const rows: Row[] = [];
  if (!values.rate) {
    for (const [leader, deadBalancer] of [[false, false], [true, false], [false, true]] as const) {
      rows.push(await run({ clients, servers, leader, deadBalancer, loss, delayMs }));
    }
  }
  report(rows);
  if (values.rate || (loss === 0 && delayMs === 0)) report([await rate(1), await rate(16)]);
}
