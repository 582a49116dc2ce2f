/** `fastchat device` and `fastchat identity` with real programs over several servers. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Cluster, fastchat, lines, type Result, startCluster, startFastchat } from "./harness.ts";

let cluster: Cluster;
let folder: string;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir({ prefix: "fastchat-devices-" });
  cluster = await startCluster(3);
  const registered = await Promise.all([
    fastchat(["register", "alice", "--server", cluster.server, "--device-name", "tower", ...at("alice")]),
    fastchat(["register", "bob", "--server", cluster.server, ...at("bob")]),
  ]);
  for (const result of registered) succeeded(result);
});

Deno.test.afterAll(async () => {
  await cluster?.stop();
  await Deno.remove(folder, { recursive: true });
});

function at(home: string): string[] {
  return ["--home", join(folder, home)];
}

function succeeded({ code, stdout, stderr }: Result): string {
  assert.equal(code, 0, stderr);
  return stdout;
}

function failed(result: Result, code: number, reason: RegExp): void {
  assert.equal(result.code, code, `${result.stderr}${result.stdout}`);
  assert.match(result.stderr, reason);
  assert.doesNotMatch(result.stderr, /internal error|\n\s+at /);
}

async function device(...words: string[]): Promise<string> {
  return succeeded(await fastchat(["device", ...words, ...at("alice")]));
}

function logIn(home: string, name: string): Promise<Result> {
  return fastchat(["login", "alice", "--server", cluster.server, "--device-name", name, ...at(home)]);
}

/** Runs with `fastchat listen` in a home; `heard` waits for a line that it prints. */
async function whileListening(home: string, run: (heard: (line: RegExp) => Promise<void>) => Promise<void>) {
  const child = startFastchat(["listen", "--json", ...at(home)]);
  await child.stdin.close();
  const output = lines(child.stdout), errors = new Response(child.stderr).text();
  const heard = async (pattern: RegExp) => {
    for (let line = await output.next(); !line.done; line = await output.next()) if (pattern.test(line.value)) return;
    throw new Error(`Nothing like ${pattern} came: ${await errors}`);
  };
  try {
    await heard(/"state":"connected"/);
    await run(heard);
  } finally {
    child.kill("SIGTERM");
    for await (const _ of output);
    await Promise.all([child.status, errors]);
  }
}

Deno.test("fastchat device lists, renames, approves and revokes; the revoked one is out at once on another server", async () => {
  succeeded(await logIn("laptop", "laptop"));
  assert.match(await device("list"), /^\w{8} {2}tower .*this device\n\w{8} {2}laptop .*approve or revoke it\n$/);
  assert.match(await device("rename", "the", "big", "tower"), /This device is called the big tower/);
  assert.match(await device("approve", "laptop"), /The device \w{8} is yours/);
  const [tower, laptop] = (await device("list", "--json")).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([tower.name, tower.self, tower.state], ["the big tower", true, "active"]);
  assert.deepEqual([laptop.name, laptop.self, laptop.state], ["laptop", false, "active"]);
  failed(await fastchat(["device", "revoke", "nosuch", ...at("alice")]), 2, /no device nosuch/);
  failed(
    await fastchat(["device", "revoke", "laptop", ...at("alice")], {
      env: { FASTCHAT_PASSWORD: "some-other-words-99" },
    }),
    4,
    /[Pp]assword/,
  );
  // It listens, on whichever of the three servers it was sent to.
  const listening = startFastchat(["listen", "--json", ...at("laptop")]);
  await listening.stdin.close();
  const heard = lines(listening.stdout), said = new Response(listening.stderr).text();
  for (let line = await heard.next(); !line.done; line = await heard.next()) {
    if (JSON.parse(line.value).state === "connected") break;
  }
  const revokedAt = performance.now();
  assert.match(await device("revoke", laptop.id.slice(0, 8)), /The device \w{8} is yours no longer/);
  const { code } = await listening.status;
  assert(performance.now() - revokedAt < 60_000);
  for await (const _ of heard);
  assert.equal(code, 4);
  assert.match(await said, /This device was revoked/);
  failed(
    await fastchat(["send", "bob", "still me?", ...at("laptop")]),
    4,
    /This device was revoked.*from an empty home/,
  );
  failed(await logIn("laptop", "laptop"), 4, /This device was revoked/);
  assert.doesNotMatch(await device("list"), /laptop/);
  succeeded(await fastchat(["send", "bob", "it is me", ...at("alice")]));
  assert.match(succeeded(await fastchat(["recv", "--wait", "60", ...at("bob")])), /it is me/);
});

