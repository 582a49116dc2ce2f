/** The store in memory as a server for engines: requests become its calls, its news become events. Tests make it lie. */
import { MemoryStore } from "../../../../server/store/memory.ts";
import type { CommitListener } from "../../../../server/bus/bus.ts";
import { decodeCertificate, equalBytes } from "../../../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../../../shared/errors.ts";
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  DirectoryEntry,
  Event,
  MessageId,
  Record,
  Request,
  RequestOf,
  Response,
  UserName,
} from "../../../../shared/protocol/mod.ts";
import { ServerRefusal } from "../../../../client/network/failures.ts";

export interface Peer {
  readonly user: UserName;
  readonly device: DeviceId;
  onEvent(event: Event): void;
  /** There is more in a conversation's log. */
  onLog(conversation: ConversationId): void;
  readonly isOnline: boolean;
}

export class TestServer {
  readonly store: MemoryStore;
  readonly peers = new Set<Peer>();
  /** What one device is shown of a row; `undefined` hides it. */
  shown: (device: DeviceId, record: Record) => Record | undefined = (_, record) => record;
  /** How many commits were refused because another one was first. */
  lostRaces = 0;
  /** By which identity somebody goes: that of the device that came last. */
  readonly #identities = new Map<UserName, Uint8Array>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    const listener: CommitListener = {
      committed: (batch) => {
        for (const { record, members } of batch) this.#each(members, (peer) => peer.onLog(record.conversation));
      },
      receipts: () => {},
      devicesChanged: ({ user, conversations }) => {
        for (const { id, epoch, members } of conversations) {
          const event: Event = { type: "devicesChanged", name: user, conversation: id, epoch };
          this.#each(members, (peer) => peer.onEvent(event));
        }
      },
      sessionsEnded: () => {},
      groupNews: (news) => {
        if (news.type === "asked") {
          const { ask, members } = news;
          this.#each(members, (peer) => peer.device === ask.device || peer.onEvent({ type: "asked", ask }));
        } else if (news.type === "welcomed") {
          const { conversation } = news;
          for (const { user, device } of news.devices) {
            this.#each([user], (peer) => peer.device === device && peer.onEvent({ type: "welcomed", conversation }));
          }
        } else if (news.type === "dismissed") {
          const { conversation, seq, users } = news;
          this.#each(users, (peer) => peer.onEvent({ type: "dismissed", conversation, seq }));
        }
      },
    };
    this.store = new MemoryStore(listener);
  }

  async enrol(user: UserName, device: DeviceId, certificate: Uint8Array, identityKey: Uint8Array): Promise<void> {
    const outcome = await this.store.createUser({
      name: user,
      stretching: { salt: new Uint8Array(16), log2N: 17 },
      passwordHash: new Uint8Array(8),
      identityKey,
      backup: new Uint8Array(),
      device: { id: device, certificate },
      nowMs: this.#nowMs(),
    });
    if (outcome === "name-taken") await this.store.addDevice(user, { id: device, certificate });
    this.#identities.set(user, identityKey);
  }

  async heads(user: UserName, device: DeviceId): Promise<ConversationHead[]> {
    return await this.store.conversations(user, device, undefined, 500);
  }

  /** The next row behind a cursor, as this device is shown it. */
  async next(
    user: UserName,
    device: DeviceId,
    conversation: ConversationId,
    after: number,
  ): Promise<Record | undefined> {
    const page = await this.store.read(user, conversation, after, 100);
    for (const record of page?.records ?? []) {
      const shown = this.shown(device, record);
      if (shown !== undefined) return shown;
    }
    return undefined;
  }

  /** All that is stored of a conversation, in order. */
  async rows(user: UserName, conversation: ConversationId): Promise<Record[]> {
    const rows: Record[] = [];
    for (;;) {
      const page = await this.store.read(user, conversation, rows.at(-1)?.seq ?? 0, 256);
      if (page === undefined || page.records.length === 0) return rows;
      rows.push(...page.records);
    }
  }

  async append(user: UserName, device: DeviceId, request: RequestOf<"append">): Promise<number> {
    const [result] = await this.store.append([{ ...request, user, device, nowMs: this.#nowMs() }]);
    if (result?.status === "stored") return result.seq;
    throw result?.status === "stale-epoch" ? stale(result.epoch) : refusal(ErrorCode.forbidden);
  }

  async answer(user: UserName, device: DeviceId, request: Request): Promise<Response> {
    const { store } = this, nowMs = this.#nowMs();
    switch (request.type) {
      case "directory":
        return { type: "directory", entries: await this.#directory(request.names as UserName[]) };
      case "putKeyPackages":
        return { type: "keyPackageStock", ...await store.putKeyPackages({ ...request, user, device, nowMs }) };
      case "takeKeyPackages": {
        const { conversation, names } = request;
        const packages = await store.takeKeyPackages({ user, device, conversation, names: names as UserName[], nowMs });
        return { type: "keyPackages", packages };
      }
      case "createGroup":
        return { type: "conversation", head: (await store.createGroup(request.conversation, user, device))! };
      case "commit":
      case "leave": {
        const result = request.type === "leave"
          ? await store.leave({ ...request, user, device, nowMs })
          : await store.commit({
            ...request,
            user,
            device,
            nowMs,
            add: request.add as UserName[],
            remove: request.remove as UserName[],
          });
        if (result.status === "stored") return { ...result, type: "stored", messageId: request.messageId };
        if (result.status !== "stale-epoch") throw refusal(ErrorCode.forbidden, result.status);
        this.lostRaces++;
        throw stale(result.epoch);
      }
      case "welcome":
        return { type: "welcome", welcome: await store.welcome(user, device, request.conversation) };
      case "ask": {
        const outcome = await store.ask({ ...request, user, device, timeMs: nowMs });
        if (outcome !== "waits") throw refusal(ErrorCode.forbidden, outcome);
        return { type: "ok" };
      }
      case "asks":
        return { type: "asks", asks: await store.asks(user, request.conversation, request.after, 500), more: false };
      case "invite": {
        const result = await store.invite({ ...request, user, device, nowMs });
        if (result.status === "stale-epoch") throw stale(result.epoch);
        if (result.status !== "invited") throw refusal(ErrorCode.forbidden, result.status);
        return { type: "ok" };
      }
      case "dropAsk":
        await store.dropAsk(user, request.conversation, request.device);
        return { type: "ok" };
      case "members": {
        const names = await store.members(user, request.conversation, request.after, 500);
        if (names === undefined) throw refusal(ErrorCode.forbidden);
        return { type: "users", users: names.map((name) => ({ name, online: false })), more: names.length === 500 };
      }
      default:
        throw new TypeError(`The test's server knows no ${request.type}`);
    }
  }

  /** Puts a row in as if somebody had sent it: what a lying server, or a member with a changed client, can do. */
  async plant(
    { user, device, conversation, body, isCommit }: {
      readonly user: UserName;
      readonly device: DeviceId;
      readonly conversation: ConversationId;
      readonly body: Uint8Array;
      readonly isCommit: boolean;
    },
  ): Promise<number> {
    const messageId = crypto.getRandomValues(new Uint8Array(16)).toHex() as MessageId, nowMs = this.#nowMs();
    const head = (await this.heads(user, device)).find((head) => head.conversation === conversation)!;
    const entry = { user, device, conversation, messageId, body, nowMs };
    if (!isCommit) {
      return await this.append(user, device, { type: "append", ...entry, expectedEpoch: head.epoch } as never);
    }
    const result = await this.store.commit({
      ...entry,
      lastCommit: head.epoch,
      add: [],
      remove: [],
      welcomes: [],
      tree: new Uint8Array(),
    });
    if (result.status !== "stored") throw new RequestError(ErrorCode.internal, result.status);
    return result.seq;
  }

  /** Of somebody whom an operator has reset, only what is theirs now. */
  async #directory(names: readonly UserName[]): Promise<DirectoryEntry[]> {
    return (await this.store.directory(names)).map((entry) => {
      const identityKey = this.#identities.get(entry.name)!;
      const isTheirs = (bytes: Uint8Array) => equalBytes(decodeCertificate(bytes).identityKey, identityKey);
      return { ...entry, identityKey, certificates: entry.certificates.filter(isTheirs) };
    });
  }

  #each(users: readonly UserName[], tell: (peer: Peer) => void): void {
    for (const peer of this.peers) if (peer.isOnline && users.includes(peer.user)) tell(peer);
  }
}

function stale(epoch: number): ServerRefusal {
  return refusal(ErrorCode.staleEpoch, "Another commit came first", epoch);
}

function refusal(code: number, message = "No", epoch = 0): ServerRefusal {
  return new ServerRefusal({ type: "error", code, message, retryAfterMs: 0, epoch, messageId: undefined });
}
