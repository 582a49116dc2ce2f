/** Homes made before homes were sealed, and what unlocks one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MIGRATIONS } from "../../client/database.ts";
import { DeviceKeys, Identity } from "../../client/e2ee/mod.ts";
import { LockedError, UsageError, WrongPasswordError } from "../../client/errors.ts";
import { type HomeParts, openHome } from "../../client/local_home.ts";
import { Outbox } from "../../client/outbox.ts";
import { newToken } from "../../client/token.ts";
import { unlock } from "../../client/unlock.ts";
import { encryptPem, pkcs8ToPem } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { Needles, readTree } from "../e2e/needles.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";
import { ALICES_DEVICE, BOBS_DEVICE, idOf, TALK, withFolder } from "./homes.ts";

const PASSWORD = "violet-otter-canyon-42";
const TEXT = "the key is under the third flower pot", WAITING = "I am not sent yet, and secret";
const SECRET = new Uint8Array(32).map((_, at) => 90 + at), TOKEN = new Uint8Array(32).map((_, at) => 200 - at);
const BODY = new Uint8Array(64).map((_, at) => 17 * at);

Deno.test("a home made before homes were sealed opens as it was, and nothing of it is lost", async () => {
  await withOldHome((home) => {
    const parts = openHome(home);
    check(parts);
    assert.equal(parts.vault.isOpen, true);
    parts.database.close();
    const files = [...Deno.readDirSync(home)].map(({ name }) => name).sort();
    assert.deepEqual(files, ["fastchat.db", "identity.pem"], "what was in files of its own is in the database");
  });
});

Deno.test("a home made before homes were sealed is sealed by the first right password: no secret is left in any file", async () => {
  await withOldHome(async (home) => {
    const needles = await secrets();
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
    check(parts);
    parts.database.close();
    assert.deepEqual(found(), []);

    const again = openHome(home);
    assert.throws(() => check(again), LockedError);
    await assert.rejects(unlock(again.credentials, {}), LockedError);
    await assert.rejects(unlock(again.credentials, { password: "something else entirely" }), WrongPasswordError);
    assert.equal(again.vault.isLocked, true);
    await unlock(again.credentials, { password: PASSWORD });
    check(again);
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
    check(parts);
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
        check(other);
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

/** What is in the home, as its parts give it. */
function check(parts: HomeParts): void {
  const { history, database, credentials } = parts;
  const shown = history.after(0, 10).map(({ event }) =>
    event.type === "message" ? event.text : `refused: ${(event as { reason: string }).reason}`
  );
  assert.deepEqual(shown, [TEXT, `refused: ${TEXT} is what it says`]);
  assert.deepEqual(history.retryable("bob" as UserName).map(({ body }) => body), [BODY]);
  const outbox = new Outbox(database, history);
  assert.deepEqual(outbox.list().map(({ text }) => text), [WAITING]);
  assert.deepEqual(outbox.row(idOf(9))?.sealed?.body, BODY);
  assert.deepEqual(credentials.session(0)?.token, TOKEN);
}

async function secrets(): Promise<Needles> {
  const { alice } = await testKeys();
  return new Needles().text("a text", TEXT).text("a waiting text", WAITING).bytes("a ticket's secret", SECRET)
    .bytes("the session token", TOKEN).bytes("a body", BODY)
    .bytes("the leaf key", alice.leaf.pkcs8.subarray(-32)).bytes(
      "the envelope key",
      alice.envelopePkcs8.subarray(200, 300),
    )
    .text("the password", PASSWORD);
}

/** Alice's home as the program before left it. */
async function withOldHome(use: (home: string) => Promise<void> | void): Promise<void> {
  Deno.env.set("FASTCHAT_TEST_ONLY_SCRYPT_LOG2N", "10");
  await withFolder(async (home) => {
    Deno.chmodSync(home, 0o700);
    const { alice } = await testKeys(),
      write = (file: string, text: string) => Deno.writeTextFileSync(join(home, file), text, { mode: 0o600 });
    const device = `FastChat device ${alice.id}\n${pkcs8ToPem(alice.leaf.pkcs8)}${pkcs8ToPem(alice.envelopePkcs8)}`;
    await DeviceKeys.fromPem(device);
    write("device.pem", device);
    write(
      "identity.pem",
      await encryptPem({ pkcs8: alice.identity.pkcs8, passphrase: PASSWORD, testOnlyIterations: 1 }),
    );
    write(
      "session.json",
      JSON.stringify({
        token: TOKEN.toBase64({ alphabet: "base64url", omitPadding: true }),
        expires: "2100-01-01T00:00:00Z",
      }),
    );
    const database = new DatabaseSync(join(home, "fastchat.db"));
    database.exec("PRAGMA journal_mode=WAL; BEGIN");
    for (const step of MIGRATIONS.slice(0, OLD_VERSION)) database.exec(step);
    const run = (sql: string, ...values: (string | number | null | Uint8Array)[]) =>
      database.prepare(sql).run(...values);
    run(
      "INSERT INTO meta VALUES ('account', ?)",
      JSON.stringify({
        name: "alice",
        server: "127.0.0.1:9000",
        cluster: TEST_CLUSTER.toHex(),
        identity: alice.identity.fingerprint.toHex(),
        log2N: 10,
        enrolled: true,
      }),
    );
    run("INSERT INTO conversations (id, peer, cursor, begins) VALUES (?, 'bob', 2, 0)", TALK);
    const message =
      `INSERT INTO messages (conversation, seq, id, sender, recipient, device, time_ms, own, text, reason, body)
      VALUES (?, ?, ?, 'bob', 'alice', ?, 1, 0, ?, ?, ?)`;
    run(message, TALK, 1, idOf(1), BOBS_DEVICE, TEXT, null, null);
    run(message, TALK, 2, idOf(2), BOBS_DEVICE, null, `${TEXT} is what it says`, BODY);
    // A text that was there and is not: it may lie in a free page.
    run(message, TALK, 3, idOf(3), ALICES_DEVICE, TEXT.repeat(300), null, null);
    run(
      "INSERT INTO outbox (id, peer, text, created_ms, conversation, counter, epoch, body) VALUES (?, 'bob', ?, 1, ?, 1, 2, ?)",
      idOf(9),
      WAITING,
      TALK,
      BODY,
    );
    run(
      "INSERT INTO tickets (address, ticket, secret, expires_ms) VALUES ('127.0.0.1:9000', ?, ?, 4000000000000)",
      new Uint8Array(80).fill(3),
      SECRET,
    );
    database.exec(`PRAGMA user_version = ${OLD_VERSION}; COMMIT; DELETE FROM messages WHERE seq = 3`);
    database.close();
    assert.ok(await Identity.fromPem(Deno.readTextFileSync(join(home, "identity.pem")), PASSWORD));
    await use(home);
  });
}

/** The last without `seals`. */
const OLD_VERSION = 5;
