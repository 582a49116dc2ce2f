/**
 * The server as the engine of groups knows it: a log for each conversation, key packages, Welcomes and requests to be let in, in
 * memory and without a network. Tests make it lie through `shown`.
 */
import { ErrorCode } from "../../../../shared/errors.ts";
import type {
  Ask,
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
import { ServerRefusal } from "../../../../client/remote.ts";

export interface Peer {
  readonly user: UserName;
  readonly device: DeviceId;
  /** Not called while it is offline. */
  onEvent(event: Event): void;
  /** There is more in a conversation's log. */
  onLog(conversation: ConversationId): void;
  readonly isOnline: boolean;
}

interface Log {
  readonly kind: "direct" | "group";
  /** Up to which row each member reads; open where it is a member now. */
  readonly members: Map<UserName, { from: number; to: number }>;
  readonly rows: Record[];
  readonly numbers: Map<string, number>;
  lastCommit: number;
  readonly welcomes: Map<DeviceId, { isInvitation: boolean; commit: number; body: Uint8Array; tree: Uint8Array }>;
  readonly asks: Map<DeviceId, Ask>;
}

export class TestServer {
  readonly logs = new Map<ConversationId, Log>();
  readonly directory = new Map<UserName, DirectoryEntry>();
  readonly peers = new Set<Peer>();
  /** What one device is shown of a row; `undefined` hides it. */
  shown: (device: DeviceId, record: Record) => Record | undefined = (_, record) => record;
  readonly #packages = new Map<DeviceId, { oneTime: Uint8Array[]; last: Uint8Array | undefined }>();
  readonly #given = new Map<string, { keyPackage: Uint8Array; lastResort: boolean }>();
  /** How many commits were refused because another one was first. */
  lostRaces = 0;

  constructor(readonly nowMs: () => number) {}

  openDirect(conversation: ConversationId, users: readonly UserName[]): void {
    if (!this.logs.has(conversation)) this.#open(conversation, "direct", users);
  }

  heads(user: UserName): ConversationHead[] {
    return [...this.logs].filter(([, { members }]) => members.has(user)).map(([conversation, log]) => ({
      conversation,
      kind: log.kind === "direct" ? 1 : 2,
      members: log.kind === "direct" ? [...log.members.keys()] : [],
      head: log.rows.length,
      begins: 0,
      cursor: 0,
      epoch: log.lastCommit,
    }));
  }

  /** Rows behind a cursor, as this device is shown them. */
  read(user: UserName, device: DeviceId, conversation: ConversationId, after: number): Record[] {
    const log = this.logs.get(conversation), member = log?.members.get(user);
    if (log === undefined || member === undefined) return [];
    return log.rows.filter(({ seq }) => seq > after && seq > member.from && seq <= member.to)
      .flatMap((record) => this.shown(device, record) ?? []);
  }

  append(user: UserName, device: DeviceId, request: RequestOf<"append">): number {
    const log = this.#member(request.conversation, user);
    const known = log.numbers.get(`${device}/${request.messageId}`);
    if (known !== undefined) return known;
    if (request.expectedEpoch !== log.lastCommit) throw refusal(ErrorCode.staleEpoch, log.lastCommit);
    return this.put(log, { ...request, user, device });
  }

  // deno-lint-ignore require-await
  async answer(user: UserName, device: DeviceId, request: Request): Promise<Response> {
    switch (request.type) {
      case "directory":
        return {
          type: "directory",
          entries: request.names.flatMap((name) => this.directory.get(name as UserName) ?? []),
        };
      case "putKeyPackages": {
        const left = this.#packages.get(device) ?? { oneTime: [], last: undefined };
        this.#packages.set(device, left);
        left.oneTime.push(...request.oneTime);
        left.last = request.lastResort ?? left.last;
        return { type: "keyPackageStock", oneTime: left.oneTime.length, lastResort: left.last !== undefined };
      }
      case "takeKeyPackages":
        return { type: "keyPackages", packages: this.#takePackages(user, device, request) };
      case "createGroup":
        if (!this.logs.has(request.conversation)) this.#open(request.conversation, "group", [user]);
        return {
          type: "conversation",
          head: this.heads(user).find((head) => head.conversation === request.conversation)!,
        };
      case "commit":
        return this.#commit(user, device, request);
      case "leave": {
        const log = this.#member(request.conversation, user);
        const known = log.numbers.get(`${device}/${request.messageId}`);
        if (known === undefined && request.lastCommit !== log.lastCommit) {
          throw refusal(ErrorCode.staleEpoch, log.lastCommit);
        }
        const seq = known ?? this.put(log, { ...request, user, device });
        this.#dismiss(request.conversation, log, user, seq);
        return { type: "stored", messageId: request.messageId, seq, timeMs: this.nowMs() };
      }
      case "welcome":
        return { type: "welcome", welcome: this.#log(request.conversation).welcomes.get(device) };
      case "ask": {
        const log = this.#log(request.conversation);
        const ask: Ask = { ...request, user, device, timeMs: this.nowMs() };
        log.asks.set(device, ask);
        this.#tell(log, { type: "asked", ask }, device);
        return { type: "ok" };
      }
      case "asks": {
        const asks = [...this.logs.values()].filter(({ members }) => members.has(user))
          .flatMap(({ asks }) => [...asks.values()]);
        return { type: "asks", asks, more: false };
      }
      case "invite": {
        const log = this.#member(request.conversation, user);
        if (request.lastCommit !== log.lastCommit) throw refusal(ErrorCode.staleEpoch, log.lastCommit);
        const { welcome: { device: to, body }, tree } = request;
        log.welcomes.set(to, { isInvitation: true, commit: log.lastCommit, body, tree });
        log.asks.delete(to);
        this.#tellDevice(to, { type: "welcomed", conversation: request.conversation });
        return { type: "ok" };
      }
      case "dropAsk":
        this.#log(request.conversation).asks.delete(request.device);
        return { type: "ok" };
      case "members":
        return {
          type: "users",
          users: [...this.#log(request.conversation).members].filter(([, { to }]) => to === Infinity)
            .map(([name]) => ({ name, online: false })),
          more: false,
        };
      default:
        throw new TypeError(`The test's server knows no ${request.type}`);
    }
  }

  /** A row as it is, whoever wrote it: for tests that put in what no honest server would. */
  put(
    log: Log,
    { user, device, messageId, body, conversation }: {
      user: UserName;
      device: DeviceId;
      messageId: MessageId;
      body: Uint8Array;
      conversation: ConversationId;
    },
  ): number {
    const seq = log.rows.length + 1;
    log.rows.push({ conversation, seq, timeMs: this.nowMs(), sender: user, device, messageId, body });
    log.numbers.set(`${device}/${messageId}`, seq);
    for (const peer of this.peers) if (peer.isOnline && log.members.has(peer.user)) peer.onLog(conversation);
    return seq;
  }

  #commit(user: UserName, device: DeviceId, request: RequestOf<"commit">): Response {
    const log = this.#member(request.conversation, user), { messageId } = request;
    const known = log.numbers.get(`${device}/${messageId}`);
    if (known !== undefined) return { type: "stored", messageId, seq: known, timeMs: this.nowMs() };
    if (request.lastCommit !== log.lastCommit) {
      this.lostRaces++;
      throw refusal(ErrorCode.staleEpoch, log.lastCommit);
    }
    const next = log.rows.length + 1;
    log.lastCommit = next;
    for (const name of request.add as UserName[]) {
      if (log.members.get(name)?.to !== Infinity) log.members.set(name, { from: next - 1, to: Infinity });
    }
    for (const { device: to, body } of request.welcomes) {
      log.welcomes.set(to, { isInvitation: false, commit: next, body, tree: request.tree });
      log.asks.delete(to);
      for (const key of this.#given.keys()) if (key.endsWith(`${request.conversation} ${to}`)) this.#given.delete(key);
    }
    const seq = this.put(log, { ...request, user, device });
    for (const name of request.remove as UserName[]) this.#dismiss(request.conversation, log, name, seq);
    for (const { device: to } of request.welcomes) {
      this.#tellDevice(to, { type: "welcomed", conversation: request.conversation });
    }
    return { type: "stored", messageId, seq, timeMs: this.nowMs() };
  }

  #dismiss(conversation: ConversationId, log: Log, name: UserName, seq: number): void {
    const member = log.members.get(name);
    if (member === undefined || member.to !== Infinity) return;
    member.to = seq;
    for (const peer of this.peers) {
      if (peer.user === name && peer.isOnline) peer.onEvent({ type: "dismissed", conversation, seq });
    }
  }

  #takePackages(user: UserName, device: DeviceId, { conversation, names }: RequestOf<"takeKeyPackages">) {
    return names.flatMap((name) => {
      const entry = this.directory.get(name as UserName);
      const devices = [...this.#packages.keys()].filter((id) => this.userOf(id) === entry?.name && id !== device);
      return devices.flatMap((id) => {
        const key = `${user} ${device} ${conversation} ${id}`, left = this.#packages.get(id)!;
        let given = this.#given.get(key);
        if (given === undefined) {
          const one = left.oneTime.shift();
          if (one !== undefined) given = { keyPackage: one, lastResort: false };
          else if (left.last !== undefined) given = { keyPackage: left.last, lastResort: true };
          else return [];
          this.#given.set(key, given);
        }
        return [{ user: entry!.name, device: id, ...given }];
      });
    });
  }

  /** An hour has passed: whoever asks for packages gets new ones. */
  forgetGiven(): void {
    this.#given.clear();
  }

  userOf: (device: DeviceId) => UserName | undefined = () => undefined;

  #open(conversation: ConversationId, kind: Log["kind"], users: readonly UserName[]): void {
    this.logs.set(conversation, {
      kind,
      members: new Map(users.map((name) => [name, { from: 0, to: Infinity }])),
      rows: [],
      numbers: new Map(),
      lastCommit: 0,
      welcomes: new Map(),
      asks: new Map(),
    });
  }

  #log(conversation: ConversationId): Log {
    const log = this.logs.get(conversation);
    if (log === undefined) throw refusal(ErrorCode.forbidden);
    return log;
  }

  #member(conversation: ConversationId, user: UserName): Log {
    const log = this.#log(conversation);
    if (log.members.get(user)?.to !== Infinity) throw refusal(ErrorCode.forbidden);
    return log;
  }

  #tell(log: Log, event: Event, except: DeviceId): void {
    for (const peer of this.peers) {
      const isMember = log.members.get(peer.user)?.to === Infinity;
      if (peer.isOnline && peer.device !== except && isMember) peer.onEvent(event);
    }
  }

  #tellDevice(device: DeviceId, event: Event): void {
    for (const peer of this.peers) if (peer.device === device && peer.isOnline) peer.onEvent(event);
  }
}

function refusal(code: number, epoch = 0): ServerRefusal {
  return new ServerRefusal({ type: "error", code, message: "No", retryAfterMs: 0, epoch, messageId: undefined });
}
