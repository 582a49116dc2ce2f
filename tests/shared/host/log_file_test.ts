import assert from "node:assert/strict";
import { join } from "node:path";
import { lastLogLine, LogFile } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

Deno.test("LogFile.log() writes one JSON object per line, from its level on", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "a.log");
    const log = new LogFile(path, { now: () => new Date(0) });
    log.log("debug", "hidden");
    log.log("info", "first", { bytes: new Uint8Array(3), big: 5n });
    log.log("error", "second", { error: new Error("why\nnot") });
    log.close();
    log.log("error", "after the end");
    const lines = (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines, [
      { time: "1970-01-01T00:00:00.000Z", level: "info", event: "first", bytes: "[3 bytes]", big: "5" },
      {
        time: "1970-01-01T00:00:00.000Z",
        level: "error",
        event: "second",
        error: { name: "Error", message: "why\nnot" },
      },
    ]);
  }));

Deno.test("LogFile.log() stays within its bound, keeps the newest lines, and goes on after a restart", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "a.log"), bytesMax = 1000, filesKept = 2;
    for (let run = 0; run < 3; run++) {
      const log = new LogFile(path, { bytesMax, filesKept });
      for (let index = 0; index < 40; index++) log.log("info", "line", { run, index, filler: "x".repeat(index) });
      log.close();
    }
    const files = [...Deno.readDirSync(directory)].map((entry) => entry.name).sort();
    assert.deepEqual(files, ["a.log", "a.log.1", "a.log.2"]);
    let text = "";
    for (const file of files.toReversed()) {
      const part = await Deno.readTextFile(join(directory, file));
      assert.ok(part.length <= bytesMax, `${file} has ${part.length} bytes`);
      text += part;
    }
    const indices = text.trimEnd().split("\n").map((line) => JSON.parse(line).index as number);
    assert.equal(indices.at(-1), 39);
    indices.forEach((index, at) => assert.equal(index, 40 - indices.length + at));
  }));

Deno.test("LogFile.log() never throws: fields that cannot be printed, lines that are too long", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "a.log");
    const log = new LogFile(path);
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    log.log("info", "circular", circular);
    log.log("info", "long", { text: "y".repeat(1 << 20) });
    log.close();
    const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
    assert.deepEqual(lines.map((line) => JSON.parse(line).event), ["circular", "long"]);
    assert.ok(lines[1]!.length < 1 << 18);
  }));

Deno.test("LogFile.log() never throws: a file that cannot be written; what was dropped is counted when it can", () =>
  inDirectory(async (directory) => {
    let nowMs = 0;
    const folder = join(directory, "missing"), path = join(folder, "a.log");
    const log = new LogFile(path, { now: () => new Date(nowMs) });
    for (let index = 0; index < 3; index++) log.log("info", "lost");
    await Deno.mkdir(folder);
    log.log("info", "lost too: not tried again within a second");
    nowMs += 1001;
    log.log("info", "kept");
    log.close();
    const lines = (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map(({ event, lines }) => [event, lines]), [["log-lines-dropped", 4], ["kept", undefined]]);
  }));

Deno.test("lastLogLine() finds the last line of that urgency among others, and nothing where nothing is", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "a.log");
    assert.equal(await lastLogLine(path, "error"), undefined);
    const log = new LogFile(path);
    log.log("error", "early");
    log.log("error", "wanted", { port: 9 });
    for (let index = 0; index < 50; index++) log.log("info", "noise");
    log.close();
    await Deno.writeTextFile(path, "not JSON\n{", { append: true });
    const line = await lastLogLine(path, "error");
    assert.deepEqual([line?.event, line?.["port"]], ["wanted", 9]);
    assert.equal((await lastLogLine(path, "info"))?.event, "noise");
  }));
