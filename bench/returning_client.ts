/** A person who loses servers: the product's link and dialer, with ticket and account in memory. For the bench and a test. */
import { type DialedServer, dialUdp, type RememberedCluster } from "../client/network/dialer.ts";
import { type DialOptions, Link } from "../client/network/link.ts";
import { Remote } from "../client/network/remote.ts";
import { makeDeviceProof, systemRandom } from "../shared/crypto/mod.ts";
import type { ResumptionTicket } from "../shared/net/mod.ts";
import type { ConversationId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { type SignedUp, signUp } from "./load.ts";

export interface ClusterAddress {
  readonly host?: string;
  readonly port: number;
  readonly fingerprint: Uint8Array;
}

export class ReturningClient {
  readonly name: UserName;
  readonly link: Link;
  server = -1;
  /** When it was connected last. */
  connectedMs = 0;
  logIns = 0;
  resumptions = 0;
  readonly #cluster: ClusterAddress;
  #dialed = -1;
  #account: SignedUp | undefined;
  #ticket: ResumptionTicket | undefined;
  #remembered: RememberedCluster | undefined;
  conversation: { id: ConversationId; epoch: number } | undefined;
  readonly stored: number[] = [];
  #number = 0;

  constructor(cluster: ClusterAddress, name: UserName, identity: { key: Uint8Array; signing: CryptoKey }) {
    this.name = name;
    this.#cluster = cluster;
    this.link = new Link({
      dial: (asked) => this.#dial(asked),
      authenticate: async (remote, _signal, isResumed) => {
        if (isResumed) this.resumptions++;
        else await this.#logIn(remote, identity);
        await remote.ask<"subscribe">({ type: "subscribe" });
      },
      canReturn: () => this.#ticket !== undefined,
      onTicket: (ticket) => this.#ticket = ticket,
      onEvent: (event) => {
        if (event.type !== "servers" || this.#remembered === undefined) return;
        this.#remembered = { ...this.#remembered, servers: event.servers };
      },
      onConnected: () => {
        this.connectedMs = performance.now();
        this.server = this.#dialed;
      },
      onReconnecting: () => {},
      onClosed: () => {},
    });
  }

  /** Shakes hands and logs in by ticket once more, beside the connection that there is. */
  async comeBack(): Promise<void> {
    const found = await this.#dial({ excluded: [], returning: true, timeoutMs: 5_000, signal: NEVER });
    const got = Promise.withResolvers<void>();
    const onTicket = (ticket: ResumptionTicket) => {
      this.#ticket = ticket;
      got.resolve();
    };
    const remote = new Remote(found.channel, { onEvent: () => {}, onClose: () => {}, onTicket });
    await Promise.all([got.promise, remote.ask<"subscribe">({ type: "subscribe" })]);
    remote.close();
    await found.ended;
  }

  /** Opens a conversation and writes in it until `signal`, again and again where it has to. */
  async write(peer: UserName, signal: AbortSignal): Promise<void> {
    const { head } = await this.link.ask<"openDirect">({ type: "openDirect", peer });
    this.conversation = { id: head.conversation, epoch: head.epoch };
    await new Promise((resolve) => setTimeout(resolve, Math.random() * WRITE_MS));
    while (!signal.aborted) {
      await this.#append(this.#number++);
      await new Promise((resolve) => setTimeout(resolve, WRITE_MS));
    }
  }

  /** Numbers of the acknowledged messages that the log does not have, once and in order. */
  async missing(): Promise<number> {
    const { id } = this.conversation!, found: number[] = [];
    for (let after = 0;;) {
      const page = await this.link.ask<"read">({ type: "read", conversation: id, after, limit: 256 });
      if (page.type === "restored") throw new Error("Nothing was restored here");
      const { records, more } = page;
      for (const { body, sender } of records) {
        if (sender === this.name) found.push(new DataView(body.buffer, body.byteOffset).getUint32(2));
      }
      after += records.length;
      if (!more) break;
    }
    return this.stored.filter((number, at) => found[at] !== number).length;
  }

  async #dial(asked: DialOptions): Promise<DialedServer> {
    const found = await dialUdp({
      ...asked,
      address: { host: this.#cluster.host ?? "127.0.0.1", port: this.#cluster.port },
      expected: this.#cluster.fingerprint,
      remembered: this.#remembered,
      ticket: this.#ticket,
    });
    this.#ticket = undefined;
    this.#remembered = found.remember;
    this.#dialed = found.serverNumber;
    return found;
  }

  async #append(number: number): Promise<void> {
    const { id, epoch } = this.conversation!, messageId = systemRandom.bytes(16).toHex() as MessageId;
    const body = new Uint8Array(200);
    body.set([1, 1]);
    new DataView(body.buffer).setUint32(2, number);
    for (;;) {
      try {
        const remote = await this.link.ready();
        await remote.append({ conversation: id, messageId, expectedEpoch: epoch, body });
        this.stored.push(number);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  async #logIn(remote: Remote, { key, signing }: { key: Uint8Array; signing: CryptoKey }): Promise<void> {
    this.logIns++;
    if (this.#account === undefined) {
      this.#account = await signUp(remote, this.name, key, signing);
      return;
    }
    const { name, token, device, leaf } = this.#account;
    const proof = makeDeviceProof(leaf, remote.channel.transcriptHash);
    await remote.ask<"resume">({ type: "resume", name, token, device, proof });
  }
}

const WRITE_MS = 500;
const NEVER = new AbortController().signal;
