/**
 * What a power cut leaves: the leader is stopped at random moments of load, its files are copied as they lie there, and it goes on.
 * Every copy opens, is whole, and holds everything that was acknowledged before the stop.
 *
 *     FASTCHAT_IMAGES=200 FASTCHAT_SEED=7 deno test -A --no-check tests/e2e/image_test.ts
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkDatabase, openToRead } from "../../server/store/check.ts";
import { inDirectory } from "../temporary.ts";
import { Prng } from "../sim/prng.ts";
import { eventually, lines } from "./harness.ts";

Deno.test({
  name: "copies of the leader's files, taken at any moment of load, are whole and hold what was acknowledged",
  // Whether every thread of a process stands still is told by /proc.
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inDirectory(async (directory) => {
      const images = Number(Deno.env.get("FASTCHAT_IMAGES") ?? 8);
      const seed = Number(Deno.env.get("FASTCHAT_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
      const prng = new Prng(seed), dataDir = join(directory, "data");
      const writers: Writer[] = [];
      try {
        for (let number = 0; number < 2; number++) {
          const writer = new Writer(dataDir, number);
          writers.push(writer);
          await eventually(() => writer.stored.length > 100 || undefined, "it appends");
        }
        const [leader] = writers as [Writer];
        for (let image = 0; image < images; image++) {
          const enough = writers.map(({ stored }) => stored.length + 10);
          await eventually(
            () => writers.every(({ stored }, at) => stored.length >= enough[at]!) || undefined,
            "there is load all the time",
          );
          await new Promise((resolve) => setTimeout(resolve, prng.float() * 400));
          const copy = join(directory, `image-${image}`);
          await Deno.mkdir(copy);
          const acknowledged = writers.map(({ stored }) => stored.length);
          await leader.stop();
          // The shared memory beside them is not on any disk: whoever opens the copy makes it anew.
          for (const name of ["store.db", "store.db-wal"]) {
            await Deno.copyFile(join(dataDir, name), join(copy, name));
          }
          leader.goOn();
          const held = holds(copy, writers.flatMap(({ stored }, at) => stored.slice(0, acknowledged[at])));
          assert.deepEqual(held, { problems: [], lost: [] }, `FASTCHAT_SEED=${seed}, image ${image}`);
          await Deno.remove(copy, { recursive: true });
        }
      } finally {
        for (const writer of writers) await writer.end();
      }
    }),
});

interface Stored {
  readonly stored: string;
  readonly conversation: string;
  readonly seq: number;
}

/** What is wrong with a copy: what `check` finds, and what was acknowledged and is not there. */
function holds(copy: string, acknowledged: readonly Stored[]): { problems: unknown; lost: Stored[] } {
  const database = openToRead(join(copy, "store.db"));
  try {
    const { problems } = checkDatabase(database);
    const find = database.prepare(
      `SELECT 1 FROM log JOIN conversations ON conversations.id = log.conversation
       WHERE conversations.key = ? AND log.seq = ? AND log.message_id = ?`,
    );
    const lost = acknowledged.filter(({ stored, conversation, seq }) =>
      find.get(Uint8Array.fromHex(conversation), seq, Uint8Array.fromHex(stored)) === undefined
    );
    return { problems, lost };
  } finally {
    database.close();
  }
}

/** A process that appends without end (store_main.ts), and what was acknowledged to it. */
class Writer {
  readonly stored: Stored[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<void>;

  constructor(dataDir: string, number: number) {
    const main = fileURLToPath(new URL("./store_main.ts", import.meta.url));
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "--no-check", main, dataDir, String(number)],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#output = this.#read();
  }

  /** Resolves when not one of its threads runs any more. */
  async stop(): Promise<void> {
    const { pid } = this.#child;
    Deno.kill(pid, "SIGSTOP");
    const stands = (thread: string) => {
      try {
        return /^State:\s+T/m.test(Deno.readTextFileSync(`/proc/${pid}/task/${thread}/status`));
      } catch {
        return false; // It has ended since we looked; the next look does not find it.
      }
    };
    while (![...Deno.readDirSync(`/proc/${pid}/task`)].every(({ name }) => stands(name))) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  goOn(): void {
    Deno.kill(this.#child.pid, "SIGCONT");
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.stdin.close().catch(() => {});
    await this.#output;
    await this.#child.status;
  }

  async #read(): Promise<void> {
    for await (const line of lines(this.#child.stdout)) {
      if (line.startsWith('{"stored"')) this.stored.push(JSON.parse(line));
    }
  }
}
