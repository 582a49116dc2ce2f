/** A cluster's data kept and brought back by its operator: `backup`, `restore` and `check` beside servers that serve. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { inDirectory } from "../temporary.ts";
import { type Cluster, startCluster } from "./harness.ts";
import { Person } from "./people.ts";
import { balancer } from "./upkeep.ts";

Deno.test("backup and check run beside a serving cluster, and restore brings people and messages back", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "today.fcb"), dataDir = join(directory, "data"), again = join(directory, "again");
    const cluster = await startCluster(2, [], dataDir);
    const alice = await open(cluster, directory, "alice"), bob = await open(cluster, directory, "bob");
    let stopped = false;
    try {
      let sent = 0;
      const talking = (async () => {
        while (!stopped) await alice.client.send("bob", `message ${sent++}`);
      })();
      await bob.until(() => bob.from("alice").length >= 20, "the talk is under way");
      const before = sent;
      const made = await balancer("backup", file, "--data", dataDir, "--with-keys");
      assert.deepEqual([made.code, made.stderr.includes("can be this server")], [0, true], made.stderr);
      assert.match(made.stdout, /\d+ messages in 1 conversation of 2 users, with the cluster's keys/);
      assert.equal(Deno.statSync(file).mode! & 0o777, 0o600);
      assert.ok(sent > before, "the talk went on meanwhile");
      const checked = await balancer("check", "--data", dataDir, "--json");
      assert.equal(checked.code, 0, checked.stderr);
      const report = JSON.parse(checked.stdout);
      assert.deepEqual([report.ok, report.problems, report.counts.users, report.counts.conversations], [
        true,
        [],
        2,
        1,
      ]);
      assert.ok(report.counts.log >= 20);

      const refused = await balancer("backup", file, "--data", dataDir);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /--force/);
      for (
        const [place, reason] of [[join(directory, "none", "x.fcb"), /there is no folder/], [
          directory,
          /is a folder/,
        ]] as const
      ) {
        const nowhere = await balancer("backup", place, "--force", "--data", dataDir);
        assert.deepEqual([nowhere.code, reason.test(nowhere.stderr)], [2, true], nowhere.stderr);
      }
      const used = await balancer("restore", file, "--data", dataDir);
      assert.equal(used.code, 2);
      assert.match(used.stderr, /it holds .*Stop what runs there/);
      stopped = true;
      await talking;
    } finally {
      stopped = true;
      await alice.close();
      await bob.close();
      await cluster.stop();
    }
    const whole = await balancer("restore", file, "--verify");
    assert.equal(whole.code, 0, whole.stderr);
    assert.match(whole.stdout, /is whole: \d+ messages/);
    const restored = await balancer("restore", file, "--data", again, "--verify");
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(restored.stdout, /Read again where it lies: ok/);
    assert.deepEqual(names(again), ["keys", "store.db", "store.lock"]);
    const second = await startCluster(1, [], again);
    try {
      assert.equal(second.fingerprint, cluster.fingerprint, "the same cluster");
      const old = await Person.open({ name: "alice", server: second.server, home: join(directory, "elsewhere") });
      assert.equal(old.client.name, "alice", "her password is known");
      await old.close();
    } finally {
      await second.stop();
    }
  }));

Deno.test("a backup without keys wants the cluster's own, and names others", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "b"), one = join(directory, "one"), two = join(directory, "two");
    const target = join(directory, "target");
    for (const dir of [one, two]) {
      const cluster = await startCluster(1, [], dir);
      if (dir === one) await (await open(cluster, directory, "alice")).close();
      await cluster.stop();
    }
    const made = await balancer("backup", file, "--data", one);
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stderr, /of no use without the cluster's keys/);
    const secrets = JSON.parse(await Deno.readTextFile(join(one, "keys", "secrets.json")));
    const bytes = (await Deno.readFile(file)).toHex();
    for (const name of ["pepper", "saltKey", "tokenKey"]) assert.ok(!bytes.includes(secrets[name]), name);

    const without = await balancer("restore", file, "--data", target);
    assert.equal(without.code, 2);
    assert.match(without.stderr, /made without the cluster's keys.*target\/keys/s);
    await copyKeys(two, target);
    const wrong = await balancer("restore", file, "--data", target);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, new RegExp(`is of cluster ${secrets.clusterId} .*the keys in .* are of cluster`, "s"));
    assert.deepEqual(names(target), ["keys", "store.lock"]);
    await copyKeys(one, target);
    // The right cluster's name over another pepper: nobody could log in.
    const swapped = { ...secrets, pepper: "00".repeat(32) };
    await Deno.writeTextFile(join(target, "keys", "secrets.json"), JSON.stringify(swapped), { mode: 0o600 });
    const sealed = await balancer("restore", file, "--data", target);
    assert.equal(sealed.code, 4, sealed.stderr);
    assert.match(sealed.stderr, /do not open the password hashes of 1 of 1 users/);
    await copyKeys(one, target);
    const right = await balancer("restore", file, "--data", target);
    assert.equal(right.code, 0, right.stderr);
    assert.equal((await balancer("check", "--data", target)).code, 0);
  }));

Deno.test("whatever byte of a backup changed, it is found, and nothing is made of it", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "b"), dataDir = join(directory, "data"), target = join(directory, "target");
    const cluster = await startCluster(1, [], dataDir);
    await (await open(cluster, directory, "alice")).close();
    await cluster.stop();
    assert.equal((await balancer("backup", file, "--data", dataDir, "--with-keys")).code, 0);
    const whole = await Deno.readFile(file);
    for (
      const at of [
        100,
        whole.length >> 1,
        whole.length - 4_000,
        whole.length - 200,
        whole.length - 40,
        whole.length - 3,
      ]
    ) {
      const broken = whole.slice();
      broken[at]! ^= 1;
      await Deno.writeFile(file, broken);
      const refused = await balancer("restore", file, "--data", target);
      assert.equal(refused.code, 4, `byte ${at}: ${refused.stderr}`);
      assert.deepEqual(names(target).filter((name) => name !== "store.lock"), [], `byte ${at}`);
    }
    await Deno.writeFile(file, whole.subarray(0, whole.length - 1));
    assert.equal((await balancer("restore", file, "--verify")).code, 4);
    assert.equal((await balancer("restore", join(directory, "nowhere"), "--verify")).code, 2);
  }));

Deno.test("check tells what is damaged, with an exit code of its own", () =>
  inDirectory(async (directory) => {
    const dataDir = join(directory, "data"), path = join(dataDir, "store.db");
    const cluster = await startCluster(1, [], dataDir);
    await (await open(cluster, directory, "alice")).close();
    await cluster.stop();
    const database = new DatabaseSync(path);
    database.exec("PRAGMA foreign_keys = OFF; DELETE FROM devices");
    database.close();
    const dangling = await balancer("check", "--data", dataDir);
    assert.equal(dangling.code, 4, dangling.stderr);
    assert.match(dangling.stdout, /dangling: \d+ rows of sessions that refer to devices/);
    const bytes = await Deno.readFile(path);
    bytes.fill(0xff, 4096);
    await Deno.writeFile(path, bytes);
    const damaged = await balancer("check", "--data", dataDir, "--json");
    assert.equal(damaged.code, 4, damaged.stderr);
    assert.equal(JSON.parse(damaged.stdout).problems[0].code, "damaged");
    assert.equal((await balancer("check", "--data", join(directory, "nowhere"))).code, 2);
    // Nor is it served, or put right by a program that does not know what it was.
    await Deno.writeTextFile(path, "What somebody else keeps under this name");
    const refused = await balancer("1", "0", "--host", "127.0.0.1", "--data", dataDir);
    assert.equal(refused.code, 4, refused.stderr);
    assert.match(refused.stderr, /store\.db is damaged, or somebody else's .* restore the last good backup/);
    assert.equal(await Deno.readTextFile(path), "What somebody else keeps under this name");
  }));

function open(cluster: Cluster, directory: string, name: string): Promise<Person> {
  return Person.open({ name, server: cluster.server, home: join(directory, `home-${name}`) });
}

async function copyKeys(from: string, to: string): Promise<void> {
  await Deno.mkdir(join(to, "keys"), { recursive: true, mode: 0o700 });
  for (const name of ["cluster.pem", "secrets.json"]) {
    await Deno.copyFile(join(from, "keys", name), join(to, "keys", name));
  }
}

function names(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
  } catch {
    return [];
  }
}
