/**
 * What the promise rests on: for a message that comes alone, the system has said that the WAL is on the disk before the datagram
 * with the acknowledgement leaves. Shown by watching the server's system calls.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { inDirectory } from "../temporary.ts";
import { relayBetween } from "./between.ts";
import { eventually, startCluster } from "./harness.ts";
import { Person } from "./people.ts";

const NOT_HERE = await cannotTrace();
if (NOT_HERE !== undefined) console.warn(`power_test.ts is skipped: ${NOT_HERE}`);

Deno.test("fdatasync of the WAL has returned before the acknowledgement of a lone message leaves", {
  ignore: NOT_HERE !== undefined,
}, () =>
  inDirectory(async (directory) => {
    const cluster = await startCluster(1, [], join(directory, "data"));
    const down: Uint8Array[] = [];
    const { relay, server } = await relayBetween(cluster, {
      rewrite: (datagram, direction) => {
        if (direction === "down") down.push(datagram.slice());
        return datagram;
      },
    });
    const bob = await Person.open({ name: "bob", server, home: join(directory, "bob") });
    await bob.close();
    const alice = await Person.open({ name: "alice", server, home: join(directory, "alice") });
    let strace: Strace | undefined;
    try {
      await alice.client.send("bob", "the conversation is open from here on");
      const [pid] = await cluster.serverPids();
      strace = await Strace.attach(pid!, join(directory, "calls"));
      let shown = 0;
      for (let attempt = 0; attempt < (shown > 0 ? 20 : 200) && shown < 3; attempt++) {
        // Nothing of the message before is still on its way.
        await new Promise((resolve) => setTimeout(resolve, 150));
        const first = down.length, startedS = Date.now() / 1000;
        await alice.client.send("bob", `message ${attempt}`);
        // A keep-alive's answer came too: which of them acknowledged the message cannot be told.
        if (down.length !== first + 1) continue;
        const acknowledgement = down[first]!;
        const calls = await eventually(async () => {
          const seen = await strace!.calls();
          return seen.some((call) => sends(call, acknowledgement)) ? seen : undefined;
        }, "the datagram is among the system calls");
        judge(calls.filter(({ timeS }) => timeS >= startedS), acknowledgement);
        shown++;
      }
      assert.ok(shown >= 1, "A message was acknowledged by a datagram of its own");
    } finally {
      await strace?.detach();
      await alice.close();
      relay.close();
      await cluster.stop();
    }
  }));

/** A call that has returned, in the order in which the calls returned. */
interface Call {
  readonly timeS: number;
  readonly name: string;
  /** What strace wrote between the parentheses. */
  readonly args: string;
  readonly result: string;
}

function judge(calls: readonly Call[], acknowledgement: Uint8Array): void {
  const left = calls.findIndex((call) => sends(call, acknowledgement));
  const before = calls.slice(0, left);
  const written = before.findLastIndex(({ name, args }) => /^p?write/.test(name) && args.includes("store.db-wal>"));
  assert.ok(written >= 0, "The message was written to the WAL before");
  const synced = before.slice(written + 1).find(({ name, args }) =>
    /^f(data)?sync$/.test(name) && args.includes("store.db-wal>")
  );
  assert.equal(synced?.result, "0", "The WAL was synced after its last write and before the acknowledgement left");
}

function sends({ name, args }: Call, datagram: Uint8Array): boolean {
  const shown = [...datagram.subarray(0, 32)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return name.startsWith("send") && args.includes(shown);
}

/** strace on a living process. */
class Strace {
  readonly #child: Deno.ChildProcess;
  readonly #path: string;

  private constructor(child: Deno.ChildProcess, path: string) {
    this.#child = child;
    this.#path = path;
  }

  static async attach(pid: number, path: string): Promise<Strace> {
    const child = new Deno.Command("strace", {
      args: ["-f", "-y", "-x", "-s", "48", "-ttt", "-e", `trace=${TRACED}`, "-o", path, "-p", `${pid}`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const strace = new Strace(child, path);
    // Something is always going on: a server is asked for its status every second.
    await eventually(async () => (await strace.calls()).length > 0 || undefined, "strace sees calls");
    return strace;
  }

  async calls(): Promise<Call[]> {
    const calls: Call[] = [], begun = new Map<string, string>();
    for (const line of (await Deno.readTextFile(this.#path).catch(() => "")).split("\n")) {
      const [, thread, time, rest] = /^(\d+) +([\d.]+) (.*)$/.exec(line) ?? [];
      if (rest === undefined) continue;
      const unfinished = /^(.*) <unfinished \.\.\.>$/.exec(rest);
      if (unfinished) {
        begun.set(thread!, unfinished[1]!);
        // A datagram counts from when it was handed over, whatever the call says later.
        if (!/^send/.test(rest)) continue;
      }
      const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
      const whole = unfinished ? `${unfinished[1]}) = ?` : resumed ? (begun.get(thread!) ?? "") + resumed[1]! : rest;
      const [, name, args, result] = /^(\w+)\((.*)\)\s+= (\S+)/.exec(whole) ?? [];
      if (name !== undefined) calls.push({ timeS: Number(time), name, args: args!, result: result! });
    }
    return calls;
  }

  async detach(): Promise<void> {
    this.#child.kill("SIGINT");
    await this.#child.status;
  }
}

/** Why this machine does not let us watch, if it does not. */
async function cannotTrace(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "strace is Linux's";
  try {
    const { code, stderr } = await new Deno.Command("strace", { args: ["-f", "-e", "trace=none", "true"] }).output();
    if (code === 0) {
      const scope = await Deno.readTextFile("/proc/sys/kernel/yama/ptrace_scope").catch(() => "0");
      return Number(scope) === 0 || Deno.uid() === 0 ? undefined : "only children may be traced (ptrace_scope)";
    }
    return new TextDecoder().decode(stderr).trim();
  } catch {
    return "strace is not installed";
  }
}

const TRACED = "fdatasync,fsync,write,pwrite64,writev,pwritev,sendto,sendmsg,sendmmsg";
