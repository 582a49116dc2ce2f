/**
 * Into a direct conversation (SECURITY M7): its group is made where there is none, joined where there is one, and made anew where
 * nobody is left in it. Whose it is, its id says, so whoever comes first may make it.
 */
import { equalBytes, fingerprint } from "../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import type { ConversationId, UserName } from "../../../shared/protocol/mod.ts";
import { RefusedError } from "../../errors.ts";
import { NotReadyError } from "../engine.ts";
import type { CheckedKeyPackage, GroupInfo } from "../mls/mod.ts";
import { ASK_DEVICE } from "./chores.ts";
import type { Committer } from "./committer.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { certifiedDevices } from "./identities.ts";
import type { Joiner } from "./joiner.ts";
import type { Loaded } from "./library.ts";
import type { Newcomer, Newcomers } from "./newcomers.ts";
import { noKeys, WAITING } from "./reasons.ts";

export class Founder {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #joiner: Joiner;
  readonly #committer: Committer;
  readonly #newcomers: Newcomers;

  constructor(
    context: Context,
    loaded: Loaded,
    parts: { readonly joiner: Joiner; readonly committer: Committer; readonly newcomers: Newcomers },
  ) {
    this.#context = context;
    this.#loaded = loaded;
    this.#joiner = parts.joiner;
    this.#committer = parts.committer;
    this.#newcomers = parts.newcomers;
  }

  /** @throws NotReadyError where it takes others; KeyChangedError, RefusedError, ConnectionLostError. */
  async enter(here: Conversation): Promise<void> {
    if (here.isFounding) await here.making.run(() => this.#committer.settle(here));
    if (here.sound !== undefined) return;
    const peer = this.#context.options.peerOf(here.id), { base } = here.state;
    if (peer === undefined || here.state.lastCommit > base) {
      await this.#joiner.seek(here);
      if (here.sound !== undefined) return;
      const { lastCommit } = here.state;
      if (peer !== undefined && await this.#isAbandoned(here, peer)) await this.#found(here, peer, lastCommit);
    } else {
      // Behind a restored backup the newest commit may be another one than this device knew: then the server names it.
      for (let attempt = 0; attempt < 2 && here.sound === undefined && here.state.lastCommit <= base; attempt++) {
        await this.#found(here, peer, here.state.lastCommit);
      }
    }
    if (here.sound !== undefined) return;
    await this.#joiner.seek(here);
    if (here.sound === undefined) throw new NotReadyError(WAITING, this.#joiner.whenIn(here));
  }

  /** The other one as the directory shows them: another identity may be on its way into the group. @throws KeyChangedError */
  requireShown(id: ConversationId): void {
    const { people, peerOf } = this.#context.options, peer = peerOf(id);
    const pinned = peer && people.pinned(peer), entry = peer && people.entry(peer);
    if (peer === undefined || !pinned || !entry) return;
    const shown = fingerprint(entry.identityKey);
    if (!equalBytes(shown, pinned)) throw people.changed(peer, shown);
  }

  usersOf(id: ConversationId): UserName[] {
    const { self, peerOf } = this.#context.options, peer = peerOf(id);
    return peer === undefined || peer === self.name ? [self.name] : [peer, self.name];
  }

  /** This user's devices, as newcomers. */
  get own(): Newcomer {
    const { name, identity } = this.#context.options.self;
    return { name, identity: identity.toHex() };
  }

  async #found(here: Conversation, peer: UserName, lastCommit: number): Promise<void> {
    const { lib, mls } = this.#loaded, { options: { nowMs }, device } = this.#context;
    const add = await this.#members(here, peer);
    const info = { kind: lib.Kind.direct, ...EMPTY_INFO };
    const group = await lib.createGroup(mls, device, { conversation: here.id, info, nowMs: nowMs() });
    await this.#committer.found(here, group, { add }, lastCommit);
  }

  /**
   * Whether nobody is left in it who could let anybody in: every device that the log of keys and the directory show of both waits
   * for that itself. What a server makes up of it gets it nothing but a conversation of the same two people that begins anew.
   */
  async #isAbandoned(here: Conversation, peer: UserName): Promise<boolean> {
    const { people, keyLog, self, ask } = this.#context.options, users = this.usersOf(here.id);
    if (here.group !== undefined) return false;
    await people.fetch(users);
    this.requireShown(here.id);
    const { asks } = await ask<"asks">({ type: "asks", conversation: here.id, after: undefined });
    const waiting = new Set(asks.filter(({ kind }) => kind === ASK_DEVICE).map(({ device }) => device));
    return users.every((user) => {
      const pinned = people.pinned(user), entry = people.entry(user);
      const devices = pinned === undefined ? [] : certifiedDevices(entry, user, pinned.toHex());
      const usable = devices.filter((device) => keyLog.isUsable(user, device));
      return (usable.length > 0 || user !== peer) &&
        usable.every((device) => device === self.keys.id || waiting.has(device));
    });
  }

  /** All devices of both that can be added; at least one of the other's. */
  async #members(here: Conversation, peer: UserName): Promise<CheckedKeyPackage[]> {
    const { people, self, timers } = this.#context.options;
    await people.fetch(peer === self.name ? [peer] : [peer, self.name]);
    const identity = people.pinned(peer), shown = people.entry(peer);
    if (identity === undefined || shown === undefined) {
      throw new RefusedError(`There is nobody called ${peer}`, ErrorCode.unknownName);
    }
    const offered = fingerprint(shown.identityKey);
    if (!equalBytes(offered, identity)) throw people.changed(peer, offered);
    const wanted = [this.own];
    if (peer !== self.name) wanted.unshift({ name: peer, identity: identity.toHex() });
    const add = await this.#newcomers.packages(here.id, wanted, (device) => device !== self.keys.id);
    if (peer !== self.name && !add.some(({ holder }) => holder.user === peer)) {
      const ready = new Promise<void>((resolve) => timers.after(NO_KEYS_RETRY_MS, resolve));
      throw new NotReadyError(noKeys(peer), ready);
    }
    return add;
  }
}

/** A description that says nothing yet. */
export const EMPTY_INFO: Omit<GroupInfo, "kind"> = {
  name: "",
  topic: "",
  roles: [],
  membersAdd: false,
  historySinceMs: 0,
  invites: [],
};
const NO_KEYS_RETRY_MS = 30_000;
