/** Key packages of devices that are to come into a group, each checked against the identity its user has (SECURITY M8, M10). */
import type { ConversationId, DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import { RequestError } from "../../../shared/errors.ts";
import type { CheckedKeyPackage } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Loaded } from "./library.ts";

export interface Newcomer {
  readonly name: UserName;
  /** The identity it must be certified by, as hex. */
  readonly identity: string;
}

export class Newcomers {
  readonly #context: Context;
  readonly #loaded: Loaded;
  /** Devices that left no package that could be used, and until when nobody asks again. */
  readonly #without = new Map<string, number>();

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /** Somebody's devices changed, or one asks: packages may be there now. */
  forget(): void {
    this.#without.clear();
  }

  isWithout(id: ConversationId, device: DeviceId): boolean {
    return (this.#without.get(`${id} ${device}`) ?? 0) > this.#context.options.nowMs();
  }

  /**
   * One package of each device of these users that `wanted` names; a device without a good one is passed over for a while.
   *
   * @throws ConnectionLostError
   */
  async packages(
    id: ConversationId,
    newcomers: readonly Newcomer[],
    wanted: (device: DeviceId) => boolean,
  ): Promise<CheckedKeyPackage[]> {
    const { lib, mls } = this.#loaded, { options: { ask, nowMs, keyLog } } = this.#context;
    const found: CheckedKeyPackage[] = [], seen = new Set<DeviceId>();
    for (let at = 0; at < newcomers.length; at += NAMES_AT_ONCE) {
      const asked = newcomers.slice(at, at + NAMES_AT_ONCE);
      await keyLog.follow(asked.map(({ name }) => name));
      const { packages } = await ask<"takeKeyPackages">({
        type: "takeKeyPackages",
        conversation: id,
        names: asked.map(({ name }) => name),
      });
      for (const { keyPackage } of packages) {
        const verdict = await lib.readKeyPackage(mls, keyPackage, { nowMs: nowMs() });
        if (!verdict.ok) continue;
        const { user, device, identity, notAfterMs } = verdict.holder;
        const isAsked = asked.some((one) => one.name === user && one.identity === identity);
        // The library has no patience with clocks that go ahead of this one.
        const isValid = verdict.keyPackage.leafNode.leafNodeSource === "key_package" &&
          Number(verdict.keyPackage.leafNode.lifetime.notBefore) * 1000 <= nowMs();
        const isGood = isValid && isAsked && wanted(device) && !seen.has(device) && notAfterMs > nowMs() &&
          keyLog.isUsable(user, device);
        if (!isGood) continue;
        seen.add(device);
        found.push(verdict);
      }
    }
    return found;
  }

  /** The same, of devices that are named; what a refusal of the server leaves out waits. */
  async packagesOf(
    id: ConversationId,
    newcomers: readonly Newcomer[],
    devices: ReadonlySet<DeviceId>,
  ): Promise<CheckedKeyPackage[]> {
    const missing = new Set([...devices].filter((device) => !this.isWithout(id, device)));
    if (missing.size === 0) return [];
    try {
      const found = await this.packages(id, newcomers, (device) => missing.has(device));
      for (const { holder } of found) missing.delete(holder.device);
      return found;
    } catch (error) {
      // Nobody is kept from talking because one device's packages are not to be had.
      if (!(error instanceof RequestError)) throw error;
      return [];
    } finally {
      const until = this.#context.options.nowMs() + PATIENCE_MS;
      for (const device of missing) this.#without.set(`${id} ${device}`, until);
    }
  }
}

/** Devices that one commit lets in at most: with their Welcomes they stay within what a row and a request may carry. */
export const DEVICES_AT_ONCE = 256;
const NAMES_AT_ONCE = 16;
const PATIENCE_MS = 10 * 60_000;
