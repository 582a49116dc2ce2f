/**
 * Devices with real homes (SQLite files) and engines around one test server: each takes its rows one after the other in
 * transactions of its own and sends from an outbox, as a client does.
 */
import assert from "node:assert/strict";
import { accountKeyOf } from "../../../../client/account/account_key.ts";
import { Database } from "../../../../client/home/database.ts";
import { DeviceKeys } from "../../../../client/e2ee/device_keys.ts";
import { type ChangeLine, NotReadyError, type Taken, type Warning } from "../../../../client/e2ee/engine.ts";
import { type KeyLogView, makeEngine, NO_KEY_LOG } from "../../../../client/e2ee/groups/mod.ts";
import { StateRows } from "../../../../client/e2ee/groups/state_row.ts";
import { GroupStore } from "../../../../client/e2ee/groups/group_store.ts";
import { libraryOf, type Loaded } from "../../../../client/e2ee/groups/library.ts";
import type { Group, OwnDevice, SuiteName } from "../../../../client/e2ee/mls/mod.ts";
import { FastChatError, KeyChangedError } from "../../../../client/errors.ts";
import { ConnectionLostError, ServerRefusal } from "../../../../client/network/failures.ts";
import type { Remote } from "../../../../client/network/remote.ts";
import { KeyVault } from "../../../../client/home/vault.ts";
import {
  directConversationId,
  Ed25519KeyPair,
  fingerprint,
  makeCertificate,
  pkcs8ToPem,
} from "../../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../../shared/errors.ts";
import type { RandomSource } from "../../../../shared/primitives.ts";
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  DirectoryEntry,
  Event,
  MessageId,
  Record,
  Request,
  UserName,
} from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, type TestIdentity, testKeys } from "../../../keys.ts";
import { Prng } from "../../../sim/prng.ts";
import { TestServer } from "./server.ts";
import { nextTurn, Turns } from "./turns.ts";

/**
 * Time that tests let pass. The library looks at the wall clock when somebody is added, so it begins some time before that one:
 * then key packages that are good here are good there. It begins at midnight, so that days pass alike whenever a test runs.
 */
export class TestClock {
  nowMs = Math.floor(Date.now() / DAY_MS - 20) * DAY_MS;
  #timers: { at: number; run: () => void }[] = [];

  readonly timers = {
    nowMs: () => this.nowMs,
    after: (ms: number, run: () => void) => {
      const timer = { at: this.nowMs + ms, run };
      this.#timers.push(timer);
      return () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      };
    },
  };

  /** What somebody may be waiting for: once a day is not that. */
  get waiting(): number {
    return this.#timers.filter(({ at }) => at < this.nowMs + HOUR_MS).length;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const due = this.#timers.filter(({ at }) => at <= this.nowMs).sort((a, b) => a.at - b.at);
    this.#timers = this.#timers.filter(({ at }) => at > this.nowMs);
    for (const { run } of due) run();
  }
}

/** Another order of everything, in every test: `FASTCHAT_GROUPS_TURNS=2 deno test …`. */
const TURNS = 1_000_000 * Number(Deno.env.get("FASTCHAT_GROUPS_TURNS") ?? 1);
const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

export interface Shown {
  readonly seq: number;
  readonly from: string;
  readonly text: string;
}

export class World {
  readonly clock = new TestClock();
  readonly server = new TestServer(() => this.clock.nowMs);
  readonly random: Prng;
  readonly homes: Home[] = [];
  readonly folder: string;
  keyLog: KeyLogView = NO_KEY_LOG;
  /** Whether homes can leave each other's devices what lets them in. */
  hasAccountKeys = false;
  /** What each home asked and took, in order. */
  readonly happened: string[] = [];
  /** Every (epoch, leaf, generation) that a message was sealed under: none may come twice. */
  readonly usedKeys = new Set<string>();

  private constructor(readonly suite: SuiteName, seed: number) {
    this.random = new Prng(seed);
    this.folder = Deno.makeTempDirSync({ prefix: "fastchat-groups-" });
  }

