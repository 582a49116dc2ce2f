/** At-least-once for scripts: real listeners, real shell scripts, killed where it hurts. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Cluster,
  eventually,
  fastchat,
  lines,
  PASSWORD,
  startCluster,
  startFastchat,
  TEST_ENV,
} from "./harness.ts";

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-acks-" });
  cluster = await startCluster(1);
  for (const name of ["alice", "bob", "carol"]) {
    const { code, stderr } = await fastchat(["register", name, "--server", cluster.server, ...at(name)]);
    assert.equal(code, 0, stderr);
  }
});

Deno.test.afterAll(async () => {
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(name: string): string[] {
  return ["--home", join(folder, name)];
}

async function send(to: string, ...texts: string[]): Promise<string[]> {
  const { code, stderr } = await fastchat(at("alice"), { stdin: texts.map((text) => `/msg ${to} ${text}\n`).join("") });
  assert.equal(code, 0, stderr);
  const history = await fastchat(["history", to, "--limit", String(texts.length), "--json", ...at("alice")]);
  return history.stdout.trim().split("\n").map((line) => JSON.parse(line).id);
}

/** A listener that acknowledges by hand, read one message at a time. */
class Listener {
  readonly child: Deno.ChildProcess;
  readonly #lines: AsyncGenerator<string>;

  constructor(name: string, ...options: string[]) {
    this.child = startFastchat(["listen", "--json", "--ack", "manual", ...options, ...at(name)]);
    this.#lines = lines(this.child.stdout);
  }

  /** The next message as [text, delivery]. */
  async next(): Promise<[string, number]> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`The listener ended: ${await new Response(this.child.stderr).text()}`);
      const event = JSON.parse(value);
      if (event.type === "message") return [event.text, event.delivery];
    }
  }

  async end(signal: Deno.Signal): Promise<void> {
    this.child.kill(signal);
    await this.#lines.return(undefined);
    await Promise.all([this.child.status, this.child.stderr.cancel(), this.child.stdin.close()]);
  }
}

Deno.test("a script that is killed between reading and acknowledging does everything at least once, and by the id each once", async () => {
  if (Deno.build.os === "windows") return;
  const work = join(folder, "work");
  await Deno.mkdir(join(work, "done"), { recursive: true });
  await Deno.mkdir(join(work, "died"));
  const count = 6, texts = Array.from({ length: count }, (_, i) => `job ${i + 1}`);
  const ids = await send("bob", ...texts);
  const read = async (file: string) => (await Deno.readTextFile(join(work, file)).catch(() => "")).trim().split("\n");
  for (let deaths = 0; deaths < 3; deaths++) {
    const { signal } = await runScript(work).status;
    assert.equal(signal, "SIGKILL", "it dies by its own hand, with everything that belongs to it");
  }
  const script = runScript(work);
  await eventually(async () => (await read("acked")).length === count || undefined, "all jobs are done", 240);
  Deno.kill(-script.pid, "SIGKILL");
  await script.status;
  const seen = await read("seen");
  assert.deepEqual([...new Set(seen.map((line) => line.split(" ")[0]))], ids, "at least once, in order");
  assert.equal(seen.length, count + 3, "the three that it died with came again, and nothing else");
  assert.deepEqual(await read("results"), ids, "by the id, each once");
  const again = seen.filter((line, at) => seen.findIndex((other) => other.slice(0, 32) === line.slice(0, 32)) < at);
  for (const line of again) assert(Number(line.slice(33)) > 1, "what comes again says so");

  const [last] = await send("bob", "the end");
  const listener = new Listener("bob");
  assert.deepEqual(await listener.next(), ["the end", 1], "nothing that was acknowledged comes again");
  await listener.end("SIGTERM");
  const { code, stdout } = await fastchat(["ack", last!, "--json", ...at("bob")]);
  assert.deepEqual([code, JSON.parse(stdout)], [0, { type: "ack", id: last, state: "acknowledged" }]);
});

