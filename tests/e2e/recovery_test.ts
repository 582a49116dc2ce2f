/** Recovery keys and other passwords with real programs: docs/PROTOCOL.md §17. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Cluster, fastchat, PASSWORD, type Result, startCluster, startFastchat } from "./harness.ts";

const NEW_PASSWORD = "silver-kettle-avenue-77";
const THIRD_PASSWORD = "another-lantern-walks-9";
const FOURTH_PASSWORD = "copper-harbor-violins-3";

Deno.test("recovery and passwd, by real programs", async (test) => {
  const cluster = await startCluster(2), folder = await Deno.makeTempDir({ prefix: "fastchat-test-" });
  const home = (name: string) => join(folder, name);
  const run = (words: string, at: string, options: Parameters<typeof fastchat>[1] = {}) =>
    fastchat([...words.split(" "), "--home", home(at)], options);
  try {
    let key = "";
    await test.step("a sign-up shows the recovery key once, for scripts as a field, and not where a file was named", async () => {
      const signedUp = ok(await run(`register alice --server ${cluster.server} --json`, "alice"));
      const { recoveryKey, type } = JSON.parse(signedUp.stdout);
      assert.equal(type, "registered");
      assert.match(key = recoveryKey, /^([0-9A-HJKMNP-TV-Z]{4}-){8}[0-9A-HJKMNP-TV-Z]{4}$/);
      const state = ok(await run("recovery", "alice"));
      assert(/There is a recovery key/.test(state.stdout) && !state.stdout.includes(key));

      const file = join(folder, "bob.key");
      const toFile = ok(await run(`register bob --server ${cluster.server} --recovery-file ${file}`, "bob"));
      const written = (await Deno.readTextFile(file)).trim();
      assert.match(written, /^([0-9A-Z]{4}-){8}[0-9A-Z]{4}$/);
      assert.equal(Deno.statSync(file).mode! & 0o777, 0o600);
      assert(!toFile.stdout.includes(written) && toFile.stdout.includes(file));
      const again = await run(`register carol --server ${cluster.server} --recovery-file ${file}`, "carol");
      assert.equal(again.code, 2, "a file that is there may be another's key");
      assert.equal((await Deno.readTextFile(file)).trim(), written);

      const told = ok(await run(`register carol --server ${cluster.server}`, "carol"));
      assert.match(told.stdout, /shown this once[^]*([0-9A-Z]{4}-){8}[^]*fastchat recovery new/);
    });

    await test.step("a home that is lost: the key gets the account back, the old password is refused", async () => {
      ok(await run("send bob before", "alice"));
      // A new device is let into a conversation by somebody who is there.
      const bob = startFastchat(["listen", "--json", "--home", home("bob")]), heard = bob.output();
      await Deno.remove(home("alice"), { recursive: true });
      const slip = key.slice(0, -1) + (key.endsWith("7") ? "8" : "7");
      const options = { env: { FASTCHAT_NEW_PASSWORD: NEW_PASSWORD } };
      const recover = `recover alice --server ${cluster.server} --json`;
      const typo = await run(recover, "found", { ...options, stdin: `${slip}\n` });
      assert.deepEqual([typo.code, /checksum is wrong/.test(typo.stderr)], [2, true]);
      const wrong = "0000-0000-0000-0000-0000-0000-0000-0000-";
      assert.equal((await run(recover, "found", { ...options, stdin: `${wrong}0000\n` })).code, 2);
      const bobs = await Deno.readTextFile(join(folder, "bob.key"));
      const stranger = await run(recover, "found", { ...options, stdin: bobs });
      assert.deepEqual([stranger.code, /recovery key/.test(stranger.stderr)], [4, true]);
      const nobody = await run(`recover nobody --server ${cluster.server}`, "none", { ...options, stdin: bobs });
      assert.deepEqual([nobody.code, nobody.stderr.replaceAll("nobody", "alice")], [4, stranger.stderr]);

      const back = ok(await run(recover, "found", { ...options, stdin: `${key.toLowerCase()}\n` }));
      assert.deepEqual(
        { ...JSON.parse(back.stdout), fingerprint: "", home: "" },
        { type: "recovered", name: "alice", server: cluster.server, fingerprint: "", home: "" },
      );
      const old = await run(`login alice --server ${cluster.server}`, "elsewhere");
      assert.equal(old.code, 4);
      ok(await run("send bob after", "found", env(NEW_PASSWORD)));
      bob.kill("SIGTERM");
      await heard;
      ok(await run("recv --wait 5", "bob"));
      assert.deepEqual(texts(await run("history alice --json", "bob")), ["before", "after"]);
      assert.deepEqual(texts(await run("history bob --json", "found", env(NEW_PASSWORD))), ["after"]);
    });

    await test.step("passwd with two devices: both go on, the old password is refused by either home and the server", async () => {
      ok(await run(`login alice --server ${cluster.server}`, "second", env(NEW_PASSWORD)));
      const wrong = await run("passwd", "found", {
        env: { FASTCHAT_PASSWORD: PASSWORD, FASTCHAT_NEW_PASSWORD: THIRD_PASSWORD },
      });
      assert.equal(wrong.code, 4);
      const weak = await run("passwd", "found", {
        env: { FASTCHAT_PASSWORD: NEW_PASSWORD, FASTCHAT_NEW_PASSWORD: "password12345" },
      });
      assert.deepEqual([weak.code, /easy to guess/.test(weak.stderr)], [2, true]);
      const changed = ok(
        await run("passwd --json", "found", {
          env: { FASTCHAT_PASSWORD: "" },
          stdin: `${NEW_PASSWORD}\n${THIRD_PASSWORD}\n`,
        }),
      );
      assert.deepEqual(JSON.parse(changed.stdout), { type: "password-changed", name: "alice", signedOutOthers: false });
      assert.equal((await run("send bob locked", "found", env(NEW_PASSWORD))).code, 4);
      ok(await run("send bob third", "found", env(THIRD_PASSWORD)));
      // The other home is sealed by the one it knew, and its session goes on.
      ok(await run("online", "second", env(NEW_PASSWORD)));
      assert.equal((await run(`login alice --server ${cluster.server}`, "elsewhere", env(NEW_PASSWORD))).code, 4);
      ok(await run(`login alice --server ${cluster.server}`, "elsewhere", env(THIRD_PASSWORD)));
    });

    await test.step("passwd --sign-out-others ends every other session, live ones too", async () => {
      const listener = startFastchat(["listen", "--json", "--home", home("second")], env(NEW_PASSWORD));
      const output = listener.output();
      const live = async () =>
        JSON.parse(ok(await run("online --json", "bob")).stdout.split("\n")[0]!).name === "alice";
      for (let tries = 0; !await live(); tries++) assert(tries < 50, "the listener never comes online");
      ok(
        await run("passwd --sign-out-others", "found", {
          env: { FASTCHAT_PASSWORD: THIRD_PASSWORD, FASTCHAT_NEW_PASSWORD: FOURTH_PASSWORD },
        }),
      );
      const token = join(folder, "second.token");
      const ended = await output;
      assert.equal(ended.code, 4, new TextDecoder().decode(ended.stderr));
      assert.equal((await run("online", "second", env(NEW_PASSWORD))).code, 4);
      // Sealed by the password before, it opens by that or by a token: with the new one it is logged in, and sealed by that.
      assert.equal((await run(`login alice --server ${cluster.server}`, "second", env(FOURTH_PASSWORD))).code, 4);
      ok(await run(`token create ${token}`, "second", env(NEW_PASSWORD)));
      ok(await run(`login alice --server ${cluster.server} --token-file ${token}`, "second", env(FOURTH_PASSWORD)));
      ok(await run("online", "second", env(FOURTH_PASSWORD)));
      assert.match(await Deno.readTextFile(join(home("second"), "identity.pem")), /BEGIN ENCRYPTED PRIVATE KEY/);
      ok(await run("send bob fourth", "found", env(FOURTH_PASSWORD)));
    });

    await test.step("recovery new makes the one before void", async () => {
      const made = ok(await run("recovery new --json", "found", env(FOURTH_PASSWORD)));
      const { recoveryKey } = JSON.parse(made.stdout);
      const recover = `recover alice --server ${cluster.server}`;
      const stdin = (text: string) => ({ env: { FASTCHAT_NEW_PASSWORD: THIRD_PASSWORD }, stdin: `${text}\n` });
      assert.equal((await run(recover, "last", stdin(key))).code, 4);
      ok(await run(recover, "last", stdin(recoveryKey)));
    });

    await test.step("passwd killed at any moment leaves an account that opens by one of the two", async () => {
      await killedPasswd(cluster, home("found"));
    });
  } finally {
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

/** Kills `passwd` again and again, a little later each time, until one is done before it is killed. */
async function killedPasswd(cluster: Cluster, home: string): Promise<void> {
  let password = THIRD_PASSWORD, next = NEW_PASSWORD;
  const login = async (using: string, which: string) => {
    const probe = `${home}.${which}`;
    const { code } = await fastchat(["login", "alice", "--server", cluster.server, "--home", probe], env(using));
    await Deno.remove(probe, { recursive: true }).catch(() => {});
    return code === 0;
  };
  // This home was sealed by the password before the recovery elsewhere.
  ok(await fastchat(["login", "alice", "--server", cluster.server, "--home", `${home}.own`], env(password)));
  home = `${home}.own`;
  for (let delayMs = 150, killed = 0;; delayMs *= 1.3) {
    const child = startFastchat(["passwd", "--home", home], {
      env: { FASTCHAT_PASSWORD: password, FASTCHAT_NEW_PASSWORD: next },
    });
    const output = child.output(), timer = setTimeout(() => child.kill("SIGKILL"), delayMs);
    const { code } = await output;
    clearTimeout(timer);
    const [old, fresh] = await Promise.all([login(password, "old"), login(next, "new")]);
    assert.notEqual(old, fresh, `killed after ${Math.round(delayMs)} ms: exactly one of the two counts`);
    const right = fresh ? next : password;
    ok(await fastchat(["users", "--home", home], env(right)));
    if (fresh) [password, next] = [next, password];
    if (code === 0) {
      assert(fresh && killed > 0, `killed ${killed} times before`);
      return;
    }
    killed++;
  }
}

function env(password: string) {
  return { env: { FASTCHAT_PASSWORD: password } };
}

function ok(result: Result): Result {
  assert.equal(result.code, 0, result.stderr);
  return result;
}

function texts({ stdout }: Result): string[] {
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line).text);
}
