import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { Agent, type AgentOptions, agentPath, askAgent, lockAgent } from "../../../client/home/agent.ts";
import { UsageError } from "../../../client/errors.ts";
import { withFolder } from "../homes.ts";
import { TestTimers } from "../live_timers.ts";

const KEY = new Uint8Array(32).map((_, at) => at + 1);

/** A home and a place for a session's sockets, with no agent yet. */
async function withHome(
  use: (place: { home: string; runtimeDirectory: string; timers: TestTimers; options: AgentOptions }) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const home = join(folder, "home"), runtimeDirectory = join(folder, "run"), timers = new TestTimers();
    for (const path of [home, runtimeDirectory]) Deno.mkdirSync(path, { mode: 0o700 });
    await use({
      home,
      runtimeDirectory,
      timers,
      options: { home, key: KEY, idleMs: 8 * HOUR, timers, runtimeDirectory },
    });
  });
}

Deno.test("Agent hands its key to who can open its socket, which nobody else can", async () => {
  await withHome(async ({ home, runtimeDirectory, options }) => {
    assert.equal(await askAgent(home, runtimeDirectory), undefined);
    const agent = await Agent.start(options);
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    assert.equal(await askAgent(`${home}2`, runtimeDirectory), undefined, "another home's is another socket");
    assert.equal(await askAgent(home), undefined, "nor is it in the home where sessions have a place of their own");
    if (Deno.build.os !== "windows") {
      const path = agentPath(home, runtimeDirectory);
      assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
      assert.equal(Deno.statSync(dirname(path)).mode! & 0o777, 0o700);
    }
    await agent.close();
    assert.equal(await agent.ended, "stopped");
    assert.equal(await askAgent(home, runtimeDirectory), undefined);
    assert.throws(() => Deno.statSync(agentPath(home, runtimeDirectory)), Deno.errors.NotFound);
  });
});

Deno.test("Agent listens in the home where the session has no place for sockets", async () => {
  await withHome(async ({ home, options }) => {
    await using stack = new AsyncDisposableStack();
    const agent = await Agent.start({ ...options, runtimeDirectory: undefined });
    stack.defer(() => agent.close());
    assert.equal(dirname(agent.path), home);
    assert.deepEqual(await askAgent(home), KEY);
  });
});

Deno.test({
  name: "Agent refuses a directory that others may open, and leaves nothing there",
  ignore: Deno.build.os === "windows",
  async fn() {
    await withHome(async ({ home, runtimeDirectory, options }) => {
      const directory = join(runtimeDirectory, "fastchat");
      Deno.mkdirSync(directory, { mode: 0o755 });
      const isOpenDirectory = (error: unknown) =>
        error instanceof UsageError && /open to other users.*chmod 700/.test(error.message);
      await assert.rejects(Agent.start(options), isOpenDirectory);
      assert.deepEqual([...Deno.readDirSync(directory)], []);
      Deno.chmodSync(home, 0o750);
      await assert.rejects(Agent.start({ ...options, runtimeDirectory: undefined }), isOpenDirectory);
      assert.deepEqual([...Deno.readDirSync(home)], []);
    });
  },
});

Deno.test("Agent ends after its time without use, and every use begins it anew", async () => {
  await withHome(async ({ home, runtimeDirectory, timers, options }) => {
    const agent = await Agent.start(options);
    await timers.pass(8 * HOUR - 1);
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    await timers.pass(8 * HOUR - 1);
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    await timers.pass(8 * HOUR);
    assert.equal(await agent.ended, "unused");
    assert.equal(await askAgent(home, runtimeDirectory), undefined);
    assert.equal(timers.waiting, 0);
  });
});

Deno.test("Agent ends when it is locked, and says so before", async () => {
  await withHome(async ({ home, runtimeDirectory, options }) => {
    const agent = await Agent.start(options);
    assert.equal(await lockAgent(home, runtimeDirectory), true);
    assert.equal(await agent.ended, "locked");
    assert.equal(await lockAgent(home, runtimeDirectory), false);
    const next = await Agent.start(options);
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    await next.close();
  });
});

Deno.test("Agent ends when the session has taken its socket away, or the home is gone", async () => {
  await withHome(async ({ home, runtimeDirectory, timers, options }) => {
    const agent = await Agent.start(options);
    Deno.removeSync(agent.path);
    await timers.pass(60_000);
    assert.equal(await agent.ended, "gone");
    const next = await Agent.start(options);
    Deno.removeSync(home, { recursive: true });
    await timers.pass(60_000);
    assert.equal(await next.ended, "gone");
    assert.equal(await askAgent(home, runtimeDirectory), undefined);
  });
});

Deno.test("Agent: a home has one, and one that was killed is in nobody's way", async () => {
  await withHome(async ({ home, runtimeDirectory, options }) => {
    const agent = await Agent.start(options);
    await assert.rejects(Agent.start(options), (error) => error instanceof UsageError && /already/.test(error.message));
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    await agent.close();
    // What a killed one leaves: its socket's file, with nobody behind it.
    Deno.writeTextFileSync(agent.path, "");
    assert.equal(await askAgent(home, runtimeDirectory), undefined);
    const next = await Agent.start(options);
    assert.deepEqual(await askAgent(home, runtimeDirectory), KEY);
    await next.close();
  });
});

const HOUR = 3600 * 1000;