/** The loop of the help page, with a hand that kills all of it at three of the messages, before their acknowledgement. */
function runScript(work: string): Deno.ChildProcess {
  const client = fileURLToPath(new URL("../../client/main.ts", import.meta.url));
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const script = `
    fastchat() { "${Deno.execPath()}" run --no-check -A --config "${config}" "${client}" "$@" --home "${
    join(folder, "bob")
  }"; }
    fastchat listen --json --ack manual --ack-after 600 | while read -r line; do
      case "$line" in '{"type":"message"'*) ;; *) continue ;; esac
      id=$(printf '%s' "$line" | sed 's/^{"type":"message","id":"\\([0-9a-f]*\\)".*/\\1/')
      n=$(printf '%s' "$line" | sed 's/.*"delivery":\\([0-9]*\\)}$/\\1/')
      echo "$id $n" >> seen
      [ -e "done/$id" ] || { echo "$id" >> results; : > "done/$id"; }
      case "$line" in *'"text":"job 1"'*|*'"text":"job 3"'*|*'"text":"job 4"'*)
        [ -e "died/$id" ] || { : > "died/$id"; kill -9 0; } ;;
      esac
      printf '%s\\n' "$line" | fastchat ack - && echo "$id" >> acked
    done`;
  return new Deno.Command("setsid", {
    args: ["bash", "-c", script],
    cwd: work,
    env: { ...TEST_ENV, FASTCHAT_PASSWORD: PASSWORD },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

Deno.test("listen --ack manual repeats after its time, over restarts and to whoever else listens", async () => {
  const ids = await send("carol", "one", "two", "three");
  const first = new Listener("carol", "--window", "2", "--ack-after", "120");
  assert.deepEqual([await first.next(), await first.next()], [["one", 1], ["two", 1]]);
  // What one has the other has not; the third was left by the window.
  const second = new Listener("carol", "--ack-after", "120");
  assert.deepEqual(await second.next(), ["three", 1]);
  // A whole line or an id, in one stream; what was acknowledged makes room.
  const acked = await fastchat(["ack", "-", ...at("carol")], { stdin: `${ids[1]}\n{"type":"connection"}\n\n` });
  assert.deepEqual([acked.code, acked.stdout, acked.stderr], [0, "", ""]);
  // Killed: the other takes over what it had within moments, though its time was minutes.
  await first.end("SIGKILL");
  assert.deepEqual(await second.next(), ["one", 2]);
  await send("carol", "four");
  assert.deepEqual(await second.next(), ["four", 1]);
  await second.end("SIGTERM");
  const third = new Listener("carol", "--ack-after", "3");
  assert.deepEqual([await third.next(), await third.next(), await third.next()], [["one", 3], ["three", 2], [
    "four",
    2,
  ]]);
  assert.deepEqual(await third.next(), ["one", 4], "and while it runs, after its time");
  await third.end("SIGTERM");
});

Deno.test("ack says what it cannot acknowledge and ends with 2; recv goes its own way", async () => {
  const unknown = "ab".repeat(16);
  const [id] = await send("carol", "once more");
  const listener = new Listener("carol");
  while ((await listener.next())[0] !== "once more");
  await listener.end("SIGTERM");
  const result = await fastchat(["ack", unknown, id!, id!, "--json", ...at("carol")]);
  assert.equal(result.code, 2);
  assert.deepEqual(result.stdout.trim().split("\n").map((line) => JSON.parse(line).state), [
    "unknown",
    "acknowledged",
    "already",
  ]);
  assert.equal(
    result.stderr,
    `fastchat: Cannot acknowledge ${unknown}: no message of that id was received in this home\n`,
  );
  const wrong = await fastchat(["ack", "xyz", ...at("carol")]);
  assert.deepEqual([wrong.code, wrong.stderr], [2, 'fastchat: Cannot acknowledge "xyz": an id is 32 hex digits\n']);
  const input = await fastchat(["ack", "-", ...at("carol")], { stdin: `{"type":\n${id}\n` });
  assert.equal(input.code, 2);
  assert.match(input.stderr, /^fastchat: Cannot acknowledge .* neither an id nor a line of JSON\n$/);
  const usage = await fastchat(["listen", "--ack", "manual", ...at("carol")]);
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /needs --json/);
  const shown = await fastchat(["recv", "--json", ...at("carol")]);
  assert.deepEqual(
    shown.stdout.trim().split("\n").map((line) => JSON.parse(line)).filter(({ type }) => type === "message").map((
      { text },
    ) => text),
    ["one", "two", "three", "four", "once more"],
  );
});
