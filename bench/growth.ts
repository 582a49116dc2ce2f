/**
 * Does a message cost more the more has been said before, or the more people are in its group? Server CPU for each delivered message
 * with 10, 1,000 and 100,000 stored messages in every conversation, among 10,000 users; and in groups of 10 and of 1,000 members.
 *
 * A server for each depth, with a database of its own that was filled through the store before it started (population.ts); all
 * run at once, and are measured one after the other, round by round, so that what else the machine does falls on all alike.
 * The workload is `max` of workload.ts among 10 pairs. The figure is the median of the rounds; `toFirst` is it over that of the
 * first row of its kind, and flat means within 0.8 to 1.2.
 *
 * Of groups there are as many as make 100 clients: 10 groups of 10 members, all of them here, beside 10 groups of 1,000 members, 10
 * of each here, so that both deliver each message to 9 others; and one group of 1,000 of whom 100 are here. Each scene has 20
 * senders. Who is not here costs a message nothing but what being a member costs, which is what is asked.
 *
 * `--depths 10,1000,100000`, `--groups 10:10,1000:10,1000:100` (members:here), `--users N` (10,000), `--pairs N` (10), `--rounds N`
 * (5), `--seconds N` (3) choose; an empty list leaves a kind out.
 */
import { parseArgs } from "node:util";
import { type BenchCluster, type LoadUser, pairUp, personOf, startCluster } from "./load.ts";
import { connectInhabitants, GROUP_EPOCH, groupOf, populate } from "./population.ts";
import { percentile, report, type Row } from "./report.ts";
import { measure, type Room, type Subject } from "./workload.ts";

/** One server, and rooms in which people talk. */
interface Scene {
  /** Those of one kind are compared. */
  readonly kind: "depth" | "group";
  readonly subject: Subject;
  readonly rooms: readonly Room[];
  readonly cluster: BenchCluster;
  readonly users: readonly LoadUser[];
  readonly rows: Row[];
}

async function sceneOfDepth(depth: number, users: number, pairs: number): Promise<Scene> {
  const cluster = await startCluster(1, {
    prepare: (dataDir) => populate(dataDir, { users, pairs, messages: depth }),
  });
  const connected = await connectInhabitants(cluster, 0, 2 * pairs);
  const subject = { name: `${depth} messages before`, pids: cluster.pids };
  return { kind: "depth", subject, rooms: await pairUp(connected), cluster, users: connected, rows: [] };
}

/** @param shape `members:here` */
async function sceneOfGroups(shape: string, users: number): Promise<Scene> {
  const [members, here] = shape.split(":").map(Number) as [number, number];
  const count = Math.max(1, Math.floor(GROUP_CLIENTS / here)), senders = GROUP_SENDERS / count;
  const cluster = await startCluster(1, {
    prepare: (dataDir) => populate(dataDir, { users: Math.max(users, count * members), groups: { count, members } }),
  });
  const connected: LoadUser[] = [], rooms: Room[] = [];
  for (let group = 0; group < count; group++) {
    const present = await connectInhabitants(cluster, group * members, group * members + here);
    const opened = { conversation: groupOf(group), epoch: GROUP_EPOCH };
    connected.push(...present);
    rooms.push({ people: present.map((user) => personOf(user, opened)), senders });
  }
  const subject = { name: `groups of ${members} members, ${here} of each here`, pids: cluster.pids };
  return { kind: "group", subject, rooms, cluster, users: connected, rows: [] };
}

/** The same load on each in turn. */
async function measureInTurns(scenes: readonly Scene[], rounds: number, ms: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const { subject, rooms, rows } of scenes) {
      rows.push(
        await measure(subject, rooms, { rate: "max", ms, warmUpMs: round === 0 ? FIRST_WARM_UP_MS : WARM_UP_MS }),
      );
    }
  }
}

function summary(scenes: readonly Scene[]): Row[] {
  const median = (rows: readonly Row[], figure: string) => percentile(rows.map((row) => Number(row[figure])), 0.5);
  const sum = (rows: readonly Row[], figure: string) => rows.reduce((total, row) => total + Number(row[figure]), 0);
  return scenes.map(({ kind, subject, rows }) => ({
    bench: "growth",
    subject: subject.name,
    deliveredPerS: Math.round(median(rows, "deliveredPerS")),
    serverCpuUsPerMessage: median(rows, "serverCpuUsPerMessage"),
    toFirst: median(rows, "serverCpuUsPerMessage") /
      median(scenes.find((scene) => scene.kind === kind)!.rows, "serverCpuUsPerMessage"),
    p50Ms: median(rows, "p50Ms"),
    lost: sum(rows, "lost"),
    duplicated: sum(rows, "duplicated"),
    reordered: sum(rows, "reordered"),
  }));
}

const GROUP_CLIENTS = 100;
const GROUP_SENDERS = 20;
const FIRST_WARM_UP_MS = 3_000;
const WARM_UP_MS = 500;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      depths: { ...text, default: "10,1000,100000" },
      groups: { ...text, default: "10:10,1000:10,1000:100" },
      users: { ...text, default: "10000" },
      pairs: { ...text, default: "10" },
      rounds: { ...text, default: "5" },
      seconds: { ...text, default: "3" },
      json: { type: "boolean" },
    },
  });
  const scenes: Scene[] = [];
  try {
    const users = Number(values.users), listOf = (text: string) => text.split(",").filter((item) => item !== "");
    for (const depth of listOf(values.depths)) {
      scenes.push(await sceneOfDepth(Number(depth), users, Number(values.pairs)));
    }
    for (const shape of listOf(values.groups)) scenes.push(await sceneOfGroups(shape, users));
    await measureInTurns(scenes, Number(values.rounds), Number(values.seconds) * 1000);
    report(summary(scenes));
    console.error(`Load average of the last minute: ${Deno.loadavg()[0]!.toFixed(1)}`);
    for (const { users } of scenes) for (const user of users) user.remote.close();
  } finally {
    for (const { cluster } of scenes) await cluster.stop();
  }
  Deno.exit(0);
}
