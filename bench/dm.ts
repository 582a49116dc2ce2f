/**
 * What does a direct message cost the servers, and how long does it take, beside Mosquitto? The workload dm200 (workload.ts): 100
 * clients in 50 pairs, bodies of 200 bytes, 2 s of warm-up, 10 s measured.
 *
 * Ours stores every message with `synchronous=FULL` before it is acknowledged, and goes through `client/network/remote.ts`; with one
 * server and with four. Mosquitto is Debian's (mosquitto.ts), MQTT with QoS 1 over TLS, once with its default persistence,
 * which survives no power loss, and once saved on every change. Servers are processes of their own, all clients live in this
 * one, and both share the machine. `oursToThis…` is our figure with one server over that of the row, from the same run.
 *
 * `--servers 1,4`, `--rates max,500,2000`, `--clients N` (100), `--seconds N` (10), `--no-peers` choose.
 */
import { parseArgs } from "node:util";
import { connectUsers, pairUp, startCluster } from "./load.ts";
import { findMosquitto, Mosquitto, NotAvailableError, type Persistence } from "./mosquitto.ts";
import { report, type Row } from "./report.ts";
import { type Load, measure, measureIdle, pairs, type Room, type Subject } from "./workload.ts";

interface Plan {
  readonly clients: number;
  readonly loads: readonly Load[];
}

async function measureOurs(servers: number, plan: Plan): Promise<Row[]> {
  const cluster = await startCluster(servers);
  try {
    const users = await connectUsers(cluster, plan.clients);
    const subject = { name: servers === 1 ? OURS : `${servers} servers`, pids: cluster.pids };
    const rows = await measureAll(subject, await pairUp(users), plan);
    for (const user of users) user.remote.close();
    return rows;
  } finally {
    await cluster.stop();
  }
}

/** Nothing where it cannot be had, with the reason. */
async function measureMosquitto(plan: Plan): Promise<Row[]> {
  const rows: Row[] = [];
  try {
    const installation = await findMosquitto();
    for (const persistence of PERSISTENCES) {
      const broker = await Mosquitto.start(installation, persistence, plan.clients);
      try {
        rows.push(...await measureAll(broker, pairs(await broker.connect()), plan));
      } finally {
        await broker.stop();
      }
    }
  } catch (error) {
    if (!(error instanceof NotAvailableError)) throw error;
    console.error(`Without Mosquitto's rows: ${error.message}`);
  }
  return rows;
}

async function measureAll(subject: Subject, rooms: readonly Room[], { loads }: Plan): Promise<Row[]> {
  const rows: Row[] = [];
  for (const load of loads) rows.push({ ...await measure(subject, rooms, load), bench: "dm" });
  // Last, when everything that runs at all has been compiled.
  rows.push({ ...await measureIdle(subject, IDLE_MS), bench: "dm" });
  return rows;
}

function withRatios(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    const load = row.subject.split(", ").at(-1);
    const ours = rows.find(({ subject }) => subject === `${OURS}, ${load}`);
    if (ours === undefined || ours === row) return row;
    const ratio = (figure: string) => Number(ours[figure]) / Number(row[figure]);
    if (row["deliveredPerS"] === undefined) return row;
    return {
      ...row,
      oursToThisRate: ratio("deliveredPerS"),
      oursToThisCpu: ratio("serverCpuUsPerMessage"),
      oursToThisP50: ratio("p50Ms"),
      oursToThisP99: ratio("p99Ms"),
    };
  });
}

const OURS = "1 server";
const PERSISTENCES: readonly Persistence[] = ["default persistence", "saved on every change"];
const IDLE_MS = 3_000;

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      servers: { type: "string", default: "1,4" },
      clients: { type: "string", default: "100" },
      seconds: { type: "string", default: "10" },
      rates: { type: "string", default: "max,500,2000" },
      "no-peers": { type: "boolean", default: false },
      json: { type: "boolean" },
    },
  });
  const ms = Number(values.seconds) * 1000;
  const loads = values.rates.split(",").map((rate) => ({ rate: rate === "max" ? rate : Number(rate), ms }) as const);
  const plan = { clients: Number(values.clients) & ~1, loads };
  const rows: Row[] = [];
  for (const servers of values.servers.split(",")) rows.push(...await measureOurs(Number(servers), plan));
  if (!values["no-peers"]) rows.push(...await measureMosquitto(plan));
  report(withRatios(rows));
  console.error(`Load average of the last minute: ${Deno.loadavg()[0]!.toFixed(1)}`);
  Deno.exit(0);
}
