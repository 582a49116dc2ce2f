import assert from "node:assert/strict";
import { join } from "node:path";
import { createPrivateFile, ensurePrivateDirectory, PrivateFileError } from "../../../shared/host/mod.ts";
import { readPrivateFile, readPrivateText, writePrivateFile } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

const UNIX = Deno.build.os !== "windows";

Deno.test("writePrivateFile() replaces the whole content, closed to others, and leaves nothing beside it", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "key");
    await writePrivateFile(path, "a long first content");
    await writePrivateFile(path, new Uint8Array([1, 2]));
    assert.deepEqual([...await readPrivateFile(path)], [1, 2]);
    if (UNIX) assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name), ["key"]);
  }));

Deno.test("writePrivateFile() that fails leaves nothing beside it", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "taken");
    await Deno.mkdir(join(path, "full"), { recursive: true });
    await assert.rejects(writePrivateFile(path, "x"));
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name), ["taken"]);
  }));

Deno.test("createPrivateFile() gives everybody what the first one wrote", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "key");
    const written = Array.from({ length: 8 }, (_, index) => `content ${index}`);
    const seen = await Promise.all(
      written.map(async (text) => new TextDecoder().decode(await createPrivateFile(path, text))),
    );
    assert.equal(new Set(seen).size, 1);
    assert.ok(written.includes(seen[0]!));
    assert.equal(await readPrivateText(path), seen[0]);
    assert.deepEqual([...Deno.readDirSync(directory)].map((entry) => entry.name), ["key"]);
  }));

Deno.test({
  name: "readPrivateFile() refuses what others can read, and says how to close it",
  ignore: !UNIX,
  fn: () =>
    inDirectory(async (directory) => {
      const path = join(directory, "key");
      await Deno.writeTextFile(path, "secret");
      for (const mode of [0o604, 0o640, 0o620, 0o602]) {
        await Deno.chmod(path, mode);
        await assert.rejects(readPrivateFile(path), (error: Error) => {
          assert.ok(error instanceof PrivateFileError);
          assert.ok(error.message.includes(`chmod 600 '${path}'`), error.message);
          return true;
        });
      }
      await Deno.chmod(path, 0o400);
      assert.equal(await readPrivateText(path), "secret");
    }),
});

Deno.test({
  name: "ensurePrivateDirectory() makes closed directories and refuses open ones",
  ignore: !UNIX,
  fn: () =>
    inDirectory(async (directory) => {
      const path = join(directory, "a", "b");
      await ensurePrivateDirectory(path);
      await ensurePrivateDirectory(path);
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o700);
      await Deno.chmod(path, 0o750);
      await assert.rejects(ensurePrivateDirectory(path), PrivateFileError);
      await Deno.writeTextFile(join(directory, "file"), "");
      await assert.rejects(ensurePrivateDirectory(join(directory, "file")));
    }),
});
