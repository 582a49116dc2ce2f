/** Key packages of the store in memory: the plain twin of `sqlite/key_packages.ts`. */
import { KEY_PACKAGES_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { sameBytes } from "../bytes.ts";
import {
  KEPT_MS,
  type KeyPackageStock,
  PACKAGE_CONVERSATIONS_MAX,
  PACKAGES_PER_HOUR_MAX,
  type StoreKeyPackages,
  TAKEN_MS,
  type TakenKeyPackage,
  type WantedKeyPackages,
} from "../groups.ts";
import type { MemoryDevice, MemoryTables } from "./rows.ts";

export class MemoryKeyPackages {
  readonly #tables: Pick<MemoryTables, "users" | "devices" | "isLive">;
  readonly #stocks = new Map<DeviceId, Stock>();
  /** In the order in which they were taken. */
  #taken: Taken[] = [];

  constructor(tables: Pick<MemoryTables, "users" | "devices" | "isLive">) {
    this.#tables = tables;
  }

  put({ user, device, oneTime, lastResort, nowMs }: StoreKeyPackages): KeyPackageStock {
    if (this.#tables.devices.get(device)?.user.name !== user) return { oneTime: 0, lastResort: false };
    const stock = this.#stockOf(device, nowMs);
    for (const bytes of oneTime) {
      const isKnown = stock.oneTime.some((kept) => sameBytes(kept.bytes, bytes)) ||
        this.#taken.some((taken) => taken.device === device && sameBytes(taken.bytes, bytes));
      if (!isKnown) stock.oneTime.push({ bytes, timeMs: nowMs });
    }
    stock.oneTime = stock.oneTime.slice(-KEY_PACKAGES_MAX);
    if (lastResort !== undefined) stock.lastResort = { bytes: lastResort, timeMs: nowMs };
    return { oneTime: stock.oneTime.length, lastResort: stock.lastResort !== undefined };
  }

  take(wanted: WantedKeyPackages): TakenKeyPackage[] {
    if (!this.#tables.users.has(wanted.user)) return [];
    return wanted.names.flatMap((name) => {
      const owner = this.#tables.users.get(name);
      const devices = [...owner?.devices ?? []].filter(({ id }) => id !== wanted.device && this.#tables.isLive(id));
      return devices.flatMap((device) => {
        const taken = this.#again(device, wanted) ?? this.#next(device, wanted);
        if (taken === undefined) return [];
        const { bytes: keyPackage, lastResort } = taken;
        return [{ user: name, device: device.id, keyPackage, lastResort }];
      });
    });
  }

  /** The next taker gets another one. */
  used(conversation: ConversationId, device: DeviceId): void {
    for (const taken of this.#taken) {
      if (taken.conversation === conversation && taken.device === device) taken.isUsed = true;
    }
  }

  /** A device has ended. */
  forget(device: DeviceId): void {
    this.#stocks.delete(device);
    this.#taken = this.#taken.filter((taken) => taken.device !== device);
  }

  sweep(nowMs: number): void {
    this.#taken = this.#taken.filter(({ timeMs }) => timeMs > nowMs - TAKEN_MS);
    for (const device of this.#stocks.keys()) this.#stockOf(device, nowMs);
  }

  #again({ id }: MemoryDevice, { user, conversation, nowMs }: WantedKeyPackages): Taken | undefined {
    return this.#lately(nowMs).find((taken) =>
      taken.device === id && taken.taker === user && taken.conversation === conversation && !taken.isUsed
    );
  }

  #next(device: MemoryDevice, { user: taker, conversation, nowMs }: WantedKeyPackages): Taken | undefined {
    const stock = this.#stockOf(device.id, nowMs), owner = device.user.name;
    const lately = this.#lately(nowMs).filter(({ lastResort }) => !lastResort);
    const others = new Set(
      lately.filter((taken) => taken.taker === taker && taken.owner === owner && taken.conversation !== conversation)
        .map((taken) => taken.conversation),
    );
    const isDrained = others.size >= PACKAGE_CONVERSATIONS_MAX ||
      lately.filter((taken) => taken.device === device.id).length >= PACKAGES_PER_HOUR_MAX;
    const oneTime = isDrained ? undefined : stock.oneTime.shift();
    const { bytes } = oneTime ?? stock.lastResort ?? {};
    if (bytes === undefined) return undefined;
    const taken: Taken = {
      taker,
      owner,
      conversation,
      device: device.id,
      bytes,
      lastResort: oneTime === undefined,
      timeMs: nowMs,
      isUsed: false,
    };
    this.#taken.push(taken);
    return taken;
  }

  #lately(nowMs: number): Taken[] {
    return this.#taken.filter(({ timeMs }) => timeMs > nowMs - TAKEN_MS);
  }

  /** Without what has had its time. */
  #stockOf(device: DeviceId, nowMs: number): Stock {
    const stock = this.#stocks.get(device) ?? { oneTime: [], lastResort: undefined };
    this.#stocks.set(device, stock);
    const isFresh = ({ timeMs }: Kept) => timeMs > nowMs - KEPT_MS;
    stock.oneTime = stock.oneTime.filter(isFresh);
    if (stock.lastResort && !isFresh(stock.lastResort)) stock.lastResort = undefined;
    return stock;
  }
}

interface Kept {
  readonly bytes: Uint8Array;
  readonly timeMs: number;
}

interface Stock {
  /** The oldest first. */
  oneTime: Kept[];
  lastResort: Kept | undefined;
}

interface Taken extends Kept {
  readonly taker: UserName;
  readonly owner: UserName;
  readonly conversation: ConversationId;
  readonly device: DeviceId;
  readonly lastResort: boolean;
  isUsed: boolean;
}
