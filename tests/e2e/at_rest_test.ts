/**
 * What a thief finds who copies a home, in use or not (SECURITY P11, M12, test 5: what lies on the disk): database, log, free
 * pages, every other file. Real programs wrote them.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { DeviceKeys } from "../../client/e2ee/mod.ts";
import type { HomeParts } from "../../client/home_parts.ts";
import { pkcs8FromPem } from "../../shared/crypto/mod.ts";
import { secretsOfHome, TEXT, withOldHome } from "../client/old_home.ts";
import { inDirectory } from "../temporary.ts";
import { type Cluster, eventually, fastchat, lines, PASSWORD, startCluster, startFastchat } from "./harness.ts";
import { inHome } from "./homes.ts";
import { Needles, readTree } from "./needles.ts";

const SAID = "the key is under the third flower pot";
const ANSWERED = "I have moved it to the second one";
const WAITING = "nobody may read this before it is sent";
const DROPPED = "I have thought better of saying this";

Deno.test("a stolen home gives nothing without the password: no text, token or key is in any file of it, in use or not", async () => {
  const cluster = await startCluster(2);
  let stopped: Promise<void> | undefined;
  const stop = () => stopped ??= cluster.stop();
  try {
    await inDirectory(async (homes) => await talkAndSteal({ ...cluster, stop }, homes));
  } finally {
    await stop();
  }
});

Deno.test("a home made before homes were sealed is sealed by the first command with its password", async () => {
  await withOldHome(async (home) => {
    const needles = await secretsOfHome(),
      history = (password: string) =>
        fastchat(["history", "bob", "--home", home], { env: { FASTCHAT_PASSWORD: password } });
    assert.match((await history("")).stdout, new RegExp(`bob: ${TEXT}`), "until then it opens as it did");
    assert.equal((await history("not the password at all")).code, 0);
    // Several at once, as when a machine starts: one of them does it.
    const told = await Promise.all([history(PASSWORD), history(PASSWORD), history(PASSWORD)]);
    for (const { code, stdout, stderr } of told) assert.deepEqual([code, stdout.includes(TEXT)], [0, true], stderr);
    assert.deepEqual(stolen(home, needles), []);
    assert.equal((await history("")).code, 8);
    assert.equal((await history("not the password at all")).code, 4);
    assert.match((await history(PASSWORD)).stdout, new RegExp(TEXT));
  });
});

async function talkAndSteal(cluster: Cluster, homes: string): Promise<void> {
  const home = (name: string) => join(homes, name);
  const run = async (name: string, ...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await fastchat([...words, "--home", home(name)]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  for (const name of ["alice", "bob"]) await run(name, "register", name, "--server", cluster.server);
  const token = join(homes, "bot.token");
  await run("alice", "token", "create", token);

  // A listener is there all the time, so that the log beside the database is as it is in use.
  const listener = startFastchat(["listen", "--json", "--home", home("alice")]);
  const heard = lines(listener.stdout);
  try {
    await run("alice", "send", "bob", SAID);
    await run("bob", "recv");
    await run("bob", "send", "alice", ANSWERED);
    while (!(await heard.next()).value?.includes(ANSWERED));

    const { needles, key } = await inHome(home("alice"), async (parts) => ({
      needles: await needlesOf(parts, Deno.readTextFileSync(token)),
      key: parts.vault.key(),
    }));
    assert.deepEqual(stolen(home("alice"), needles), []);
    // What is being said while nobody answers waits in the outbox.
    const sending = fastchat(["send", "bob", WAITING, "--timeout", "30", "--home", home("alice")]);
    await sending;
    listener.kill("SIGKILL");
    await listener.status;
    assert.deepEqual(stolen(home("alice"), needles), [], "killed in the middle");
    await cluster.stop();
    await fastchat(["send", "bob", DROPPED, "--timeout", "1", "--home", home("alice")]);
    assert.deepEqual(stolen(home("alice"), needles), [], "with what could not be sent");
    assert.match(await run("alice", "history", "bob"), new RegExp(`${SAID}[^]*${ANSWERED}[^]*${WAITING}`));

    // The same search finds what there is, or it would have noticed nothing.
    await inHome(home("alice"), ({ database }) => {
      const found = database.all("SELECT sealed FROM messages").map((row) => row["sealed"] as Uint8Array);
      assert.ok(found.length >= 2);
      database.transaction(() => database.setMeta("a test's own", `${SAID} ${key.toHex()}`));
    });
    const found = stolen(home("alice"), needles).join("\n");
    assert.match(found, /a text that was sent/);
    assert.match(found, /the home's key in hex/);
  } finally {
    try {
      listener.kill("SIGKILL");
    } catch {
      // It has been.
    }
    await heard.return(undefined);
    await listener.stderr.cancel();
  }
}

/** What of it is in a file of the home. */
function stolen(home: string, needles: Needles): string[] {
  const files = readTree(home);
  assert.ok(files.some(({ path, bytes }) => path.endsWith("fastchat.db") && bytes.length > 0));
  return files.flatMap(({ path, bytes }) => needles.findIn(bytes).map((what) => `${path}: ${what}`));
}

async function needlesOf({ credentials, database, vault }: HomeParts, token: string): Promise<Needles> {
  const needles = new Needles().text("the password", PASSWORD).text("a text that was sent", SAID)
    .text("a text that was received", ANSWERED).text("a text in the outbox", WAITING).text(
      "a text that failed",
      DROPPED,
    )
    .bytes("the home's key", vault.key()).bytes("the session token", credentials.session(0)!.token)
    .bytes("a token file's secret", Uint8Array.fromBase64(token.trim().split(" ")[1]!, { alphabet: "base64url" }));
  for (const [at, pkcs8] of pkcs8FromPem((await credentials.deviceKeys() as DeviceKeys).toPem()).entries()) {
    needles.bytes(`private key ${at} of the device`, pkcs8.subarray(-32));
    needles.text(`line of private key ${at}`, pkcs8.toBase64().slice(-64));
  }
  const identity = await credentials.identity(PASSWORD);
  needles.bytes("the identity key", identity!.pkcs8.subarray(-100));
  identity!.wipe();
  // Its first seal is the password's: the key never lay open.
  const seals = database.all("SELECT id, kind FROM seals ORDER BY id").map(Object.values);
  assert.deepEqual(seals, [[1, "password"], [2, "token"]]);
  // The groups' states are under keys of their epochs, and those are sealed.
  const epochs = database.all("SELECT slot, epoch, key FROM mls_keys");
  assert.ok(epochs.length > 0);
  for (const { slot, epoch, key } of epochs) {
    needles.bytes(`the key of epoch ${epoch}`, vault.open(key as Uint8Array, `mls_keys.key ${slot} ${epoch}`));
  }
  await eventually(() => database.get("SELECT 1 FROM tickets") !== undefined || undefined, "a ticket");
  return needles;
}