  static async run(
    work: (world: World) => Promise<void>,
    { suite = "x25519", seed = 1 }: { readonly suite?: SuiteName; readonly seed?: number } = {},
  ): Promise<void> {
    // Loaded and made outside: files have no turns.
    await libraryOf(TEST_CLUSTER, suite)();
    await testKeys();
    await Turns.rule(new Prng(seed + TURNS), async () => {
      const world = new World(suite, seed);
      try {
        await work(world);
      } finally {
        for (const home of world.homes) await home.stop();
        Deno.removeSync(world.folder, { recursive: true });
      }
    });
  }

  /** A device of a user, known to the directory and online. */
  async home(
    user: string,
    { identity, online = true }: { identity?: TestIdentity; online?: boolean } = {},
  ): Promise<Home> {
    const { aliceIdentity, alice } = await testKeys(), signer = identity ?? aliceIdentity;
    const device = this.random.bytes(16).toHex() as DeviceId, leaf = Ed25519KeyPair.generate();
    const keys = await DeviceKeys.fromPem(
      `FastChat device ${device}\n${pkcs8ToPem(leaf.pkcs8)}${pkcs8ToPem(alice.envelopePkcs8)}`,
    );
    const certificate = await makeCertificate({
      clusterId: TEST_CLUSTER,
      user: user as UserName,
      device,
      leafKey: keys.leafKey,
      envelopeKey: keys.envelopeKey,
      identityKey: signer.spki,
      notBeforeMs: TEST_NOT_BEFORE_MS,
      notAfterMs: TEST_NOT_AFTER_MS,
      serial: 1,
    }, signer.privateKey);
    const home = new Home(this, { user: user as UserName, keys, certificate, identity: signer });
    this.homes.push(home);
    this.server.peers.add(home);
    await this.server.enrol(home.user, device, certificate, signer.spki);
    home.start();
    if (online) await home.connect();
    return home;
  }

  async direct(a: Home, b: Home): Promise<ConversationId> {
    const id = directConversationId(TEST_CLUSTER, a.user, b.user);
    await this.server.store.openDirect(id, a.user, b.user);
    for (const home of this.homes) {
      if (home.user === a.user || home.user === b.user) home.peers.set(id, home.user === a.user ? b.user : a.user);
    }
    return id;
  }

  /** A copy of a home on another machine, with its password, and without a connection. */
  thiefOf(home: Home, { files }: HomeCopy): Home {
    const thief = new Home(this, home.parts, `${home.path}.stolen`);
    for (const suffix of ["", "-wal", "-shm"]) {
      try {
        Deno.removeSync(`${thief.path}${suffix}`);
      } catch {
        // There is none.
      }
    }
    for (const [suffix, bytes] of files) if (bytes !== undefined) Deno.writeFileSync(`${thief.path}${suffix}`, bytes);
    thief.start();
    return thief;
  }

  /** Until nobody has anything to do: rows are taken, timers run. */
  async settle(): Promise<void> {
    let quiet = 0;
    for (let round = 0; round < 500; round++) {
      await Promise.all(this.homes.map((home) => home.idle()));
      await breathe();
      quiet = this.homes.every((home) => home.isIdle) ? quiet + 1 : 0;
      if (quiet < 3) continue;
      if (this.clock.waiting === 0) return;
      this.clock.pass(1_000);
      quiet = 0;
    }
  }
}

/** Test identities are shared by several people. */
function nameBytes(user: UserName): Uint8Array {
  return new TextEncoder().encode(user);
}

interface HomeParts {
  readonly user: UserName;
  readonly keys: DeviceKeys;
  readonly certificate: Uint8Array;
  readonly identity: TestIdentity;
}

export interface HomeCopy {
  readonly files: readonly (readonly [string, Uint8Array | undefined])[];
  readonly cursors: ReadonlyMap<ConversationId, number>;
}

interface OutboxRow {
  readonly conversation: ConversationId;
  readonly id: MessageId;
  readonly text: string;
  sealed?: { body: Uint8Array; epoch: number };
}

