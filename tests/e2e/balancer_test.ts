/** The balancer with real servers in real processes: starting, dying, adopting, stopping, and every refusal. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BalancerStatus } from "../../balancer/control.ts";
import { dataPaths, readServerStates } from "../../shared/cluster/mod.ts";
import { createPrimitives, formatFingerprint, parseFingerprint } from "../../shared/crypto/mod.ts";
import { callControl, FileLock } from "../../shared/host/mod.ts";
import { locate, type Located, openUdp } from "../../shared/net/mod.ts";
import { inDirectory } from "../temporary.ts";
import { eventually, lines, onceOf, type Result, runArguments, startCluster, TEST_ENV } from "./harness.ts";

const primitives = await createPrimitives();

Deno.test("a balancer says ready only when every server answers, and LOCATE leads to each of them", async () => {
  const cluster = await startCluster(3);
  try {
    const status = await statusOf(cluster.dataDir);
    assert.deepEqual(status.servers.map(({ healthy }) => healthy), [true, true, true]);
    assert.equal(status.servers.filter((server) => server.status?.store === "leader").length, 1);
    assert.ok(parseFingerprint(cluster.fingerprint));
    const seen = new Map<number, number>();
    for (let count = 0; count < 60; count++) {
      const located = await ask(cluster.port);
      assert.equal(formatFingerprint(located.fingerprint), cluster.fingerprint);
      seen.set(located.serverNumber, located.port);
    }
    const ports = new Map(status.servers.map(({ number, port }) => [number, port]));
    assert.deepEqual(new Map([...seen].sort()), ports);
    for (let count = 0; count < 10; count++) {
      assert.equal((await ask(cluster.port, [0, 2])).serverNumber, 1);
    }
    // Whoever waits long for an answer asks once more.
    const { located } = await statusOf(cluster.dataDir);
    assert.ok(located >= 70 && located < 140, `${located}`);
  } finally {
    await cluster.stop();
  }
});

Deno.test("every server process has --data DIR among its arguments, and nobody's password in its environment", async () => {
  if (Deno.build.os !== "linux") return;
  const cluster = await startCluster(1, [], undefined, undefined, { FASTCHAT_PASSWORD: "somebody's" });
  try {
    const [pid] = await cluster.serverPids();
    const words = (await Deno.readTextFile(`/proc/${pid}/cmdline`)).split("\0");
    assert.equal(words[words.indexOf("--data") + 1], cluster.dataDir);
    assert.doesNotMatch(await Deno.readTextFile(`/proc/${pid}/environ`), /FASTCHAT_PASSWORD/);
  } finally {
    await cluster.stop();
  }
});

Deno.test("a killed server is replaced under its number and port, and meanwhile nobody is sent there", async () => {
  const cluster = await startCluster(2);
  try {
    const before = await statusOf(cluster.dataDir);
    const victim = before.servers[0]!;
    Deno.kill(victim.pid!, "SIGKILL");
    const after = await eventually(async () => {
      const status = await statusOf(cluster.dataDir);
      const server = status.servers[0]!;
      if (server.healthy && server.pid !== victim.pid) return status;
      // Nobody is sent there, unless it has become ready since we looked.
      if (server.pid !== victim.pid && (await ask(cluster.port)).serverNumber === 0) {
        assert.ok((await statusOf(cluster.dataDir)).servers[0]!.healthy);
      }
    }, "the server is replaced");
    assert.equal(after.servers[0]!.port, victim.port);
    assert.equal(after.servers[0]!.restarts, 1);
    assert.equal(after.servers[1]!.pid, before.servers[1]!.pid);
  } finally {
    await cluster.stop();
  }
});

Deno.test({
  name: "servers outlive a killed balancer, and the next one adopts them, more or fewer as it is told",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, "data");
      const first = await startCluster(2, [], dataDir);
      const pids = await first.serverPids();
      first.balancer.kill("SIGKILL");
      await first.balancer.status;
      for (const state of await readServerStates(dataDir)) {
        const { socket } = dataPaths(dataDir).server(state.number);
        assert.equal((await callControl(socket, { command: "status" }))["pid"], state.pid);
      }
      const second = await startCluster(3, [], dataDir);
      assert.deepEqual((await second.serverPids()).slice(0, 2), pids);
      assert.equal((await second.serverPids()).length, 3);
      // It is nobody's child now, and its end is noticed all the same.
      Deno.kill(pids[1]!, "SIGKILL");
      await eventually(async () => (await statusOf(dataDir)).servers[1]!.pid !== pids[1] || undefined, "it is gone");
      await eventually(async () => (await statusOf(dataDir)).servers[1]!.healthy || undefined, "it is replaced");
      second.balancer.kill("SIGKILL");
      await second.balancer.status;
      const third = await startCluster(1, [], dataDir);
      await eventually(() => isFree(dataDir, 1), "the surplus is stopped");
      await eventually(() => isFree(dataDir, 2), "the surplus is stopped");
      assert.deepEqual(await third.serverPids(), pids.slice(0, 1));
      assert.equal(third.fingerprint, first.fingerprint);
      await third.stop();
      assert.ok(await isFree(dataDir, 0));
    }),
});

Deno.test({
  name: "the end of a server that was adopted, and is nobody's child, is heard of sooner than by the next question",
  ignore: Deno.build.os === "windows",
  fn: () =>
    // Questions are asked every second: on a busy machine one may come first, though nobody waited for it.
    onceOf(5, () =>
      inDirectory(async (directory) => {
        const dataDir = join(directory, "data"), { socket } = dataPaths(dataDir).balancer;
        const first = await startCluster(1, [], dataDir), [pid] = await first.serverPids();
        first.balancer.kill("SIGKILL");
        await first.balancer.status;
        const second = await startCluster(1, [], dataDir);
        try {
          assert.deepEqual(await second.serverPids(), [pid]);
          const killedMs = performance.now();
          Deno.kill(pid!, "SIGKILL");
          await eventually(async () => {
            const { servers } = await callControl(socket, { command: "status" }) as unknown as BalancerStatus;
            return servers[0]!.pid !== pid || undefined;
          }, "it is gone");
          assert.ok(performance.now() - killedMs < 500, `${Math.round(performance.now() - killedMs)} ms`);
        } finally {
          await second.stop();
        }
      })),
});

Deno.test({
  name: "a balancer with other settings replaces the servers it finds",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, "data");
      const first = await startCluster(1, [], dataDir);
      const [pid] = await first.serverPids();
      first.balancer.kill("SIGKILL");
      await first.balancer.status;
      const second = await startCluster(1, ["--registration", "closed"], dataDir);
      assert.notEqual((await second.serverPids())[0], pid);
      await second.stop();
    }),
});

Deno.test("`stop` ends the balancer and every server, and also servers that a killed balancer left", () =>
  inDirectory(async (directory) => {
    const dataDir = join(directory, "data");
    const first = await startCluster(2, [], dataDir);
    const stopped = await run(["stop", "--data", dataDir]);
    assert.equal(stopped.code, 0, stopped.stderr);
    assert.match(stopped.stderr, /^Stopped 2 servers on /);
    assert.equal((await first.balancer.status).code, 0);
    for (const number of [0, 1]) assert.ok(await isFree(dataDir, number));
    assert.deepEqual(await readServerStates(dataDir), []);

    const second = await startCluster(2, [], dataDir);
    second.balancer.kill("SIGKILL");
    await second.balancer.status;
    const orphans = await run(["stop", "--data", dataDir]);
    assert.equal(orphans.code, 0, orphans.stderr);
    for (const number of [0, 1]) assert.ok(await isFree(dataDir, number));
    const nothing = await run(["stop", "--data", dataDir]);
    assert.deepEqual([nothing.code, nothing.stderr], [0, `Nothing runs on ${dataDir}\n`]);
  }));

Deno.test({
  name: "SIGTERM, SIGINT and SIGHUP stop everything cleanly",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, "data");
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
        const cluster = await startCluster(1, [], dataDir);
        cluster.balancer.kill(signal);
        assert.equal((await cluster.balancer.status).code, 0, signal);
        assert.ok(await isFree(dataDir, 0));
      }
    }),
});

Deno.test("a second balancer on the same data is refused and told the pid of the first, which goes on", async () => {
  const cluster = await startCluster(1);
  try {
    const second = await run(["1", "0", "--host", "127.0.0.1", "--data", cluster.dataDir]);
    assert.equal(second.code, 3);
    assert.match(second.stderr, new RegExp(`pid ${cluster.balancer.pid}\\b`));
    assert.equal(second.stdout, "");
    assert.equal((await ask(cluster.port)).serverNumber, 0);
  } finally {
    await cluster.stop();
  }
});

Deno.test("a taken port is answered with the command for another one", () =>
  inDirectory(async (directory) => {
    const taken = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
    try {
      const { port } = taken.address;
      const refused = await run(["2", String(port), "--host", "127.0.0.1", "--data", directory]);
      assert.equal(refused.code, 3);
      assert.equal(refused.stdout, "");
      const other = /fastchat-balancer 2 (\d+) --host 127\.0\.0\.1 --data/.exec(refused.stderr)?.[1];
      assert.ok(other !== undefined && Number(other) !== port, refused.stderr);
    } finally {
      taken.close();
    }
  }));

Deno.test("a directory that cannot be used is refused, and so is a bad number, with what to do", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "file");
    await Deno.writeTextFile(file, "");
    for (const dataDir of [file, join(file, "data")]) {
      const refused = await run(["1", "0", "--host", "127.0.0.1", "--data", dataDir]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /--data DIR/);
    }
    const usage = await run(["500", "9000"]);
    assert.deepEqual([usage.code, usage.stdout], [2, ""]);
    assert.match(usage.stderr, /1\.\.128/);
    assert.equal((await run(["stop", "--data", join(directory, "nowhere")])).code, 2);
  }));

Deno.test({
  name: "without --data the directory follows from the port, and `status` and `stop` find the one that runs",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inDirectory(async (directory) => {
      const env = { XDG_DATA_HOME: directory };
      const balancer = new Deno.Command(Deno.execPath(), {
        args: [...runArguments("balancer"), "1", "0", "--host", "127.0.0.1"],
        env,
        stdin: "null",
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const stdout = lines(balancer.stdout);
      const { value: ready } = await stdout.next();
      const [, port, dataDir] = /^ready 127\.0\.0\.1:(\d+) servers=1 data=(.*) key=SHA256:\S{43}$/.exec(ready!)!;
      assert.equal(dataDir, join(directory, "fastchat", `balancer_${port}`));
      const status = await run(["status"], env);
      assert.match(status.stdout, new RegExp(`pid ${balancer.pid}\\b`));
      const stopped = await run(["stop"], env);
      assert.deepEqual([stopped.code, stopped.stderr], [0, `Stopped 1 server on ${dataDir}\n`]);
      assert.equal((await balancer.status).code, 0);
      assert.equal((await stdout.next()).done, true, "one line on standard output, and no more");
      assert.equal((await run(["stop"], env)).code, 1);
    }),
});

Deno.test("random and truncated datagrams earn silence, and the balancer goes on", async () => {
  const cluster = await startCluster(1);
  const answers: Uint8Array[] = [];
  const socket = openUdp({ host: "127.0.0.1", port: 0, onDatagram: (bytes) => answers.push(bytes.slice()) });
  try {
    const to = { host: "127.0.0.1", port: cluster.port };
    for (let count = 0; count < 3000; count++) {
      const bytes = crypto.getRandomValues(new Uint8Array(count % 1400));
      // Half of them begin as a LOCATE does, and none is long enough to be one.
      if (count % 2 === 0 && bytes.length > 3) bytes.set([1, 0, 1]);
      if (bytes.length === 1200) continue;
      await new Promise<void>((resolve) => socket.first.send(bytes, to, resolve));
    }
    assert.equal((await ask(cluster.port)).serverNumber, 0);
    assert.equal(answers.length, 0);
  } finally {
    socket.close();
    await cluster.stop();
  }
});

Deno.test("servers whose start fails again and again end the balancer, with their log and last error", () =>
  inDirectory(async (directory) => {
    const dataDir = join(directory, "data");
    await Deno.mkdir(dataDir, { mode: 0o700 });
    await Deno.writeTextFile(join(dataDir, "store.db"), "This is no database\n".repeat(500));
    const failed = await run(["1", "0", "--host", "127.0.0.1", "--data", dataDir]);
    assert.equal(failed.code, 4, failed.stderr);
    assert.equal(failed.stdout, "");
    assert.ok(failed.stderr.includes(dataPaths(dataDir).server(0).log), failed.stderr);
    assert.match(failed.stderr, /last error: .*database/);
    assert.ok(await isFree(dataDir, 0));
  }));

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...runArguments("balancer"), ...args],
    env: { ...TEST_ENV, ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function statusOf(dataDir: string): Promise<BalancerStatus> {
  const status = await run(["status", "--json", "--data", dataDir]);
  assert.equal(status.code, 0, status.stderr);
  return JSON.parse(status.stdout);
}

function ask(port: number, excluded: readonly number[] = []): Promise<Located> {
  return locate({ host: "127.0.0.1", port, excluded, timeoutMs: 60_000, primitives });
}

/** Whether no process holds this server number: the only thing that tells a dead process from one nobody has reaped. */
async function isFree(dataDir: string, number: number): Promise<true | undefined> {
  using lock = await FileLock.tryAcquire(dataPaths(dataDir).server(number).lock);
  return lock && true;
}
