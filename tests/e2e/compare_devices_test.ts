/** Two terminals of one person: a new device is let in by six digits that both show. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Cluster, fastchat, PASSWORD, runArguments, startCluster } from "./harness.ts";
import { hasTmux, Terminal } from "./tmux.ts";

// Without tmux nobody can look at two screens; .ci/run installs it.
const ignore = !await hasTmux();
if (ignore) console.warn("compare_devices_test.ts is skipped: it needs tmux");

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  if (ignore) return;
  folder = await Deno.makeTempDir({ prefix: "fastchat-compare-" });
  cluster = await startCluster(2);
  await run("register", "alice", "--server", cluster.server, "--device-name", "tower", ...at("alice"));
});

Deno.test.afterAll(async () => {
  if (ignore) return;
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(home: string): string[] {
  return ["--home", join(folder, home)];
}

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await fastchat(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

function terminal(words: readonly string[], env: Record<string, string> = {}): Promise<Terminal> {
  return Terminal.open([Deno.execPath(), ...runArguments("client"), ...words], env);
}

function approving(): Promise<Terminal> {
  return terminal(["device", "approve", "--compare", ...at("alice")], { FASTCHAT_PASSWORD: PASSWORD });
}

function linking(home: string): Promise<Terminal> {
  return terminal(["device", "link", "alice", "--compare", "--server", cluster.server, ...at(home)]);
}

/** The digits on a screen that asks about them. */
async function digitsOn(screen: Terminal): Promise<string> {
  return /^ {2}(\d{3} \d{3})$/m.exec(await screen.shows(/same six digits\? \[y\/N\]/))![1]!;
}

Deno.test({
  name:
    "fastchat device link NAME --compare: the same digits on both screens, yes on both, and no password on the new one",
  ignore,
  async fn() {
    await using fresh = await linking("laptop");
    await fresh.shows(/fastchat device approve --compare/);
    await using old = await approving();
    await old.shows(/fastchat device link alice --compare --server \S+:\d+#SHA256:/);
    const digits = await digitsOn(old);
    assert.equal(await digitsOn(fresh), digits);
    await fresh.type("y", "Enter");
    await old.type("y", "Enter");
    await old.shows(/The device \w{8} is yours[^]*ended 0, modes restored/);
    await fresh.shows(/This device is alice's now[^]*ended 0, modes restored/);
    const devices = await run("device", "list", ...at("laptop"));
    assert.match(devices, /tower[^\n]*\n.*this device/);
    assert.doesNotMatch(devices, /approve or revoke/);
  },
});

Deno.test({
  name:
    "fastchat device approve --compare: no on one screen ends it on both, nothing is linked, and the next time has other digits",
  ignore,
  async fn() {
    const before = await run("device", "list", "--json", ...at("alice"));
    let burnt: string;
    {
      await using old = await approving(), fresh = await linking("phone");
      burnt = await digitsOn(old);
      assert.equal(await digitsOn(fresh), burnt);
      await old.type("n", "Enter");
      await old.shows(/You did not agree[^]*ended 6, modes restored/);
      await fresh.type("y", "Enter");
      await fresh.shows(/On the other device it was not agreed[^]*ended 6, modes restored/);
    }
    assert.equal(await run("device", "list", "--json", ...at("alice")), before);
    await using fresh = await linking("phone");
    // The burnt one is still to be found for a while, and is passed over.
    await using old = await approving();
    const digits = await digitsOn(old);
    assert.equal(await digitsOn(fresh), digits);
    assert.notEqual(digits, burnt);
    await old.type("", "C-c");
    await old.shows(/ended 2, modes restored/);
    await fresh.type("y", "Enter");
    await fresh.shows(/On the other device it was not agreed[^]*ended 6, modes restored/);
    assert.equal(await run("device", "list", "--json", ...at("alice")), before);
  },
});

Deno.test("fastchat device link --compare takes somebody at a terminal, and a name", async () => {
  for (
    const [words, reason] of [
      [["link", "alice", "--compare", "--server", "127.0.0.1:9"], /takes somebody at a terminal/],
      [["approve", "--compare", ...at("alice")], /takes somebody at a terminal/],
      [["link", "--compare", "--server", "127.0.0.1:9"], /device link NAME --compare/],
      [["link", "alice", "--server", "127.0.0.1:9"], /device link NAME --compare/],
      [["approve", "1234", "--compare"], /nothing is to be typed here/],
    ] as const
  ) {
    const { code, stderr } = await fastchat(["device", ...words]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, reason);
  }
});