/** One device. What it keeps beside its database is what a client's other tables would hold. */
export class Home {
  readonly user: UserName;
  readonly device: DeviceId;
  readonly parts: HomeParts;
  readonly pins = new Map<UserName, Uint8Array>();
  readonly entries = new Map<UserName, DirectoryEntry>();
  readonly cursors = new Map<ConversationId, number>();
  readonly peers = new Map<ConversationId, UserName>();
  readonly shown = new Map<ConversationId, Shown[]>();
  readonly lines: ChangeLine[] = [];
  readonly warnings: Warning[] = [];
  readonly refused: string[] = [];
  /** Texts that could not be sent. */
  readonly rejected: string[] = [];
  readonly outbox: OutboxRow[] = [];
  engine!: ReturnType<typeof makeEngine>;
  database!: Database;
  /** A test may look at what is read. */
  opening: (path: string) => Database = (path) => Database.open(path);
  isOnline = false;
  /** How often it was started again. */
  life = 0;
  readonly #world: World;
  readonly path: string;
  readonly vault = new KeyVault(new Uint8Array(32).fill(7));
  #dirty = new Set<ConversationId>();
  #taking: Promise<void> | undefined;
  #sending = new Map<ConversationId, Promise<void>>();
  #stopped = false;
  #asking = 0;
  failed: unknown;

  constructor(world: World, parts: HomeParts, path?: string) {
    this.#world = world;
    this.parts = parts;
    this.user = parts.user;
    this.device = parts.keys.id;
    this.path = path ?? `${world.folder}/${this.user}-${this.device.slice(0, 6)}.db`;
    this.pins.set(this.user, parts.identity.fingerprint);
  }

