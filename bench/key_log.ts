/**
 * What the key log costs (docs/PROTOCOL.md §16) in a cluster of many users: a client's first reading of it, the next ones, and
 * its place on the disk.
 *
 *     deno task bench key_log            10,000 users, every third with a second device
 *
 * One process: the store is SQLite, answers are encoded and decoded as on the wire, the home is a database on disk. The network
 * is left out; bytes are counted.
 */
import { join } from "node:path";
import { KeyLog } from "../client/trust/key_log.ts";
import { openHome } from "../client/home_parts.ts";
import { SqliteDatabase } from "../server/store/sqlite/database.ts";
import { decode, encode } from "../shared/codec/mod.ts";
import { deviceEntry } from "../shared/crypto/mod.ts";
import { KEY_LOG_PAGE_MAX } from "../shared/limits.ts";
import { type DeviceId, type Response, response, type UserName } from "../shared/protocol/mod.ts";
import { TEST_CLUSTER, testKeys } from "../tests/keys.ts";

const USERS = Number(Deno.args[0] ?? 10_000), CONTACTS = 50;

const folder = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
try {
  await run();
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function run(): Promise<void> {
  const { alice } = await testKeys(), path = join(folder, "store.db"), store = new SqliteDatabase(path);
  const home = openHome(join(folder, "home"));
  let bytes = 0, requests = 0;
  const answer = (message: Response): never => {
    const encoded = encode(response, message);
    bytes += encoded.length;
    requests++;
    return decode(response, encoded) as never;
  };
  fill(store, alice.certificate);
  const log = new KeyLog({
    database: home.database,
    self: { name: "alice" as UserName, clusterId: TEST_CLUSTER },
    // deno-lint-ignore require-await
    ask: async (request) =>
      request.type === "keyLog"
        ? answer({ type: "keyLog", ...mutable(store.keyLog.page(request.after, KEY_LOG_PAGE_MAX)) })
        : answer({ type: "keyEntries", entries: store.keyLog.entries(request.numbers) }),
    onNews: () => {},
    onFork: (text) => {
      throw new Error(text);
    },
  });
  const step = async (what: string, work: () => Promise<void>) => {
    bytes = requests = 0;
    const began = performance.now();
    await work();
    const ms = (performance.now() - began).toFixed(1);
    console.log(
      `${what.padEnd(44)} ${ms.padStart(8)} ms  ${String(requests).padStart(3)} requests  ${
        (bytes / 1024).toFixed(1).padStart(8)
      } KiB`,
    );
  };
  console.log(`${USERS} users, ${store.keyLog.length} entries, ${navigator.hardwareConcurrency} cores`);
  await step("first reading, oneself only", () => log.catchUp());
  await step("again, nothing new", () => log.catchUp());
  const names = Array.from({ length: CONTACTS }, (_, at) => nameOf(at * 7));
  await step(`entries of ${CONTACTS} people, judged`, () => log.follow(names));
  await step("is a head known, 1,000 times", () => {
    for (let at = 0; at < 1_000; at++) log.knows(log.head);
    return Promise.resolve();
  });
  await step("is a device revoked, 1,000 times", () => {
    for (let at = 0; at < 1_000; at++) log.isRevoked(names[at % CONTACTS]!, alice.id);
    return Promise.resolve();
  });
  home.database.close();
  store.close();
  const { size } = await Deno.stat(join(folder, "home", "fastchat.db"));
  console.log(
    `the home takes ${(size / 1024).toFixed(0)} KiB, the store ${
      ((await Deno.stat(path)).size / 1024 / 1024).toFixed(1)
    } MiB`,
  );
}

/** Rows as sign-ups make them. All have one certificate: what it says of others is judged and found wrong, at the same cost. */
function fill(store: SqliteDatabase, certificate: Uint8Array): void {
  store.begin();
  let number = 0;
  const device = (): DeviceId => (++number).toString(16).padStart(32, "0") as DeviceId;
  for (let at = 0; at < USERS; at++) {
    store.accounts.createUser({
      name: at === 0 ? "alice" as UserName : nameOf(at),
      stretching: { salt: new Uint8Array(16), log2N: 17 },
      passwordHash: new Uint8Array(100),
      identityKey: new Uint8Array(422),
      backup: new Uint8Array(2_000),
      device: { id: device(), certificate },
      nowMs: 1,
    });
    if (at % 3 === 0) store.keyLog.add(at === 0 ? "alice" as UserName : nameOf(at), at + 1, deviceEntry(certificate));
  }
  store.commit();
}

function nameOf(at: number): UserName {
  return `person-${at}` as UserName;
}

function mutable<T extends { readonly entries: readonly unknown[] }>(page: T): T & { entries: T["entries"][number][] } {
  return { ...page, entries: [...page.entries] };
}
