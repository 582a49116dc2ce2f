/**
 * What the client needs of end-to-end encrypted conversations: the seam between the log (inbox, sender) and the groups behind it.
 *
 * One process of a home uses it at a time (SECURITY M11): whoever holds the home's lock (`client/home/ownership.ts`). Every method
 * that returns a {@linkcode Step} has changed nothing yet: the caller runs `write` inside its own transaction, together with
 * cursor, message or outbox row, and `done` after that has committed. Where the transaction fails, `undo` is called instead.
 */
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  Event,
  MessageId,
  Record,
  UserName,
} from "../../shared/protocol/mod.ts";
import { FastChatError } from "../errors.ts";

/**
 * A change of state that becomes true with the caller's transaction. Until `done` or `undo` was called, nothing else happens in
 * that conversation: exactly one of them must be, soon.
 */
export interface Step {
  /** Writes rows of the database. Synchronous, inside a transaction. */
  write(): void;
  /** The transaction has committed: memory follows, used keys are wiped. */
  done(): void;
  /** The transaction did not commit. */
  undo(): void;
}

/** What a row of the log turned out to be. */
export type Taken =
  /** A text, with its author proven. */
  | {
    readonly kind: "message";
    readonly id: MessageId;
    readonly from: UserName;
    readonly device: DeviceId;
    /** As written: control and bidi characters are still in it. */
    readonly text: string;
    /** What the sender's clock said. */
    readonly sentMs: number;
    /** Devices that it was sealed for, the sender's own ones too. */
    readonly devices: readonly { readonly user: UserName; readonly device: DeviceId }[];
    /** To be told beside it: a gap, a fork, a difference between the server's word and what is proven. */
    readonly warnings: readonly Warning[];
  }
  /** Members, roles, name or topic changed: lines for people, none where only keys did. */
  | {
    readonly kind: "change";
    readonly by: UserName;
    readonly device: DeviceId;
    readonly lines: readonly ChangeLine[];
    /** This device is no longer in it. */
    readonly ended: boolean;
    readonly warnings: readonly Warning[];
  }
  /** Nothing to show: an own row that is known, a repeat, a key update. */
  | { readonly kind: "nothing"; readonly warnings: readonly Warning[] }
  /** Shown as a placeholder with the reason. */
  | {
    readonly kind: "refused";
    readonly reason: string;
    readonly retryable: boolean;
    readonly warnings: readonly Warning[];
  }
  /** Not to be applied now: something must come first (a Welcome, a key log). It is offered again after `ready` resolves. */
  | { readonly kind: "wait"; readonly ready: Promise<void>; readonly reason: string };

export interface ChangeLine {
  readonly what:
    | "created"
    | "added"
    | "removed"
    | "left"
    | "joined"
    | "renamed"
    | "topic"
    | "role"
    | "settings"
    /** Newcomers are given what was said from now on ("on"), or nothing any more ("off"). */
    | "history"
    | "device-added"
    | "device-removed"
    | "ended";
  /** Whom it is about, where it is about somebody. */
  readonly who?: UserName;
  /** New name, topic or role. */
  readonly value?: string;
}

export interface Warning {
  readonly code:
    | "gap"
    | "fork"
    | "withheld"
    | "rolled-back"
    | "rejoined"
    | "key-changed"
    | "members-differ"
    | "skipped-commit"
    | "welcome-refused";
  readonly name?: UserName;
  readonly text: string;
}

/** A sealed message that is to be stored in the outbox before it leaves. */
export interface Sealed {
  readonly body: Uint8Array;
  /** What the append must name as `expectedEpoch`. */
  readonly epoch: number;
  /** Of this device in the conversation, from 1. */
  readonly counter: number;
  readonly step: Step;
}

/**
 * Nothing can be sent in a conversation for now, and it is nobody's fault: nobody is there who could let this device in, or the
 * other has left no keys yet. What waits stays queued.
 */
export class NotReadyError extends FastChatError {
  override readonly name = "NotReadyError";
  override readonly exitCode = 3;

  /** @param ready When it is worth trying again. */
  constructor(message: string, readonly ready: Promise<void>) {
    super(message);
  }
}

export interface EngineMember {
  readonly name: UserName;
  readonly role: "member" | "admin" | "owner";
  readonly devices: readonly DeviceId[];
  /** Fingerprint of the identity that certified them, 32 bytes as hex. */
  readonly identity: string;
}

