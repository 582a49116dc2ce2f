/** Users, devices and conversations of the store in memory, and what they are found by: the plain twin of `sqlite/rows.ts`. */
import type {
  Ask,
  ConversationHead,
  ConversationId,
  DeviceId,
  Receipt,
  Record,
  UserName,
} from "../../../shared/protocol/mod.ts";
import type { CommitListener } from "../../bus/bus.ts";
import { ConversationKind, type StoredWelcome } from "../groups.ts";
import type { Account, DeviceName, StoredCredentials } from "../store.ts";

export interface MemoryUser {
  readonly name: UserName;
  stretching: Account["stretching"];
  passwordHash: Uint8Array;
  identityKey: Uint8Array;
  backup: Uint8Array;
  /** Whether devices wait until another one approves them. */
  approval: boolean;
  recovery: StoredCredentials["recovery"];
  password: StoredCredentials["password"];
  readonly devices: MemoryDevice[];
  generation: number;
  /** Those from which the user was dismissed too. */
  readonly conversations: Set<MemoryConversation>;
  revision: number;
}

export interface MemoryDevice {
  readonly id: DeviceId;
  readonly user: MemoryUser;
  readonly cursors: Map<ConversationId, number>;
  certificate: Uint8Array;
  approved: boolean;
  ended: "revoked" | "superseded" | undefined;
  named: Pick<DeviceName, "name" | "signature"> | undefined;
}

/** From when on a user is delivered to, and up to where it was. */
export interface Stay {
  readonly since: number;
  readonly until: number | undefined;
}

export class MemoryConversation {
  readonly id: ConversationId;
  readonly kind: ConversationKind;
  readonly stays = new Map<MemoryUser, Stay>();
  /** By device. */
  readonly receipts = new Map<DeviceId, Receipt>();
  /** The record with seq n is at n - 1 - begins. */
  readonly log: Record[] = [];
  /** By device and message id: what makes `append` idempotent. */
  readonly numbers = new Map<string, Record>();
  /** Records up to this one are gone. */
  begins = 0;
  /** Seq of the newest commit. */
  commit = 0;
  readonly welcomes = new Map<DeviceId, StoredWelcome & { readonly timeMs: number; isFetched: boolean }>();
  /** By whom it was left for their other devices. */
  readonly left = new Map<MemoryUser, StoredWelcome & { readonly device: DeviceId }>();
  readonly asks = new Map<DeviceId, Ask>();
  #members: readonly UserName[] = [];

  constructor(id: ConversationId, kind: ConversationKind, members: readonly MemoryUser[]) {
    this.id = id;
    this.kind = kind;
    for (const member of members) this.admit(member, 0);
  }

  get head(): number {
    return this.begins + this.log.length;
  }

  get epoch(): number {
    if (this.commit > 0 || this.kind === ConversationKind.Group) return this.commit;
    return [...this.stays.keys()].reduce((sum, { revision }) => sum + revision, 0);
  }

  /** In order of name; the same array until somebody comes or goes. */
  get members(): readonly UserName[] {
    return this.#members;
  }

  isMember(user: MemoryUser | undefined): user is MemoryUser {
    const stay = user && this.stays.get(user);
    return stay !== undefined && stay.until === undefined;
  }

  admit(user: MemoryUser, since: number): void {
    this.stays.set(user, { since, until: undefined });
    user.conversations.add(this);
    this.#changed();
  }

  dismiss(user: MemoryUser, until: number): void {
    this.stays.set(user, { since: this.stays.get(user)!.since, until });
    this.left.delete(user);
    for (const { id } of user.devices) {
      this.receipts.delete(id);
      this.welcomes.delete(id);
      this.asks.delete(id);
    }
    this.#changed();
  }

  append(record: Record): void {
    this.log.push(record);
    this.numbers.set(`${record.device}/${record.messageId}`, record);
  }

  listed(user: MemoryUser, device: MemoryDevice | undefined): ConversationHead {
    const stay = this.stays.get(user)!;
    return {
      conversation: this.id,
      kind: this.kind,
      members: this.kind === ConversationKind.Direct ? [...this.#members] : [],
      head: stay.until ?? this.head,
      begins: Math.max(this.begins, stay.since - 1),
      cursor: device?.cursors.get(this.id) ?? 0,
      epoch: Math.min(this.epoch, stay.until ?? Infinity),
    };
  }

  #changed(): void {
    this.#members = [...this.stays].filter(([, { until }]) => until === undefined).map(([{ name }]) => name).sort();
  }
}

export class MemoryTables {
  readonly users = new Map<UserName, MemoryUser>();
  readonly devices = new Map<DeviceId, MemoryDevice>();
  readonly conversations = new Map<ConversationId, MemoryConversation>();
  /** All of them, in the order in which they came. */
  readonly records: Record[] = [];
  readonly listener: CommitListener | undefined;

  constructor(listener: CommitListener | undefined) {
    this.listener = listener;
  }

  /** The device, where it is that user's. */
  deviceOf(user: MemoryUser, id: DeviceId | undefined): MemoryDevice | undefined {
    const device = id === undefined ? undefined : this.devices.get(id);
    return device?.user === user ? device : undefined;
  }

  /** Whether a device is its user's now: neither ended nor waiting to be approved. */
  readonly isLive = (id: DeviceId): boolean => isLive(this.devices.get(id)!);
}

/** Whether a device is its user's now: neither ended nor waiting to be approved. */
export function isLive({ ended, approved, user }: MemoryDevice): boolean {
  return ended === undefined && (approved || !user.approval);
}

/** In the order of their ids. */
export function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}
