/** Homes made before homes were sealed, and what unlocks one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { LockedError, UsageError, WrongPasswordError } from "../../../client/errors.ts";
import { openHome } from "../../../client/home_parts.ts";
import { newToken } from "../../../client/home/token.ts";
import { unlock } from "../../../client/account/unlock.ts";
import { readTree } from "../../e2e/needles.ts";
import { checkHome, PASSWORD, secretsOfHome, withOldHome } from "../old_home.ts";

Deno.test("a home made before homes were sealed opens as it was, and nothing of it is lost", async () => {
  await withOldHome((home) => {
    const parts = openHome(home);
    checkHome(parts);
    assert.equal(parts.vault.isOpen, true);
    parts.database.close();
    const files = [...Deno.readDirSync(home)].map(({ name }) => name).sort();
    assert.deepEqual(files, ["fastchat.db", "identity.pem"], "what was in files of its own is in the database");
  });
});

Deno.test("a home made before homes were sealed is sealed by the first right password: no secret is left in any file", async () => {
  await withOldHome(async (home) => {
    const needles = await secretsOfHome();
    const found = () =>
      readTree(home).flatMap(({ path, bytes }) => needles.findIn(bytes).map((what) => `${path}: ${what}`));
    assert.notDeepEqual(found(), [], "before, they are there");
    const wrong = openHome(home);
    await unlock(wrong.credentials, { password: "something else entirely" });
    assert.equal(wrong.vault.isOpen, true, "a wrong password seals nothing");
    wrong.database.close();

    const parts = openHome(home);
    await unlock(parts.credentials, { password: PASSWORD });
    assert.equal(parts.vault.isOpen, false);
    // Also while it is open, with its log beside it.
    const key = parts.vault.key();
    needles.bytes("the home's key", key);
    assert.deepEqual(found(), []);
    checkHome(parts);
    parts.database.close();
    assert.deepEqual(found(), []);

    const again = openHome(home);
    assert.throws(() => checkHome(again), LockedError);
    await assert.rejects(unlock(again.credentials, {}), LockedError);
    await assert.rejects(unlock(again.credentials, { password: "something else entirely" }), WrongPasswordError);
    assert.equal(again.vault.isLocked, true);
    await unlock(again.credentials, { password: PASSWORD });
    checkHome(again);
    again.database.close();
  });
});

Deno.test("a home whose sealing was killed in the middle is sealed by the next program", async () => {
  await withOldHome((home) => {
    // Killed between the keys' move into the database and the end of their files.
    const files = ["device.pem", "session.json"].map((name) => join(home, name));
    const kept = files.map((file) => Deno.readTextFileSync(file));
    openHome(home).database.close();
    for (const [at, file] of files.entries()) Deno.writeTextFileSync(file, kept[at]!, { mode: 0o600 });
    const parts = openHome(home);
    checkHome(parts);
    parts.database.close();
    for (const file of files) assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
  });
});

Deno.test("key files of an old home that others can read are refused, as they were before", async () => {
  if (Deno.build.os === "windows") return;
  await withOldHome((home) => {
    Deno.chmodSync(join(home, "device.pem"), 0o644);
    assert.throws(() => openHome(home), (error) => error instanceof UsageError && /chmod 600/.test(error.message));
    assert.equal(Deno.statSync(join(home, "device.pem")).isFile, true);
  });
});

Deno.test("unlock() takes a key, a token or a password, whichever is right, and says what is wrong with each", async () => {
  await withOldHome(async (home) => {
    const parts = openHome(home), { token, text } = newToken();
    await unlock(parts.credentials, { password: PASSWORD });
    parts.vault.addToken(token, "/a/file");
    const key = parts.vault.key();
    parts.database.close();
    const attempt = async (ways: Parameters<typeof unlock>[1]) => {
      const other = openHome(home);
      try {
        await unlock(other.credentials, ways);
        checkHome(other);
      } finally {
        other.database.close();
      }
    };
    await attempt({ unlock: key });
    await attempt({ token: text });
    await attempt({ token: newToken().text, password: PASSWORD });
    await attempt({ unlock: new Uint8Array(32), token: text });
    await assert.rejects(attempt({ unlock: new Uint8Array(32) }), (error) => isLocked(error, /another home's/));
    await assert.rejects(attempt({ token: newToken().text }), (error) => isLocked(error, /revoked/));
    await assert.rejects(attempt({ token: "fastchat-token-1 short" }), UsageError);
    await assert.rejects(attempt({ token: `${text} and more` }), UsageError);
    await assert.rejects(attempt({ password: "" }), WrongPasswordError);
  });
});

function isLocked(error: unknown, reason: RegExp): boolean {
  return error instanceof LockedError && reason.test(error.message);
}
