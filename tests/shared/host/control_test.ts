import assert from "node:assert/strict";
import { join } from "node:path";
import { callControl, ControlError, ControlRefusedError, serveControl } from "../../../shared/host/mod.ts";
import { connectLocal, watchControl } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

Deno.test("callControl() gets what the handler answers, over either kind of socket", async () => {
  for (const name of ["c.sock", "long".repeat(30) + ".sock"]) {
    await inDirectory(async (directory) => {
      const path = join(directory, name);
      const server = await serveControl(path, { add: ({ a, b }) => ({ sum: (a as number) + (b as number) }) });
      assert.deepEqual(await callControl(path, { command: "add", a: 2, b: 3 }), { sum: 5 });
      const large = "é".repeat(50_000);
      const echo = await serveControl(`${path}2`, { echo: async ({ text }) => await Promise.resolve({ text }) });
      assert.equal((await callControl(`${path}2`, { command: "echo", text: large }))["text"], large);
      await Promise.all([server.close(), echo.close()]);
    });
  }
});

Deno.test("watchControl() hears of the end of whoever listens, and holds nobody up", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "c.sock");
    await assert.rejects(watchControl(path), ControlError);
    const server = await serveControl(path, { status: () => ({ pid: 1 }) });
    const watched = await watchControl(path), other = await watchControl(path);
    let ended = false;
    watched.ended.then(() => ended = true);
    assert.deepEqual(await callControl(path, { command: "status" }), { pid: 1 });
    assert.equal(ended, false);
    other.close();
    await other.ended;
    assert.equal(ended, false);
    await server.close();
    await watched.ended;
  }));

Deno.test("callControl() tells a refusal from silence", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "c.sock");
    await assert.rejects(callControl(path, { command: "status" }), ControlError);
    const never = Promise.withResolvers<object>();
    const server = await serveControl(path, {
      fail: () => {
        throw new Error("Not today");
      },
      hang: () => never.promise,
    });
    await assert.rejects(callControl(path, { command: "fail" }), /^ControlRefusedError: Not today$/);
    await assert.rejects(callControl(path, { command: "toString" }), ControlRefusedError);
    await assert.rejects(callControl(path, { command: "hang" }, 5), /within 5 ms/);
    never.resolve({});
    await server.close();
  }));

Deno.test("serveControl() answers several requests of one connection in order, and drops one that talks nonsense", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "c.sock");
    const server = await serveControl(path, { echo: ({ n }) => ({ n }) });
    const conn = await connectLocal(path);
    await conn.write(new TextEncoder().encode('{"command":"echo","n":1}\n{"command":"echo","n":2}\nnonsense\n'));
    const text = await new Response(conn.readable).text();
    assert.equal(text, '{"ok":true,"n":1}\n{"ok":true,"n":2}\n');
    const endless = await connectLocal(path);
    // One line without an end: the server closes instead of keeping it all.
    await assert.rejects(async () => {
      for (let count = 0; count < 1000; count++) await endless.write(new Uint8Array(4096).fill(65));
    });
    endless.close();
    assert.deepEqual(await callControl(path, { command: "echo", n: 3 }), { n: 3 });
    await server.close();
  }));

Deno.test("ControlServer.close() lets an answer that is due be written", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "c.sock");
    const asked = Promise.withResolvers<void>(), answer = Promise.withResolvers<object>();
    const server = await serveControl(path, {
      stop: () => {
        asked.resolve();
        return answer.promise;
      },
    });
    const call = callControl(path, { command: "stop" });
    await asked.promise;
    const closed = server.close();
    answer.resolve({ done: true });
    assert.deepEqual(await call, { done: true });
    await closed;
    assert.equal([...Deno.readDirSync(directory)].some((entry) => entry.name === "c.sock"), false);
  }));
