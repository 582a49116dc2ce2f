/**
 * The bus's contract: how servers of one cluster hear of each other's work. Hints only, never the only copy: whoever
 * misses one reads the log.
 */
import type {
  Ask,
  ConversationId,
  CredentialChange,
  DeviceId,
  Receipt,
  Record,
  UserName,
} from "../../shared/protocol/mod.ts";

export interface Bus {
  /** Says which users this server has sessions for, from now on. Repeated to a new leader by the implementation. */
  announce(user: UserName, online: boolean): void;

  /** Users with at least one session on any server of the cluster. */
  online(): Promise<UserName[]>;

  /** Says whose coming and going this server wants to hear of, from now on. Repeated to a new leader by the implementation. */
  watch(user: UserName, on: boolean): void;

  /** Those of them who are here, and whether the others surely are not: a new leader does not know for a moment. */
  among(names: readonly UserName[]): Promise<{ online: UserName[]; isSure: boolean }>;

  /** Tells the servers that have sessions of the members, once or not at all. */
  hint(hint: TypingHint): void;

  /** What happens elsewhere, in order per conversation. Set once, at start. */
  listener: BusListener | undefined;
}

export interface BusListener {
  /**
   * Records were committed whose conversations have members with sessions here (the sender's own server is told too: there is one
   * path of delivery). In order of seq per conversation.
   */
  onCommitted(committed: readonly Committed[]): void;
  /** Devices of members have come further; in order per device and conversation. */
  onReceipts(moved: readonly ReceiptMoved[]): void;
  /** A user's devices changed; `conversations` are all of that user's, with their new epochs and members. */
  onDevicesChanged(change: DevicesChanged): void;
  /** A user's credentials changed: sessions that began before may be over. Told to every server, whoever is there. */
  onSessionsEnded(ended: SessionsEnded): void;
  /** Something about who is in a conversation; a dismissal comes behind its record, and to every server. */
  onGroupNews(news: GroupNews): void;
  /** Of somebody whom this server watches: at first, with each change, and again now and then. */
  onPresence(user: UserName, online: boolean): void;
  /** Somebody types, or has stopped; the members have sessions here (the person's own server is told too). */
  onTyping(hint: TypingHint): void;
  /** The link was down and notices may have been missed: every session here should be told to read its logs. */
  onGap(): void;
}

export interface Committed {
  readonly record: Record;
  /** The same array again and again, until somebody comes or goes. */
  readonly members: readonly UserName[];
}

export interface ReceiptMoved {
  readonly receipt: Receipt;
  readonly members: readonly UserName[];
}

export type GroupNews =
  /** A device wants to be let in. */
  | { readonly type: "asked"; readonly ask: Ask; readonly members: readonly UserName[] }
  /** There is something by which these devices can join. */
  | {
    readonly type: "welcomed";
    readonly conversation: ConversationId;
    readonly devices: readonly { readonly user: UserName; readonly device: DeviceId }[];
  }
  /** History was left for these devices. */
  | {
    readonly type: "historyWaits";
    readonly devices: readonly { readonly user: UserName; readonly device: DeviceId }[];
  }
  /** These are members no longer, from the record behind `seq` on. */
  | {
    readonly type: "dismissed";
    readonly conversation: ConversationId;
    readonly seq: number;
    readonly users: readonly UserName[];
  };

export interface TypingHint {
  readonly conversation: ConversationId;
  readonly user: UserName;
  readonly members: readonly UserName[];
  readonly active: boolean;
}

export interface DevicesChanged {
  readonly user: UserName;
  readonly conversations: readonly { id: ConversationId; epoch: number; members: readonly UserName[] }[];
  /** Entries in the key log, with what is told here (SECURITY M13). */
  readonly keyLogLength: number;
  /** Who is in groups with the user, as far as ACQUAINTED_MAX: they hear that the key log has grown, and nothing else. */
  readonly acquainted?: readonly UserName[];
}

export interface SessionsEnded {
  readonly user: UserName;
  /** Sessions that began under a lower one are over; 0 where none is. */
  readonly generation: number;
  /** Except this one: the hash of its token, 32 bytes. */
  readonly keep: Uint8Array | undefined;
  /** Where given, all sessions of this device are over, for good: it was revoked. */
  readonly device?: DeviceId | undefined;
  /** What the user's other devices are told. */
  readonly change?: CredentialChange | undefined;
}

/** What a store tells of, after each commit and in its order: the hub, which passes it on. Must not throw. */
export interface CommitListener {
  committed(committed: readonly Committed[]): void;
  receipts(moved: readonly ReceiptMoved[]): void;
  devicesChanged(change: DevicesChanged): void;
  sessionsEnded(ended: SessionsEnded): void;
  groupNews(news: GroupNews): void;
}
