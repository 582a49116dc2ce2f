/**
 * What does an MLS group cost a device, by size and suite? Rows of `bench e2ee`; alone: `deno run -A bench/mls.ts [--sizes 2,20]`.
 *
 * A 200-byte text sealed and opened; what a message writes to disk before it leaves (rows and bytes of `changesOf`, and the
 * time of a durable SQLite transaction with them); one device added, by its author and by a member who reads it; a commit for
 * new keys; sizes of all these, of a stored group and of one
 * more epoch. Beside it the ancestor's way: one RSA-OAEP wrap for each recipient.
 *
 * Groups are built by one commit that adds all but one, which is the worst case for the next update: no node above the leaves
 * is filled yet. Once everybody has updated it is one ciphertext for each level. All members but two exist as leaves only.
 */
import { DatabaseSync } from "node:sqlite";
import { CertificateCache } from "../client/e2ee/mod.ts";
import {
  changesOf,
  type CheckedKeyPackage,
  commitChange,
  type Committed,
  createGroup,
  Credentials,
  type Group,
  joinFromWelcome,
  Kind,
  loadGroup,
  loadSuite,
  makeKeyPackage,
  type Mls,
  NO_HISTORY,
  type OwnDevice,
  type OwnKeyPackage,
  readKeyPackage,
  receive,
  Role,
  sealMessage,
  type SuiteName,
} from "../client/e2ee/mls/mod.ts";
import {
  Ed25519KeyPair,
  fingerprint,
  generateRsaPkcs8,
  importOaepPublic,
  importPssPrivate,
  makeCertificate,
  oaepEncrypt,
  spkiFromPkcs8,
} from "../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { percentile, report, type Row } from "./report.ts";

const CLUSTER = new Uint8Array(16);
const CONVERSATION = "c0".repeat(16) as ConversationId;
const ROUNDS = 30;
const NOW_MS = Date.now();

/** Rows for each suite and size. Takes about a minute, most of it at 1,000. */
export async function measureMls(sizes: readonly number[] = [2, 20, 100, 300, 1000]): Promise<Row[]> {
  const people = await People.make(), rows: Row[] = [];
  for (const suite of ["x-wing", "x25519"] as const) {
    for (const size of sizes) rows.push(await measure(people, suite, size));
  }
  for (const size of sizes) rows.push(await wrapForEach(people, size));
  return rows;
}

async function measure(people: People, suite: SuiteName, size: number): Promise<Row> {
  const mls: Mls = {
    suite: await loadSuite(suite),
    credentials: new Credentials(new CertificateCache(CLUSTER)),
  };
  const alice = await people.device("alice"), bob = await people.device("bob");
  const info = infoOf(people);
  const created = await createGroup(mls, alice, { conversation: CONVERSATION, info, nowMs: NOW_MS });
  const bobs = await makeKeyPackage(mls, bob, { nowMs: NOW_MS }), adds = [await checked(mls, bobs)];
  for (let i = 2; i < size; i++) adds.push((await people.member(mls, `m${i}`)).checked);
  const [built, buildMs] = await timed(() => commitChange(mls, created, { add: adds }));
  let group = await own(mls, built.group, built.body);
  const [joined, joinMs] = await timed(() => join(mls, built, bob, bobs));
  let other = joined;
  const stored = changesOf(undefined, group).put;
  const [, loadMs] = await timed(() => loadGroup(mls, alice, stored));
  const messages = await speak(mls, group, other);
  ({ group, other } = messages);
  const newcomer = await people.member(mls, "newcomer");
  const [added, addMs] = await timed(() => commitChange(mls, group, { add: [newcomer.checked] }));
  const before = group;
  group = await own(mls, added.group, added.body);
  const epochBytes = bytesOf(changesOf(before, group).put);
  const [heard, hearAddMs] = await timed(() => receive(mls, other, added.body, { nowMs: NOW_MS }));
  if (heard.kind !== "commit") throw new Error(heard.kind);
  other = heard.group;
  const [update, updateMs] = await timed(() => commitChange(mls, group, {}));
  group = await own(mls, update.group, update.body);
  const [followed, hearUpdateMs] = await timed(() => receive(mls, other, update.body, { nowMs: NOW_MS }));
  if (followed.kind !== "commit") throw new Error(followed.kind);
  return {
    bench: "mls",
    subject: `${suite} ${size}`,
    sealMsP50: messages.sealMs,
    openMsP50: messages.openMs,
    diskMsP50: messages.diskMs,
    diskBytes: messages.diskBytes,
    messageBytes: messages.bytes,
    buildMs,
    buildBytes: built.body.length,
    joinMs,
    loadMs,
    addMs,
    hearAddMs,
    addBytes: added.body.length,
    welcomeBytes: added.welcomes[0]!.bytes.length,
    treeBytes: added.sealedTree!.length,
    updateMs,
    hearUpdateMs,
    updateBytes: update.body.length,
    stateBytes: bytesOf(stored),
    epochBytes,
  };
}

