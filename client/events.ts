/** What the library tells its faces: one union, also what `--json` prints, a line each. */
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import type { ChangeLine, Warning } from "./e2ee/engine.ts";

/** A message of a conversation, sent or received. The field order is the order `--json` prints. */
export interface MessageEvent {
  readonly type: "message";
  readonly id: MessageId;
  readonly conversation: ConversationId;
  /** Who the cryptography says wrote it. */
  readonly from: UserName;
  /** What one gives to `send` to write there: a name, or a group's `#name`. */
  readonly to: string;
  /** The group's name; absent where it is between two people. */
  readonly group?: string;
  readonly device: DeviceId;
  /** Control and bidi characters are already gone. */
  readonly text: string;
  /** RFC 3339, UTC, milliseconds: when the server stored it. */
  readonly time: string;
  readonly seq: number;
  /**
   * Whose copy it is, where it came as one and not from the conversation's log: a name, or "" for this person's own archive. Then
   * nothing but their word says who wrote it, and when.
   */
  readonly copyFrom?: UserName | "";
  /** Of one's own messages, where they are asked for: how far it has come. */
  readonly state?: MessageState;
  /** Beside it in a group: how many of the other members have it, how many say that they have read it, and how many there are. */
  readonly delivered?: number;
  readonly read?: number;
  readonly members?: number;
}

/**
 * A row that could not be shown as a message: never hidden, always with its reason (SECURITY M2). One stands for all that the
 * server had removed before this device read it, at the place of the last of them.
 */
export interface RefusedEvent {
  readonly type: "refused";
  readonly conversation: ConversationId;
  readonly seq: number;
  /** The group's name; absent where it is between two people. */
  readonly group?: string;
  /** Where it is: a name, or a group's `#name`. */
  readonly to: string;
  /** Who the server says it is from: a claim. Absent where it stands for rows that do not come any more. */
  readonly claimedFrom?: UserName;
  readonly reason: string;
  readonly time: string;
}

/** Who is in a group, what it is called or what may be done in it has changed: proven, as messages are. */
export interface ChangeEvent {
  readonly type: "change";
  readonly conversation: ConversationId;
  readonly seq: number;
  /** `#name` of the group. */
  readonly to: string;
  readonly group: string;
  readonly by: UserName;
  readonly device: DeviceId;
  /** In the order in which they are to be told; at least one. */
  readonly changes: readonly ChangeLine[];
  /** This device is no longer in it. */
  readonly ended: boolean;
  readonly time: string;
}

/** What has a place in a conversation. */
export type LogEvent = MessageEvent | RefusedEvent | ChangeEvent;

/**
 * Where a message of one's own has got to. `stored`: the server has it on disk (its word). `delivered`: every member has it on a
 * device, `read`: every member says to have read it (their devices' signed words). `queued`: still here, in the outbox.
 */
export type MessageState = "queued" | "stored" | "delivered" | "read" | "failed";

/** A message that this home sent has come further; once per change, in order. */
export interface StateEvent {
  readonly type: "state";
  readonly id: MessageId;
  /** Absent while there is none: nothing was sealed yet. */
  readonly conversation?: ConversationId;
  /** A name, or a group's `#name`. */
  readonly to: string;
  readonly state: MessageState;
  /** How many members have it, and how many say that they have read it. */
  readonly delivered: number;
  readonly read: number;
  /** Members but oneself. */
  readonly members: number;
  /** RFC 3339: when the server stored it, or this home learned of it. */
  readonly time: string;
  /** Why it failed. */
  readonly reason?: string;
}

/** The connection has come, gone, or gone for good. */
export interface ConnectionEvent {
  readonly type: "connection";
  readonly state: "connected" | "reconnecting" | "closed";
  /** host:port of the server, where connected. */
  readonly server?: string;
  readonly reason?: string;
}

/** Something a person should know: a new peer's fingerprint pinned, a changed key, a device added. */
export interface NoticeEvent {
  readonly type: "notice";
  readonly code:
    | "peer-pinned"
    | "key-changed"
    | "device-added"
    | "key-log"
    | "server-pinned"
    | "gap"
    | "server-full"
    | "unsealed"
    | "receipt"
    | "password-changed"
    | "recovery-key"
    | "archive"
    | "waiting"
    | "history"
    | Warning["code"];
  readonly name?: string;
  /** Where it is about one. */
  readonly conversation?: ConversationId;
  /** One's own, where it is about that. */
  readonly device?: DeviceId;
  readonly text: string;
}

/** Somebody came or went: whoever asked for these is told of everybody there is a conversation with, and of whom they named. */
export interface PresenceEvent {
  readonly type: "presence";
  readonly name: UserName;
  /** `null`: the server has not said so for a while. */
  readonly online: boolean | null;
}

/** Somebody began to type to this person, or in a group, or has stopped. */
export interface TypingEvent {
  readonly type: "typing";
  readonly name: UserName;
  readonly conversation: ConversationId;
  /** The group's name; absent where it is between two people. */
  readonly group?: string;
  readonly typing: boolean;
}

/** Whatever `events()` gives out. */
export type ChatEvent =
  | MessageEvent
  | RefusedEvent
  | ChangeEvent
  | StateEvent
  | ConnectionEvent
  | NoticeEvent
  | PresenceEvent
  | TypingEvent;
