/**
 * What do the receipts of a large group cost? Each of its members' devices says, signed, how far it has come, and whoever wrote
 * shows "n of m": for a group of 1,000 that is 999 receipts for a message, or for all that was written meanwhile.
 *
 * `author`: CPU of the client that wrote, from the first receipt to the last, with real certificates, signatures and tables but
 * without a network (reader.ts); how many changes of state it keeps and tells of, and in how many transactions. Receipts come all at
 * once, as after a connection was lost, or over the time that members take (client/talk/receipts.ts).
 *
 * `server`: all members here, connected to one server, and one of them writes: once, and then once a second. The others hand in their
 * receipts within 200 ms of each message, as in a small group, or each in its own time, as in a large one. CPU of the server from
 * behind the delivery to the author's last event, less what it uses while nobody speaks; and what the author's connection is told.
 *
 * `--members 100,1000` (author), `--here 100,300` (server) and `--messages N` (20) choose; an empty list leaves a kind out.
 */
import { parseArgs } from "node:util";
import { collectMs } from "../client/talk/receipts.ts";
import { encode } from "../shared/codec/mod.ts";
import { systemRandom } from "../shared/crypto/mod.ts";
import { event as eventSchema, type MessageId } from "../shared/protocol/mod.ts";
import { type LoadUser, startCluster } from "./load.ts";
import { connectInhabitants, GROUP_EPOCH, groupOf, populate } from "./population.ts";
import { Reader } from "./reader.ts";
import { report, type Row } from "./report.ts";
import { cpuUsOf, pause } from "./workload.ts";

async function measureAuthor(members: number): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  try {
    const reader = await Reader.make(folder, members), rows: Row[] = [];
    for (const [messages, overMs] of [[1, 0], [1, collectMs(members, 1)], [100, 0]] as const) {
      const { cpuMs, states, transactions } = await reader.measure({ messages, overMs });
      rows.push({
        bench: "receipts",
        subject: `author, ${members} members, ${messages} before they come, within ${Math.round(overMs / 1000)} s`,
        cpuMs,
        cpuMsPerMessage: cpuMs / messages,
        states,
        transactions,
      });
    }
    reader.close();
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function measureServer(members: number, messages: number): Promise<Row[]> {
  const cluster = await startCluster(1, {
    prepare: (dataDir) => populate(dataDir, { users: members, groups: { count: 1, members } }),
  });
  try {
    const users = await connectInhabitants(cluster, 0, members), rows: Row[] = [];
    const subject = { name: "1 server", pids: cluster.pids };
    await pause(SETTLE_MS);
    const idleFrom = cpuUsOf(subject), idleMs = await timed(() => pause(SETTLE_MS));
    const idleUsPerMs = (cpuUsOf(subject) - idleFrom) / idleMs;
    const few = () => 200 * Math.random(), many = () => collectMs(members, Math.random());
    for (const [pace, collect] of [["within 200 ms", few], ["each in its own time", many]] as const) {
      for (const count of [1, messages]) {
        const from = cpuUsOf(subject);
        const talk = new Talk(users, collect);
        const ms = await timed(() => talk.run(count));
        const cpuUs = cpuUsOf(subject) - from - idleUsPerMs * ms;
        rows.push({
          bench: "receipts",
          subject: `server, ${members} members, ${count === 1 ? "1 message" : `${count} a second apart`}, ${pace}`,
          serverCpuMsPerMessage: cpuUs / 1000 / count,
          receiptsPerMessage: talk.handedIn / count,
          toldPerMessage: talk.told / count,
          toldKiBPerMessage: talk.toldBytes / 1024 / count,
          lastToldMs: talk.lastToldMs,
        });
      }
    }
    for (const { remote } of users) remote.close();
    return rows;
  } finally {
    await cluster.stop();
  }
}

/** The first of them writes, the others say what they have. */
class Talk {
  handedIn = 0;
  told = 0;
  toldBytes = 0;
  /** From the last message to the last receipt for it. */
  lastToldMs = 0;
  readonly #users: readonly LoadUser[];
  readonly #collectMs: () => number;
  /** How far each has come that has yet to say so. */
  readonly #due = new Map<LoadUser, number>();
  readonly #waiting = new Set<string>();

  constructor(users: readonly LoadUser[], collectMs: () => number) {
    this.#users = users;
    this.#collectMs = collectMs;
  }

  async run(count: number): Promise<void> {
    const [author, ...others] = this.#users as [LoadUser, ...LoadUser[]];
    let head = Infinity, sentMs = 0;
    const all = Promise.withResolvers<void>();
    for (const user of others) {
      user.onEvent = (event) => {
        if (event.type === "deliver") this.#received(user, event.record.seq);
      };
    }
    author.onEvent = (event) => {
      if (event.type !== "receipt") return;
      this.told++;
      this.toldBytes += encode(eventSchema, event).length;
      if (event.receipt.delivered >= head) this.#waiting.delete(event.receipt.user);
      if (head < Infinity && this.#waiting.size === 0) {
        this.lastToldMs = Math.round(performance.now() - sentMs);
        all.resolve();
      }
    };
    for (const { name } of others) this.#waiting.add(name);
    for (let left = count; left > 0; left--) {
      const messageId = systemRandom.bytes(16).toHex() as MessageId, body = systemRandom.bytes(658);
      const { seq } = await author.remote.append({
        conversation: groupOf(0),
        messageId,
        expectedEpoch: GROUP_EPOCH,
        body,
      });
      sentMs = performance.now();
      if (left === 1) head = seq;
      else await pause(1_000);
    }
    await all.promise;
  }

  #received(user: LoadUser, seq: number): void {
    if (!this.#due.has(user)) setTimeout(() => this.#say(user), this.#collectMs());
    this.#due.set(user, seq);
  }

  #say(user: LoadUser): void {
    const delivered = this.#due.get(user)!;
    this.#due.delete(user);
    this.handedIn++;
    // Servers do not judge signatures.
    const receipt = { conversation: groupOf(0), delivered, hash: NOTHING, read: 0, signature: SIGNATURE };
    user.remote.ask<"receipts">({ type: "receipts", receipts: [receipt] }).catch((error) => {
      throw error;
    });
  }
}

async function timed(act: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await act();
  return performance.now() - begin;
}

const NOTHING = new Uint8Array(32).fill(1);
const SIGNATURE = new Uint8Array(64).fill(1);
const SETTLE_MS = 5_000;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      members: { ...text, default: "100,1000" },
      here: { ...text, default: "100,300" },
      messages: { ...text, default: "20" },
      json: { type: "boolean" },
    },
  });
  const listOf = (text: string) => text.split(",").filter((item) => item !== "").map(Number);
  const author: Row[] = [], server: Row[] = [];
  for (const members of listOf(values.members)) author.push(...await measureAuthor(members));
  if (author.length > 0) report(author);
  for (const members of listOf(values.here)) server.push(...await measureServer(members, Number(values.messages)));
  if (server.length > 0) report(server);
  console.error(`Load average of the last minute: ${Deno.loadavg()[0]!.toFixed(1)}`);
  Deno.exit(0);
}