Deno.test("fastchat device policy approve keeps who only has the password out, until another device approves", async () => {
  assert.match(await device("policy"), /New devices need name and password/);
  assert.match(await device("policy", "approve"), /count for nothing/);
  const refused = await logIn("phone", "phone");
  failed(refused, 4, /waits to be approved.*fastchat device approve (\w{8})/);
  failed(await logIn("phone", "phone"), 4, /waits to be approved/);
  const [short] = /(?<=approve )\w{8}/.exec(refused.stderr)!;
  assert.match(await device("list"), new RegExp(`${short} .*waits for approval`));
  assert.match(await device("approve", short), /is yours/);
  succeeded(await logIn("phone", "phone"));
  // Somebody must be there to let it into the conversation.
  await whileListening("bob", async (heard) => {
    succeeded(await fastchat(["send", "bob", "from the phone", ...at("phone")]));
    await heard(/"text":"from the phone"/);
  });
  assert.deepEqual(JSON.parse(await device("policy", "open", "--json")), { type: "device-policy", policy: "open" });
  failed(await fastchat(["device", "policy", "perhaps", ...at("alice")]), 2, /Usage: fastchat device/);
});

Deno.test("fastchat identity rotate: contacts are warned and stop, other devices log in again", async () => {
  failed(await fastchat(["identity", "rotate", ...at("alice")]), 2, /--yes/);
  const before = await Deno.readTextFile(join(folder, "alice", "identity.pem"));
  const rotated = JSON.parse(succeeded(await fastchat(["identity", "rotate", "--yes", "--json", ...at("alice")])));
  assert.match(rotated.fingerprint, /^SHA256:/);
  assert.match(rotated.recoveryKey, /^[A-Z0-9 -]{32,}$/);
  assert.notEqual(await Deno.readTextFile(join(folder, "alice", "identity.pem")), before);
  failed(
    await fastchat(["send", "alice", "are you sure?", ...at("bob")]),
    6,
    /has a new key, signed with the one you know/,
  );
  succeeded(await fastchat(["trust", "alice", ...at("bob")]));
  succeeded(await fastchat(["send", "alice", "welcome", ...at("bob")]));
  assert.match(succeeded(await fastchat(["recv", "--wait", "60", ...at("alice")])), /welcome/);
  const withoutPassword = { env: { FASTCHAT_PASSWORD: "" } };
  assert.notEqual((await fastchat(["users", ...at("phone")], withoutPassword)).code, 0);
  succeeded(await logIn("phone", "phone"));
  await whileListening("bob", async (heard) => {
    succeeded(await fastchat(["send", "bob", "from the phone again", ...at("phone")]));
    await heard(/"text":"from the phone again"/);
  });
});

Deno.test("fastchat device link shows a code, and is in as soon as another device was given it; no password there", async () => {
  const args = ["device", "link", "--server", cluster.server, "--device-name", "tablet", ...at("tablet")];
  const child = startFastchat(args, { env: { FASTCHAT_PASSWORD: "" } });
  await child.stdin.close();
  const output = lines(child.stdout), errors = new Response(child.stderr).text();
  let code: string | undefined;
  while (code === undefined) {
    const line = await output.next();
    if (line.done) throw new Error(`No code came: ${await errors}`);
    code = /(?<=^ {2}fastchat device approve )[0-9A-Z-]+$/.exec(line.value)?.[0];
  }
  failed(await fastchat(["device", "approve", "0".repeat(26), ...at("alice")]), 5, /No device waits with that code/);
  assert.match(await device("approve", code), /The device \w{8} is yours/);
  const rest: string[] = [];
  for await (const line of output) rest.push(line);
  assert.equal((await child.status).code, 0, await errors);
  assert.match(rest.join("\n"), /This device is alice's now/);
  assert.match(await device("list"), /tablet/);
  assert.doesNotMatch(await device("list"), /tablet.*approve or revoke/);
  await whileListening("bob", async (heard) => {
    const sent = await fastchat(["send", "bob", "from the tablet", ...at("tablet")], {
      env: { FASTCHAT_PASSWORD: "" },
    });
    succeeded(sent);
    await heard(/"text":"from the tablet"/);
  });
});

Deno.test("a chat shows what its owner writes on another device", async () => {
  const child = startFastchat([...at("alice")]);
  const output = lines(child.stdout), errors = new Response(child.stderr).text();
  const shows = async (pattern: RegExp) => {
    for (let line = await output.next(); !line.done; line = await output.next()) if (pattern.test(line.value)) return;
    throw new Error(`Nothing like ${pattern} came: ${await errors}`);
  };
  await shows(/^\* alice on/);
  succeeded(await fastchat(["send", "bob", "written on the phone", ...at("phone")]));
  await shows(/^\d\d:\d\d me → bob: written on the phone/);
  await child.stdin.close();
  for await (const _ of output);
  assert.equal((await child.status).code, 0, await errors);
});
