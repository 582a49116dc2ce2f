/** Alice's home as the program before homes were sealed has left it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MIGRATIONS } from "../../client/home/migrations.ts";
import { DeviceKeys, Identity } from "../../client/e2ee/mod.ts";
import type { HomeParts } from "../../client/home_parts.ts";
import { Outbox } from "../../client/talk/outbox.ts";
import { encryptPem, pkcs8ToPem } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { Needles } from "../e2e/needles.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";
import { ALICES_DEVICE, BOBS_DEVICE, idOf, TALK, withFolder } from "./homes.ts";

export const PASSWORD = "violet-otter-canyon-42";
export const TEXT = "the key is under the third flower pot", WAITING = "I am not sent yet, and secret";
const SECRET = new Uint8Array(32).map((_, at) => 90 + at), TOKEN = new Uint8Array(32).map((_, at) => 200 - at);
const BODY = new Uint8Array(64).map((_, at) => 17 * at);

/** What is in the home, as its parts give it. */
export function checkHome(parts: HomeParts): void {
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

/** What must not be found in any file of it. */
export async function secretsOfHome(): Promise<Needles> {
  const { alice } = await testKeys();
  return new Needles().text("a text", TEXT).text("a waiting text", WAITING).bytes("a ticket's secret", SECRET)
    .bytes("the session token", TOKEN).bytes("a body", BODY)
    .bytes("the leaf key", alice.leaf.pkcs8.subarray(-32)).bytes(
      "the envelope key",
      alice.envelopePkcs8.subarray(200, 300),
    )
    .text("the password", PASSWORD);
}

/** Runs with such a home. */
export async function withOldHome(use: (home: string) => Promise<void> | void): Promise<void> {
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
    database.exec("PRAGMA journal_mode=WAL; PRAGMA secure_delete=ON; BEGIN");
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