/**
 * A group of `size` filled as a client fills it, and one of them removed before anybody but Alice has renewed keys. Bob is among the
 * first who are added, and follows. One row for each kind of change.
 */
export async function measureChanges(suite: SuiteName, size = 1000, atOnce = 200): Promise<Row[]> {
  const people = await People.make();
  const mls: Mls = { suite: await loadSuite(suite), credentials: new Credentials(new CertificateCache(CLUSTER)) };
  const alice = await people.device("alice"), bob = await people.device("bob");
  const bobs = await makeKeyPackage(mls, bob, { nowMs: NOW_MS }), rows: Row[] = [];
  let group = await createGroup(mls, alice, { conversation: CONVERSATION, info: infoOf(people), nowMs: NOW_MS });
  let other: Group | undefined;
  const change = async (subject: string, intent: Parameters<typeof commitChange>[2]) => {
    const [made, ms] = await timed(() => commitChange(mls, group, intent));
    const [read, readMs] = await timed(() => own(mls, made.group, made.body));
    group = read;
    let hearMs = 0;
    if (other === undefined) other = await join(mls, made, bob, bobs);
    else {
      const [heard, took] = await timed(() => receive(mls, other!, made.body, { nowMs: NOW_MS }));
      if (heard.kind !== "commit") throw new Error(heard.kind);
      other = heard.group;
      hearMs = took;
    }
    const welcomes = made.welcomes.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const facts = { bodyBytes: made.body.length, welcomeBytes: welcomes, treeBytes: made.sealedTree?.length ?? 0 };
    rows.push({ bench: "mls", subject: `${suite}: ${subject}`, makeMs: ms + readMs, hearMs, ...facts });
  };
  for (let at = 1; at < size; at += atOnce) {
    const add: CheckedKeyPackage[] = at === 1 ? [await checked(mls, bobs)] : [];
    for (let more = at + add.length; more < Math.min(at + atOnce, size); more++) {
      add.push((await people.member(mls, `m${more}`)).checked);
    }
    await change(`${add.length} come to ${at}`, { add });
  }
  await change(`one of ${size} is removed`, { remove: [size / 2] });
  await change(`the next one is removed`, { remove: [size / 2 + 1] });
  return rows;
}

function infoOf({ identity }: People) {
  return {
    kind: Kind.group,
    name: "bench",
    topic: "",
    roles: [{ user: "alice" as UserName, identity, role: Role.owner }],
    membersAdd: true,
    historySinceMs: 0,
    invites: [],
  };
}

/** The first who was added. */
async function join(mls: Mls, committed: Committed, device: OwnDevice, own: OwnKeyPackage): Promise<Group> {
  const { group } = await joinFromWelcome(mls, {
    conversation: CONVERSATION,
    welcome: committed.welcomes[0]!.bytes,
    sealedTree: committed.sealedTree!,
    device,
    keyPackages: (ref) => ref === own.ref ? own : undefined,
    used: () => false,
  });
  return group;
}

/** Alice says something, Bob hears it: times, and what Alice writes before it leaves. */
async function speak(mls: Mls, first: Group, second: Group) {
  const sealMs: number[] = [], openMs: number[] = [], diskMs: number[] = [];
  let group = first, other = second, diskBytes = 0, bytes = 0;
  using disk = new Disk();
  for (let round = 0; round < ROUNDS; round++) {
    const [sealed, ms] = await timed(() =>
      sealMessage(mls, group, {
        type: 1,
        messageId: round.toString(16).padStart(32, "0") as MessageId,
        counter: round,
        timeMs: NOW_MS,
        content: new Uint8Array(200),
        view: { seq: round, history: NO_HISTORY, keyLog: NO_HISTORY },
      })
    );
    const [written, writeMs] = await timed(() => {
      const { put } = changesOf(group, sealed.group);
      disk.write(put);
      return bytesOf(put);
    });
    const [opened, hearMs] = await timed(() => receive(mls, other, sealed.body, { nowMs: NOW_MS }));
    if (opened.kind !== "message") throw new Error(opened.kind);
    ({ group } = sealed);
    ({ group: other } = opened);
    sealMs.push(ms);
    openMs.push(hearMs);
    diskMs.push(writeMs);
    diskBytes = Math.max(diskBytes, written);
    bytes = sealed.body.length;
  }
  const p50 = (values: number[]) => percentile(values, 0.5);
  return { group, other, sealMs: p50(sealMs), openMs: p50(openMs), diskMs: p50(diskMs), diskBytes, bytes };
}

