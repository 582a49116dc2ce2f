/** Users and their devices, of the store in memory: the plain twin of `sqlite/accounts.ts`. */
import { deviceEntry } from "../../../shared/crypto/mod.ts";
import { ACQUAINTED_MAX, DEVICES_PER_USER_MAX, KEY_ENTRIES_PER_USER_MAX } from "../../../shared/limits.ts";
import type { DeviceId, DirectoryEntry, UserName } from "../../../shared/protocol/mod.ts";
import { sameBytes } from "../bytes.ts";
import { ConversationKind } from "../groups.ts";
import type { Account, DeviceName, DeviceStanding, KeyChange, NewDevice, NewUser } from "../store.ts";
import type { MemoryKeyLog } from "./key_log.ts";
import { byId, isLive, type MemoryDevice, type MemoryTables, type MemoryUser } from "./rows.ts";
import type { MemorySessions } from "./sessions.ts";

export interface MemoryAccountsParts {
  readonly keyLog: MemoryKeyLog;
  readonly sessions: MemorySessions;
  /** A device has ended: nothing is kept for it. */
  forget(device: DeviceId): void;
}

export class MemoryAccounts {
  readonly #tables: MemoryTables;
  readonly #parts: MemoryAccountsParts;

  constructor(tables: MemoryTables, parts: MemoryAccountsParts) {
    this.#tables = tables;
    this.#parts = parts;
  }

  createUser(user: NewUser): "created" | "name-taken" {
    const device = this.#tables.devices.get(user.device.id), known = this.#tables.users.get(user.name);
    if (known !== undefined) {
      const retried = device?.user === known && sameBytes(device.certificate, user.device.certificate) &&
        sameBytes(known.identityKey, user.identityKey);
      return retried ? "created" : "name-taken";
    }
    if (device !== undefined) return "name-taken";
    const { name, stretching, passwordHash, identityKey, backup } = user;
    const made: MemoryUser = {
      name,
      stretching,
      passwordHash,
      identityKey,
      backup,
      recovery: undefined,
      password: undefined,
      devices: [],
      revision: 1,
      generation: 0,
      approval: false,
      conversations: new Set(),
    };
    this.#tables.users.set(name, made);
    this.#addDevice(made, user.device).approved = true;
    this.#parts.keyLog.add(name, deviceEntry(user.device.certificate));
    return "created";
  }

  account(name: UserName): Account | undefined {
    const user = this.#tables.users.get(name);
    if (user === undefined) return undefined;
    const { stretching, passwordHash, identityKey, backup } = user;
    const devices = user.devices.filter(isLive).map(({ id, certificate }) => ({ id, certificate }));
    return { name, stretching: { ...stretching }, passwordHash, identityKey, backup, devices };
  }

