import assert from "node:assert/strict";
import { Leader, storePaths } from "../../../server/store/leader.ts";
import { FrameKind, LINK_VERSION } from "../../../server/store/link.ts";
import { operations } from "../../../server/store/operations.ts";
import { connectLocal } from "../../../shared/host/mod.ts";
import { silentLogger } from "../../../shared/log.ts";
import { write, Writer } from "../../../shared/codec/mod.ts";
import { befriend, nameOf, recordOf } from "./fixtures.ts";

Deno.test("Leader.tryLead() lets one lead at a time, with a rising number", async () => {
  await inDataDir(async (dataDir) => {
    const first = await lead(dataDir);
    assert.equal(await Leader.tryLead({ dataDir, logger: silentLogger }), undefined);
    await first!.close();
    const second = await lead(dataDir);
    assert.equal(second!.leadership, first!.leadership + 1);
    await second!.close();
    await second!.close();
  });
});

Deno.test("Leader.tryLead() replaces a dead leader's socket file, and works after any socket's absence", async () => {
  await inDataDir(async (dataDir) => {
    const { run, socket } = storePaths(dataDir);
    await Deno.mkdir(run, { mode: 0o700 });
    await Deno.writeTextFile(socket, "left behind");
    const leader = await lead(dataDir);
    const stream = await connectLocal(socket);
    stream.close();
    await leader!.close();
  });
});

Deno.test("Leader closes links that speak nonsense, and goes on for the others", async () => {
  await inDataDir(async (dataDir) => {
    const leader = await lead(dataDir);
    await befriend(leader!.store);
    const hello = frame(FrameKind.Hello, (writer) => {
      writer.u16(LINK_VERSION);
      writer.u8(1);
    });
    const request = (content: (writer: Writer) => void) => [hello, frame(FrameKind.Request, content)];
    const nonsense: Uint8Array[][] = [
      [new Uint8Array(64).fill(0xff)],
      [frame(FrameKind.Announce, (writer) => writer.u8(0))],
      [frame(FrameKind.Hello, (writer) => {
        writer.u16(LINK_VERSION + 1);
        writer.u8(1);
      })],
      [hello, frame(FrameKind.Welcome, (writer) => writer.u8(0))],
      request((writer) => {
        writer.varint(1);
        writer.u8(200);
      }),
      request((writer) => {
        writer.varint(1);
        writer.u8(operations.append.tag);
        writer.varint(60_000);
      }),
      request((writer) => {
        writer.varint(1);
        writer.u8(operations.append.tag);
        write(operations.append.args, writer, [recordOf("alice", "bob", 1)]);
        writer.u8(0);
      }),
    ];
    for (const frames of nonsense) {
      const stream = await connectLocal(storePaths(dataDir).socket);
      for (const bytes of frames) await stream.write(bytes);
      // The leader hangs up: what it still had to say, and then the end (a reset where something was left unread).
      const buffer = new Uint8Array(4096);
      while ((await stream.read(buffer).catch(() => null)) !== null);
      stream.close();
    }
    const [result] = await leader!.store.append([recordOf("alice", "bob", 1)]);
    assert.deepEqual(result, { status: "stored", seq: 1, timeMs: 5_000, duplicate: false });
    assert.deepEqual(leader!.hub.online(), []);
    assert.deepEqual(await leader!.store.users("", 9), [nameOf("alice"), nameOf("bob")]);
    await leader!.close();
  });
});

function frame(kind: FrameKind, content: (writer: Writer) => void): Uint8Array {
  const body = new Writer(), writer = new Writer();
  body.u8(kind);
  content(body);
  writer.u32(body.length);
  writer.bytes(body.view());
  return writer.finish();
}

function lead(dataDir: string): Promise<Leader | undefined> {
  return Leader.tryLead({ dataDir, logger: silentLogger });
}

async function inDataDir(run: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  try {
    await run(dataDir);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}