  /** Opens the database and begins from what is in it. */
  start(): void {
    const world = this.#world, { keys, certificate, identity } = this.parts;
    this.#stopped = false;
    this.database = this.opening(this.path);
    const run = { database: this.database };
    this.engine = makeEngine({
      database: this.database,
      vault: this.vault,
      self: { name: this.user, identity: identity.fingerprint, keys, clusterId: TEST_CLUSTER, certificate },
      people: {
        pinned: (name) => this.pins.get(name),
        check: (name, fingerprint) => {
          const pinned = this.pins.get(name);
          if (pinned === undefined) this.pins.set(name, fingerprint);
          return pinned === undefined ? "pinned" : pinned.toHex() === fingerprint.toHex() ? "known" : "changed";
        },
        changed: (name) => new KeyChangedError({ kind: "peer", subject: name, pinned: "one", offered: "another" }),
        entry: (name) => this.entries.get(name),
        fetch: async (names) => {
          const { entries } = await this.ask({ type: "directory", names: [...names] }) as { entries: DirectoryEntry[] };
          for (const entry of entries) {
            this.entries.set(entry.name, entry);
            if (!this.pins.has(entry.name)) this.pins.set(entry.name, fingerprint(entry.identityKey));
          }
        },
      },
      keyLog: {
        get length() {
          return world.keyLog.length;
        },
        get head() {
          return world.keyLog.head;
        },
        requireOne: () => world.keyLog.requireOne(),
        knows: (head) => world.keyLog.knows(head),
        catchUp: (atLeast) => world.keyLog.catchUp(atLeast),
        follow: (names) => world.keyLog.follow(names),
        isRevoked: (user, device, upto) => world.keyLog.isRevoked(user, device, upto),
        identityOf: (user, identity, upto) => world.keyLog.identityOf(user, identity, upto),
        isUsable: (user, device, upto) =>
          world.keyLog.isUsable(user, device, upto) && !world.keyLog.isRevoked(user, device, upto),
      },
      accountKey: () => world.hasAccountKeys ? accountKeyOf(identity.fingerprint, nameBytes(this.user)) : undefined,
      ask: ((request: Request) => {
        if (run.database !== this.database || this.#stopped) return Promise.reject(lost());
        return this.ask(request);
      }) as Remote["ask"],
      peerOf: (id) => this.peers.get(id),
      onJoined: (_, taken) => this.#note(undefined, taken),
      takeText: () => Promise.reject(new Error("No envelopes with texts here")),
      onReaches: (id) => this.onLog(id),
      onWarning: (_, warning) => this.warnings.push(warning),
      onChanged: () => this.pump(),
      nowMs: () => world.clock.nowMs,
      timers: world.clock.timers,
      random: world.random as RandomSource,
      suite: world.suite,
      serverAddress: () => "localhost:9000",
      clusterFingerprint: new Uint8Array(32).fill(9),
    });
  }

  async ask(request: Request) {
    this.#asking++;
    this.#world.happened.push(`${this.user} ${this.device} asks ${request.type}`);
    try {
      await delay(this.#world.random);
      if (!this.isOnline) throw lost();
      const answer = await this.#world.server.answer(this.user, this.device, request);
      await delay(this.#world.random);
      if (!this.isOnline) throw lost();
      return answer;
    } finally {
      this.#asking--;
    }
  }

  async connect(): Promise<void> {
    this.isOnline = true;
    const heads = await this.#heads();
    for (const { conversation } of heads) this.onLog(conversation);
    await this.engine.connected(heads);
    this.pump();
  }

  /** The list of conversations, as a client reads it: what is new begins at the cursor. */
  async #heads(): Promise<ConversationHead[]> {
    const heads = await this.#world.server.heads(this.user, this.device);
    for (const { conversation, cursor, members, kind } of heads) {
      if (!this.cursors.has(conversation)) this.cursors.set(conversation, cursor);
      if (kind === 1) this.peers.set(conversation, members.find((name) => name !== this.user) ?? this.user);
    }
    return heads;
  }

  /** A person accepts somebody's identity: `fastchat trust NAME`. */
  async trust({ user, parts }: Home): Promise<void> {
    this.pins.set(user, parts.identity.fingerprint);
    await this.engine.trusted(user);
  }

  disconnect(): void {
    this.isOnline = false;
  }

  /** Killed: what is in memory is gone. */
  async stop(): Promise<void> {
    this.isOnline = false;
    this.#stopped = true;
    this.life++;
    await this.engine.close();
    await Promise.allSettled([this.#taking, ...this.#sending.values()]);
    this.database.close();
  }

  async restart(): Promise<void> {
    await this.stop();
    this.start();
    await this.connect();
  }

  onEvent(event: Event): void {
    this.engine.onEvent(event);
  }

  onLog(conversation: ConversationId): void {
    this.#dirty.add(conversation);
    this.#take();
  }

  /** Types a message; it is sent when that is possible. */
  say(conversation: ConversationId, text: string): MessageId {
    const id = this.#world.random.bytes(16).toHex() as MessageId;
    this.outbox.push({ conversation, id, text });
    this.pump();
    return id;
  }

  pump(): void {
    if (!this.isOnline || this.#stopped) return;
    for (const { conversation } of this.outbox) {
      if (this.#sending.has(conversation)) continue;
      const sending = this.#send(conversation).catch((error) => {
        if (!this.#stopped && !(error instanceof FastChatError)) this.failed ??= error;
      }).finally(() => {
        this.#sending.delete(conversation);
      });
      this.#sending.set(conversation, sending);
    }
  }

  get isIdle(): boolean {
    if (!this.isOnline) return true;
    return this.#taking === undefined && this.#sending.size === 0 && this.#dirty.size === 0 && this.#asking === 0 &&
      !this.engine.isBusy;
  }

  async idle(): Promise<void> {
    if (this.isOnline) await Promise.race([Promise.all([this.#taking, ...this.#sending.values()]), breathe(40)]);
  }

  /** Sends what waits in a conversation, in order. */
  async #send(conversation: ConversationId): Promise<void> {
    for (let attempt = 0; attempt < 50 && this.isOnline && !this.#stopped; attempt++) {
      const row = this.outbox.find((row) => row.conversation === conversation);
      if (row === undefined) return;
      try {
        if (row.sealed === undefined) {
          await this.engine.prepare(conversation);
          const { step, ...sealed } = await this.engine.seal(conversation, {
            id: row.id,
            timeMs: this.#world.clock.nowMs,
            text: row.text,
          });
          this.finish(step, () => {});
          await this.#noteKey(conversation);
          row.sealed = sealed;
        }
        await delay(this.#world.random);
        if (!this.isOnline) return;
        const { body, epoch } = row.sealed;
        const seq = await this.#world.server.append(this.user, this.device, {
          type: "append",
          conversation,
          messageId: row.id,
          expectedEpoch: epoch,
          body,
        });
        this.show(conversation, { seq, from: this.user, text: row.text });
        this.outbox.splice(this.outbox.indexOf(row), 1);
      } catch (error) {
        if (error instanceof ServerRefusal && error.code === ErrorCode.staleEpoch) {
          delete row.sealed;
          await this.engine.stale(conversation, error.response.epoch);
          continue;
        }
        if (error instanceof NotReadyError) {
          error.ready.then(() => breathe(1)).then(() => this.pump(), () => {});
          return;
        }
        if (error instanceof ConnectionLostError || this.#stopped) return;
        if (!(error instanceof FastChatError) && !(error instanceof ServerRefusal)) {
          this.failed = error;
          return;
        }
        // Not to be sent at all, as things are: told to whoever wrote it.
        this.rejected.push(row.text);
        this.outbox.splice(this.outbox.indexOf(row), 1);
      }
    }
  }

  /** Notes the key that was used just now. The state on disk is one behind it. */
  async #noteKey(conversation: ConversationId): Promise<void> {
    const { group } = await this.groupOf(conversation), { state } = group;
    const leaf = state.privatePath.leafIndex, { generation } = state.secretTree[leaf * 2]!.application;
    const key = `${state.keySchedule.epochAuthenticator.toHex()} ${leaf} ${generation}`;
    assert(!this.#world.usedKeys.has(key), `${this.user} used a key twice`);
    this.#world.usedKeys.add(key);
  }

  /** The group as it lies on disk, with the library to do with it what no honest client does. */
  async groupOf(conversation: ConversationId): Promise<Loaded & { readonly group: Group }> {
    const loaded = await libraryOf(TEST_CLUSTER, this.#world.suite)();
    const store = new GroupStore({ database: this.database, vault: this.vault, random: this.#world.random });
    return { ...loaded, group: store.load(loaded, this.ownDevice, conversation)! };
  }

  /** Opens a row with what the database holds, past the engine and its order of rows. */
  async openAlone({ conversation, body }: Record): Promise<string | undefined> {
    const { lib, mls, group } = await this.groupOf(conversation);
    const outcome = await lib.receive(mls, group, body.subarray(2), { nowMs: this.#world.clock.nowMs });
    return outcome.kind === "message" ? new TextDecoder().decode(outcome.plaintext.content) : undefined;
  }

  get ownDevice(): OwnDevice {
    return { certificate: this.parts.certificate, leafPkcs8: this.parts.keys.leaf.pkcs8 };
  }

  /** Copies the home as it lies on disk. */
  copy(): HomeCopy {
    const files = ["", "-wal"].map((suffix) => {
      try {
        return [suffix, Deno.readFileSync(`${this.path}${suffix}`)] as const;
      } catch {
        return [suffix, undefined] as const;
      }
    });
    return { files, cursors: new Map(this.cursors) };
  }

  /** Stops, puts an older copy in its place and goes on with that. */
  async putBack({ files, cursors }: HomeCopy): Promise<void> {
    await this.stop();
    for (const suffix of ["-wal", "-shm"]) {
      try {
        Deno.removeSync(`${this.path}${suffix}`);
      } catch {
        // There is none.
      }
    }
    for (const [suffix, bytes] of files) if (bytes !== undefined) Deno.writeFileSync(`${this.path}${suffix}`, bytes);
    this.cursors.clear();
    for (const [id, seq] of cursors) this.cursors.set(id, seq);
    this.outbox.length = 0;
    this.start();
    await this.connect();
  }

  show(conversation: ConversationId, message: Shown): void {
    let shown = this.shown.get(conversation);
    if (shown === undefined) this.shown.set(conversation, shown = []);
    if (shown.some(({ seq }) => seq === message.seq)) return;
    shown.push(message);
    shown.sort((a, b) => a.seq - b.seq);
  }

  texts(conversation: ConversationId): string[] {
    return (this.shown.get(conversation) ?? []).map(({ from, text }) => `${from}: ${text}`);
  }

  /** What all members must agree on, read from disk. */
  stateOf(conversation: ConversationId): { authenticator: string | undefined; members: string[] } {
    const state = new StateRows(this.database, this.vault).load(conversation);
    const shown = this.engine.conversation(conversation);
    const members = (shown?.members ?? []).flatMap(({ name, role, devices }) =>
      devices.map((device) => `${name} ${role} ${device}`)
    );
    return { authenticator: state?.authenticators.at(-1)?.value.toHex(), members: members.sort() };
  }

  trace(record: Record | undefined, taken: Taken): void {
    const state = record && new StateRows(this.database, this.vault).load(record.conversation);
    console.log(
      this.user,
      this.device.slice(0, 4),
      record?.conversation.slice(0, 4),
      record?.seq,
      "by",
      record?.sender,
      record?.device.slice(0, 4),
      record?.body.length,
      taken.kind,
      taken.kind === "refused" ? taken.reason.slice(0, 20) : "",
      taken.kind !== "wait" ? taken.warnings.map(({ code }) => code).join() : "",
      "epoch",
      state?.authenticators.at(-1)?.epoch,
      state?.authenticators.at(-1)?.value.toHex().slice(0, 4),
      "trouble",
      state?.trouble,
    );
  }

  async breathe(turns: number): Promise<void> {
    await breathe(turns);
  }

  finish(step: { write(): void; done(): void; undo(): void }, write: () => void): void {
    try {
      this.database.transaction(() => {
        step.write();
        write();
      });
    } catch (error) {
      step.undo();
      throw error;
    }
    step.done();
  }

  #take(): void {
    if (this.#taking !== undefined || !this.isOnline || this.#stopped) return;
    this.#taking = this.#takeAll().catch((error) => {
      if (!(error instanceof ConnectionLostError)) this.failed = error;
    }).finally(() => {
      this.#taking = undefined;
      if (this.#dirty.size > 0 && this.failed === undefined) this.#take();
    });
  }

  async #takeAll(): Promise<void> {
    while (this.isOnline && !this.#stopped) {
      const conversation = [...this.#dirty][0];
      if (conversation === undefined) return;
      this.#dirty.delete(conversation);
      await delay(this.#world.random);
      for (;;) {
        if (!this.isOnline || this.#stopped) {
          this.#dirty.add(conversation);
          return;
        }
        if (!this.cursors.has(conversation)) await this.#heads();
        const cursor = this.cursors.get(conversation) ?? 0;
        const record = await this.#world.server.next(this.user, this.device, conversation, cursor);
        if (record === undefined) break;
        await this.#takeOne(record);
      }
    }
  }

  async #takeOne(record: Record): Promise<void> {
    const { taken, step } = await this.engine.take(record);
    if (taken.kind === "wait") {
      step.undo();
      await Promise.race([taken.ready, breathe(20)]);
      return;
    }
    if (this.#stopped) return step.undo();
    this.finish(step, () => {});
    this.cursors.set(record.conversation, record.seq);
    this.#note(record, taken);
  }

  #note(record: Record | undefined, taken: Exclude<Taken, { kind: "wait" }>): void {
    const where = record === undefined ? "apart" : `${record.conversation} ${record.seq} by ${record.device}`;
    this.#world.happened.push(`${this.user} ${this.device} takes ${where}: ${taken.kind}`);
    this.warnings.push(...taken.warnings);
    if (taken.kind === "message" && record !== undefined) {
      this.show(record.conversation, { seq: record.seq, from: taken.from, text: taken.text });
    } else if (taken.kind === "change") this.lines.push(...taken.lines);
    else if (taken.kind === "refused") this.refused.push(taken.reason);
    if (Deno.env.get("TRACE")) this.trace(record, taken);
  }
}

/** Lets everything that waits for nothing but the processor go on. */
export async function breathe(turns = 4): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await nextTurn();
}

async function delay(random: Prng): Promise<void> {
  for (let turns = random.integer(0, 2); turns > 0; turns--) await breathe(1);
}

function lost(): ConnectionLostError {
  return new ConnectionLostError({ code: 0, reason: "gone", byPeer: false });
}

/** Nothing failed that should not have. */
export function assertHealthy(world: World): void {
  for (const home of world.homes) {
    if (home.failed !== undefined) throw new Error(`${home.user} failed`, { cause: home.failed });
  }
}

/** They hold the same epoch, by its authenticator, and see the same members. */
export function assertAgree(homes: readonly Home[], conversation: ConversationId): void {
  const [first, ...others] = homes.map((home) => ({ user: home.user, ...home.stateOf(conversation) }));
  for (const { user, ...state } of others) {
    const { user: whose, ...expected } = first!;
    assert.deepEqual(state, expected, `${user} disagrees with ${whose}`);
  }
}