  addDevice(
    name: UserName,
    device: NewDevice,
    identityKey?: Uint8Array,
  ): "added" | "unapproved" | "limit" | "id-taken" {
    const user = this.#tables.users.get(name), { keyLog } = this.#parts;
    if (user === undefined) throw new RangeError(`Cannot add a device: there is no user ${name}`);
    if (identityKey !== undefined && !sameBytes(user.identityKey, identityKey)) return "id-taken";
    const known = this.#tables.devices.get(device.id);
    const returns = known?.user === user && known.ended === "superseded" &&
      !sameBytes(known.certificate, device.certificate);
    if (known !== undefined && !returns) {
      const same = known.user === user && known.ended === undefined && sameBytes(known.certificate, device.certificate);
      if (!same) return "id-taken";
      return isLive(known) ? "added" : "unapproved";
    }
    if (user.devices.filter(({ ended }) => ended !== "revoked").length >= DEVICES_PER_USER_MAX) return "limit";
    if (keyLog.countOf(name) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const approved = !hasApproved(user);
    if (returns) Object.assign(known!, { certificate: device.certificate, ended: undefined, approved });
    else moveCursors(Object.assign(this.#addDevice(user, device), { approved }));
    keyLog.add(name, deviceEntry(device.certificate));
    this.#devicesMoved(user);
    return user.approval && !approved ? "unapproved" : "added";
  }

  changeKeys({ user: name, after, entry, effect }: KeyChange): "done" | "moved" | "limit" {
    const user = this.#tables.users.get(name), { keyLog, sessions } = this.#parts;
    if (user === undefined) throw new RangeError(`Cannot change keys: there is no user ${name}`);
    if (keyLog.newestOf(name) !== after) return "moved";
    if (effect.type !== "revoke" && keyLog.countOf(name) >= KEY_ENTRIES_PER_USER_MAX) return "limit";
    const id = effect.type === "rotate" ? effect.device.id : effect.type === "policy" ? undefined : effect.device;
    const device = this.#tables.deviceOf(user, id);
    if (id !== undefined && device === undefined) {
      throw new RangeError(`Cannot change keys: ${name} has no such device`);
    }
    keyLog.add(name, entry);
    switch (effect.type) {
      case "approve":
        if (!isLive(device!)) moveCursors(device!);
        device!.approved = true;
        break;
      case "revoke":
        this.#end(device!, "revoked");
        device!.cursors.clear();
        device!.named = undefined;
        sessions.endOf(user, device!.id);
        // Somebody must be able to approve the next: of those that are left, whoever came first (docs/PROTOCOL.md §16.1).
        if (!hasApproved(user)) {
          Object.assign(user.devices.find(({ ended }) => ended === undefined) ?? {}, { approved: true });
        }
        break;
      case "policy":
        user.approval = effect.approval;
        break;
      case "rotate":
        for (const other of user.devices) if (other.ended === undefined) this.#end(other, "superseded");
        Object.assign(device!, { certificate: effect.device.certificate, ended: undefined, approved: true });
        // By the old identity, both: a recovery key would bring that one back.
        Object.assign(user, { recovery: undefined, password: undefined });
        Object.assign(user, { identityKey: effect.identityKey, backup: effect.backup });
        sessions.raise(name, effect.keep);
    }
    this.#devicesMoved(user);
    return "done";
  }

  device(name: UserName, id: DeviceId): DeviceStanding | undefined {
    const device = this.#tables.devices.get(id);
    if (device?.user.name !== name) return undefined;
    return { certificate: device.certificate, standing: device.ended ?? (isLive(device) ? "live" : "unapproved") };
  }

  nameDevice(name: UserName, id: DeviceId, named: Pick<DeviceName, "name" | "signature">): void {
    const device = this.#tables.devices.get(id);
    if (device?.user.name !== name) throw new RangeError(`Cannot name a device: ${name} has no such device`);
    device.named = { name: named.name, signature: named.signature };
  }

  deviceNames(name: UserName): DeviceName[] {
    return (this.#tables.users.get(name)?.devices ?? []).flatMap(({ id, named, ended }) =>
      named === undefined || ended === "revoked" ? [] : [{ device: id, ...named }]
    );
  }

  users(after: string, limit: number): UserName[] {
    return [...this.#tables.users.keys()].filter((name) => name > after).sort().slice(0, limit);
  }

  directory(names: readonly UserName[]): DirectoryEntry[] {
    return names.flatMap((name) => {
      const user = this.#tables.users.get(name);
      if (user === undefined) return [];
      const certificates = user.devices.filter(isLive).map((device) => device.certificate);
      return [{ name, identityKey: user.identityKey, deviceRevision: user.revision, certificates }];
    });
  }

  #addDevice(user: MemoryUser, { id, certificate }: NewDevice): MemoryDevice {
    const device: MemoryDevice = {
      id,
      certificate,
      user,
      cursors: new Map(),
      approved: false,
      ended: undefined,
      named: undefined,
    };
    user.devices.push(device);
    this.#tables.devices.set(id, device);
    return device;
  }

  /** The user's devices are others than before: whoever shares a conversation with them hears of it. */
  #devicesMoved(user: MemoryUser): void {
    user.revision++;
    const conversations = [...user.conversations].filter(({ kind }) => kind === ConversationKind.Direct).toSorted(byId)
      .map(({ id, epoch, members }) => ({ id, epoch, members }));
    // Of a group that they are out of they may still read, and are nobody's acquaintance.
    const groups = [...user.conversations].filter(({ kind }) => kind === ConversationKind.Group)
      .map(({ members }) => [...members]).filter((members) => members.includes(user.name));
    const names = new Set(groups.flat());
    names.delete(user.name);
    this.#tables.listener?.devicesChanged({
      user: user.name,
      conversations,
      keyLogLength: this.#parts.keyLog.length,
      ...(names.size > 0 && { acquainted: [...names].sort().slice(0, ACQUAINTED_MAX) }),
    });
  }

  #end(device: MemoryDevice, how: NonNullable<MemoryDevice["ended"]>): void {
    device.ended = how;
    this.#parts.forget(device.id);
  }
}

/** Whether one of a user's devices is there and approved. */
function hasApproved({ devices }: MemoryUser): boolean {
  return devices.some(({ ended, approved }) => ended === undefined && approved);
}

/** It begins at the heads of now: nothing earlier was sealed for it. */
function moveCursors({ user, cursors }: MemoryDevice): void {
  for (const { id, stays, head } of user.conversations) cursors.set(id, stays.get(user)?.until ?? head);
}
