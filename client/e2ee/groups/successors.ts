/**
 * Whose devices come in place of whose between two people: where a person has accepted another identity of the other one, those
 * under it for those under the former (docs/PROTOCOL.md §15.4). Only together: nobody is put out for somebody who cannot come in.
 */
import type { DeviceId, UserName } from "../../../shared/protocol/mod.ts";
import type { CheckedKeyPackage, Roster } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { certifiedDevices, displaced, meet } from "./identities.ts";
import type { Loaded } from "./library.ts";
import type { Newcomers } from "./newcomers.ts";

export interface Succession {
  /** Whose former identity is still in it, whether they can be let in or not. */
  readonly names: ReadonlySet<UserName>;
  /** Leaves under the former one, if somebody comes for them. */
  readonly remove: readonly number[];
  readonly add: readonly CheckedKeyPackage[];
}

export class Successors {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #newcomers: Newcomers;

  constructor(context: Context, loaded: Loaded, newcomers: Newcomers) {
    this.#context = context;
    this.#loaded = loaded;
    this.#newcomers = newcomers;
  }

  /** @throws ConnectionLostError, ServerRefusal */
  async in(here: Conversation, roster: Roster): Promise<Succession> {
    const { people } = this.#context.options, { lib } = this.#loaded, { members, info } = roster;
    if (info.kind !== lib.Kind.direct) return NOBODY;
    // In a home of an earlier version.
    meet(this.#context, roster, lib);
    const names = new Set((await displaced(this.#context, members)).map(({ user }) => user));
    const remove: number[] = [], add: CheckedKeyPackage[] = [];
    for (const name of names) {
      const identity = people.pinned(name)!.toHex();
      const devices = new Set<DeviceId>(certifiedDevices(people.entry(name), name, identity));
      const found = await this.#newcomers.packagesOf(here.id, [{ name, identity }], devices);
      if (found.length === 0) continue;
      add.push(...found);
      remove.push(...members.filter(({ user }) => user === name).map(({ leaf }) => leaf));
    }
    return { names, remove, add };
  }
}

const NOBODY: Succession = { names: new Set(), remove: [], add: [] };