/** The ancestor: the key of each message wrapped for each recipient, here as fast as WebCrypto's threads go. */
async function wrapForEach(people: People, size: number): Promise<Row> {
  const key = new Uint8Array(32), times: number[] = [];
  for (let round = 0; round < 3; round++) {
    const [, ms] = await timed(() =>
      Promise.all(Array.from({ length: size }, () => oaepEncrypt(people.envelope, "bench", key)))
    );
    times.push(ms);
  }
  return {
    bench: "mls",
    subject: `RSA each ${size}`,
    sealMsP50: percentile(times, 0.5),
    messageBytes: 384 * size + 216,
  };
}

/** A table as a client would have one, with every transaction on disk before it returns. */
class Disk implements Disposable {
  readonly #folder = Deno.makeTempDirSync();
  readonly #database = new DatabaseSync(`${this.#folder}/bench.db`);

  constructor() {
    this.#database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON");
    this.#database.exec("CREATE TABLE rows (key TEXT PRIMARY KEY, row BLOB) STRICT");
  }

  write(put: ReadonlyMap<string, Uint8Array>): void {
    const insert = this.#database.prepare("INSERT OR REPLACE INTO rows VALUES (?, ?)");
    this.#database.exec("BEGIN IMMEDIATE");
    for (const [key, row] of put) insert.run(key, row);
    this.#database.exec("COMMIT");
  }

  [Symbol.dispose](): void {
    this.#database.close();
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

/** Devices under one identity key: only the names differ, which costs what it costs with many. */
class People {
  #count = 0;

  private constructor(
    readonly identity: string,
    readonly envelope: CryptoKey,
    private readonly spki: Uint8Array,
    private readonly privateKey: CryptoKey,
  ) {}

  static async make(): Promise<People> {
    const pkcs8 = await generateRsaPkcs8(), spki = await spkiFromPkcs8(pkcs8);
    const identity = fingerprint(spki).toHex();
    return new People(identity, await importOaepPublic(spki), spki, await importPssPrivate(pkcs8));
  }

  async device(user: string): Promise<OwnDevice> {
    const leaf = Ed25519KeyPair.generate();
    const certificate = await makeCertificate({
      clusterId: CLUSTER,
      user: user as UserName,
      device: (++this.#count).toString(16).padStart(32, "0") as DeviceId,
      leafKey: leaf.publicKey,
      envelopeKey: this.spki,
      identityKey: this.spki,
      notBeforeMs: 0,
      notAfterMs: NOW_MS * 2,
      serial: 1,
    }, this.privateKey);
    return { certificate, leafPkcs8: leaf.pkcs8 };
  }

  async member(mls: Mls, user: string): Promise<{ checked: CheckedKeyPackage }> {
    const device = await this.device(user);
    return { checked: await checked(mls, await makeKeyPackage(mls, device, { nowMs: NOW_MS })) };
  }
}

async function checked(mls: Mls, { publicBytes }: OwnKeyPackage): Promise<CheckedKeyPackage> {
  const verdict = await readKeyPackage(mls, publicBytes, { nowMs: NOW_MS });
  if (!verdict.ok) throw new Error(verdict.reason);
  return verdict;
}

/** Reads an own commit back. */
async function own(mls: Mls, group: Group, body: Uint8Array): Promise<Group> {
  const outcome = await receive(mls, group, body, { nowMs: NOW_MS });
  if (outcome.kind !== "commit") throw new Error(outcome.kind);
  return outcome.group;
}

async function timed<T>(act: () => T | Promise<T>): Promise<[T, number]> {
  const begin = performance.now(), value = await act();
  return [value, performance.now() - begin];
}

function bytesOf(rows: ReadonlyMap<string, Uint8Array>): number {
  let bytes = 0;
  for (const row of rows.values()) bytes += row.length;
  return bytes;
}

if (import.meta.main) {
  const at = Deno.args.indexOf("--sizes");
  report(await measureMls(at < 0 ? undefined : Deno.args[at + 1]!.split(",").map(Number)));
}