export interface EngineConversation {
  readonly id: ConversationId;
  readonly isGroup: boolean;
  readonly name: string;
  readonly topic: string;
  readonly members: readonly EngineMember[];
  readonly role: "member" | "admin" | "owner";
  readonly membersMayAdd: boolean;
  /** Since when what is said is handed to newcomers (SECURITY M15), in milliseconds since 1970; 0: it is not. */
  readonly historySinceMs: number;
  /** The row by which this device came in. */
  readonly joined: number;
  /** Open invite links. */
  readonly links: readonly string[];
  /** Why nothing can be sent for now; absent where it can. */
  readonly blocked?: string;
}

/** What somebody wants changed in a group. */
export type GroupChange =
  | { readonly do: "add"; readonly names: readonly UserName[] }
  | { readonly do: "remove"; readonly names: readonly UserName[] }
  | { readonly do: "role"; readonly name: UserName; readonly role: "member" | "admin" | "owner" }
  | { readonly do: "rename"; readonly name: string }
  | { readonly do: "topic"; readonly topic: string }
  | { readonly do: "settings"; readonly membersMayAdd?: boolean; readonly sharedHistory?: boolean }
  | { readonly do: "delete" };

export interface Engine {
  /** Takes the next row in log order. Never throws for what others wrote. */
  take(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }>;

  /**
   * Rows up to a place are not coming: the server has removed them, or it is a restored backup that never had them, and `kept` is
   * the newest row that it still has. What was built on lost rows is given up then: a direct conversation's group is made again,
   * behind that place, by whoever sends next; in a group whose newest commit is lost this device waits to be let in.
   */
  passed(conversation: ConversationId, place: { readonly upTo: number; readonly kept?: number }): Promise<Step>;

  /**
   * Makes it possible to send: makes a direct conversation's group, joins by a Welcome, lets waiting devices in, updates keys
   * that are due. Network inside. Call it after everything known of the conversation was taken, before sealing.
   *
   * @throws KeyChangedError, RefusedError, ConnectionLostError, NotReadyError; FastChatError with the reason where sending is
   * blocked.
   */
  prepare(conversation: ConversationId): Promise<void>;

  /**
   * Seals a text. The counter goes on from this device's last one; a retry under the same id is sealed anew (SECURITY M2) under the
   * one that it had.
   */
  seal(conversation: ConversationId, message: { id: MessageId; timeMs: number; text: string }): Promise<Sealed>;

  /**
   * The server refused an append as `staleEpoch`, naming another newest commit. Resolves when the rows up to there were taken:
   * then `prepare`, and seal anew.
   */
  stale(conversation: ConversationId, epoch: number): Promise<void>;

  /** A person has seen that a conversation was shown differently to its members, and goes on sending in it. */
  accept(conversation: ConversationId): Promise<void>;

  /**
   * A person has accepted somebody's identity. In the conversation with them those under another one are put out, and who waits
   * under this one is let in; in groups an admin adds them anew ({@linkcode change}).
   */
  trusted(name: UserName): Promise<void>;

  /** Makes a group of this user; others are added afterwards. */
  create(name: string): Promise<ConversationId>;

  /**
   * Makes a change and resolves when it counts: a race that is lost is run again, until the change is there, or is not allowed
   * or not needed any more. The caller keeps taking rows meanwhile: it counts when its own row was taken.
   */
  change(conversation: ConversationId, change: GroupChange): Promise<void>;

  /** Leaves: a signed notice, and nothing more is delivered. Refused for the last admin while others are there. */
  leave(conversation: ConversationId): Promise<void>;

  /** Opens an invite link, or gives the open one; `revoke` closes all. */
  link(conversation: ConversationId, options: { readonly revoke: boolean }): Promise<string>;

  /** Asks to be let in by a link; resolves when the request is at the server. The group appears when an admin's device grants it. */
  join(link: string): Promise<ConversationId>;

  /** What this home knows of it; `undefined` before it was joined, and before anything was done with this engine. */
  conversation(id: ConversationId): EngineConversation | undefined;

  /** {@linkcode conversation}, read from the disk where it has to be: then `undefined` means that this device is not in it. */
  known(id: ConversationId): Promise<EngineConversation | undefined>;

  /**
   * Leaves key packages at the server as far as they are missing, asks for Welcomes, finishes what a crash interrupted, answers who
   * asks. Call it on every connection, with the list that `sync` gave.
   */
  connected(heads?: readonly ConversationHead[]): Promise<void>;

  /** Another process may have changed the home: what memory holds is read again. Call it whenever the lock was gained. */
  forget(): void;

  /** Stops its timers; nothing is under way when it resolves. */
  close(): Promise<void>;

  /** Events of the server that concern groups: `asked`, `welcomed`, `dismissed`, `devicesChanged`. */
  onEvent(event: Event): void;
}
