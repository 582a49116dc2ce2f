/** Real clients against a real server core, joined by memory channels: everything but sockets and processes. */
import { basename, join } from "node:path";
import type { DialServer } from "../../client/network/dialer.ts";
import { DeviceKeys } from "../../client/e2ee/mod.ts";
import { CannotReachError } from "../../client/errors.ts";
import { homeExists, type HomeParts, openHome } from "../../client/home_parts.ts";
import { ChatClient, type OpenOptions } from "../../client/mod.ts";
import {
  encryptPem,
  fingerprint,
  generateRsaPkcs8,
  pkcs8ToPem,
  sha256,
  spkiFromPkcs8,
} from "../../shared/crypto/mod.ts";
import { writePrivateFile } from "../../shared/host/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { Connection } from "../../server/connection.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";
import { memoryChannelPair, type MemoryPair, openMemoryTicket } from "../memory_channel.ts";
import { Harness } from "../server/harness.ts";
import { withFolder } from "./homes.ts";

export const PASSWORD = "violet-otter-canyon-42";
const LOG2N = 10;

export class ChatWorld {
  readonly folder: string;
  readonly harness: Harness;
  /** Every connection there was, newest last. */
  readonly pairs: MemoryPair[] = [];
  /** The key that servers prove. */
  fingerprint = sha256(new Uint8Array([1]));
  /** Nobody answers while this is set. */
  unreachable = false;
  /** What clients excluded, one entry for each dialling. */
  readonly excluded: (readonly number[])[] = [];
  readonly #clients: ChatClient[] = [];
  /** What unlocks the homes that were opened here: tests that give no password mean the one of the log-in. */
  readonly #keys = new Map<string, Uint8Array>();

  constructor(folder: string, harness: Harness) {
    this.folder = folder;
    this.harness = harness;
  }

  /** @param options As {@linkcode ChatClient.open}'s; the name is also the home's, unless one is given. */
  async open(name: string, options: Partial<OpenOptions> = {}): Promise<ChatClient> {
    const home = options.home ?? this.home(name);
    if (!homeExists(home) && (options.password ?? PASSWORD) === PASSWORD) await seedKeys(home);
    const client = await ChatClient.open({
      server: "memory:9000",
      home: this.home(name),
      unlock: this.#keys.get(home),
      name,
      password: PASSWORD,
      register: true,
      dial: this.dial,
      ...options,
    });
    this.#keys.set(home, client.key());
    this.#clients.push(client);
    return client;
  }

  /** Looks into a home that was opened here. */
  inHome<T>(name: string, look: (parts: HomeParts) => T): T {
    const home = this.home(name), parts = openHome(home);
    try {
      parts.vault.unlockWithKey(this.#keys.get(home)!);
      return look(parts);
    } finally {
      parts.database.close();
    }
  }

  home(name: string): string {
    return join(this.folder, name);
  }

  /** As {@linkcode dial}, to a server that differs in something. */
  dialWith(changes: Partial<Harness["services"]>): DialServer {
    return (request) => this.#dial(request, { ...this.harness.services, ...changes });
  }

  readonly dial: DialServer = (request) => this.#dial(request, this.harness.services);

  #dial({ excluded, ticket }: Parameters<DialServer>[0], services: Harness["services"]): ReturnType<DialServer> {
    this.excluded.push(excluded);
    if (this.unreachable) return Promise.reject(new CannotReachError("Nobody answers"));
    const pair = memoryChannelPair();
    this.pairs.push(pair);
    const { server, appends } = this.harness;
    const opened = pair.server.ticket = ticket && openMemoryTicket(ticket.ticket);
    // As ACCEPT does, before anybody has looked whether it is a login.
    if (opened) pair.server.giveTicket(opened);
    new Connection(pair.server, { services, server, appends, requestRate: 0, appendRate: 0 });
    return Promise.resolve({
      channel: pair.client,
      serverNumber: this.pairs.length % 2,
      server: `memory:${9000 + this.pairs.length}`,
      isResumed: opened !== undefined,
      fingerprint: this.fingerprint,
    });
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
  }
}

/** Runs with a world that is gone afterwards. */
export async function withWorld(
  use: (world: ChatWorld) => Promise<void>,
  options: { readonly wrapStore?: (store: Store) => Store } = {},
): Promise<void> {
  // It stays: files that run side by side in one process share the environment, and each would end it under the others.
  Deno.env.set(ENV, String(LOG2N));
  await withFolder(async (folder) => {
    const harness = await Harness.open(options);
    // The clients' keys are made now, by the real clock.
    Object.assign(harness.services, { nowMs: () => Date.now() });
    Object.assign(harness.services.settings, { scryptLog2N: LOG2N });
    const world = new ChatWorld(folder, harness);
    try {
      await use(world);
    } finally {
      await world.close();
    }
  });
}

/**
 * Puts keys where a sign-up that was cut off would have left them: making RSA keys takes a second for each person. Only homes
 * called alice, bob, carol, dave and alice2 (a second device) have some.
 */
async function seedKeys(home: string): Promise<void> {
  const name = basename(home);
  if (!["alice", "bob", "alice2", "carol", "dave"].includes(name)) return;
  const { device, identity } = await keysOf(name);
  const parts = openHome(home);
  parts.credentials.saveDeviceKeys(await DeviceKeys.fromPem(device));
  if (name !== "alice2") {
    const pem = await encryptPem({ pkcs8: identity.pkcs8, passphrase: PASSWORD, testOnlyIterations: 1 });
    await writePrivateFile(join(home, "identity.pem"), pem);
    parts.credentials.saveAccount({
      name: name as UserName,
      server: "memory:9000",
      clusterId: TEST_CLUSTER,
      identity: identity.fingerprint,
      log2N: LOG2N,
      enrolled: false,
    });
  }
  parts.database.close();
}

interface SeedKeys {
  /** PEM. */
  readonly device: string;
  readonly identity: { readonly pkcs8: Uint8Array; readonly fingerprint: Uint8Array };
}

/** Carol's and Dave's are made once in a process. */
const made = new Map<string, Promise<SeedKeys>>();

function keysOf(name: string): Promise<SeedKeys> {
  let keys = made.get(name);
  if (keys === undefined) made.set(name, keys = makeKeys(name));
  return keys;
}

async function makeKeys(name: string): Promise<SeedKeys> {
  if (name === "alice" || name === "bob" || name === "alice2") {
    const { id, leaf, envelopePkcs8, identity } = (await testKeys())[name];
    return { device: `FastChat device ${id}\n${pkcs8ToPem(leaf.pkcs8)}${pkcs8ToPem(envelopePkcs8)}`, identity };
  }
  const [device, pkcs8] = await Promise.all([DeviceKeys.generate(), generateRsaPkcs8()]);
  return { device: device.toPem(), identity: { pkcs8, fingerprint: fingerprint(await spkiFromPkcs8(pkcs8)) } };
}

const ENV = "FASTCHAT_TEST_ONLY_SCRYPT_LOG2N";
