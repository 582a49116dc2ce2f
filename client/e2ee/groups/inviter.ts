/**
 * Leaves at the server, for each new epoch that this device is in, what lets its user's other devices in by themselves
 * (docs/PROTOCOL.md §15.5): who logs in on a new device need not wait until anybody is there.
 *
 * Nobody waits for it but a program that ends. What was not left, with the next connection it is.
 */
import type { ConversationId } from "../../../shared/protocol/mod.ts";
import { ServerRefusal } from "../../network/failures.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import type { Loaded } from "./library.ts";
import { sealOwnInvitation } from "./own_invitation.ts";

export class Inviter {
  readonly #context: Context;
  readonly #loaded: Loaded;
  /** Conversations that are seen to, and whether they have changed meanwhile. */
  readonly #busy = new Map<ConversationId, boolean>();
  readonly #leaving = new Set<Promise<void>>();

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /** This device is in an epoch, a new one perhaps. */
  soon(here: Conversation): void {
    if (this.#busy.has(here.id)) {
      this.#busy.set(here.id, true);
      return;
    }
    this.#busy.set(here.id, false);
    this.#context.background.run(async () => {
      try {
        do {
          this.#busy.set(here.id, false);
          if (!this.#isDue(here)) return;
          await this.#turn(here);
          const leaving = this.#leave(here);
          this.#leaving.add(leaving);
          await leaving.finally(() => this.#leaving.delete(leaving));
        } while (this.#busy.get(here.id));
      } finally {
        this.#busy.delete(here.id);
      }
    }, { pauses: true });
  }

  /** Resolves when what is being left has been. Never rejects. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#leaving]);
  }

  /** What was left for which commit, under which key. */
  #isDue(here: Conversation): boolean {
    const mark = this.#markOf(here);
    return mark !== undefined && this.#context.options.database.meta(placeOf(here.id)) !== mark;
  }

  #markOf({ state }: Conversation): string | undefined {
    const key = this.#context.options.accountKey?.();
    return key === undefined || state.joined === 0
      ? undefined
      : `${state.lastCommit} ${key.publicKey.toHex().slice(0, 16)}`;
  }

  /** In a larger group somebody is there more often, and all would leave a tree at once for each commit of a row. */
  async #turn(here: Conversation): Promise<void> {
    const group = here.sound, { lib } = this.#loaded;
    const devices = group === undefined ? 0 : lib.rosterOf(group).members.length;
    if (devices <= AT_ONCE_MAX) return;
    const { random } = this.#context.options, [byte] = random.bytes(1);
    await this.#context.background.pause(DELAY_MS + devices * EACH_MS * byte! / 255);
  }

  async #leave(here: Conversation): Promise<void> {
    const { lib, mls } = this.#loaded, { options } = this.#context, { self, random, database } = options;
    const key = options.accountKey?.(), mark = this.#markOf(here);
    // Of one moment: an invitation under a later commit's number would lead out of the group.
    const { sound: group, state: { lastCommit } } = here;
    if (key === undefined || mark === undefined || group === undefined) return;
    if (lib.rosterOf(group).members.length > DEVICES_MAX) return;
    const { groupInfo, sealedTree: tree } = await lib.makeInvitation(mls, group);
    if (tree.length > TREE_BYTES_MAX) return;
    const place = { clusterId: self.clusterId, user: self.name, conversation: here.id, commit: lastCommit };
    const body = sealOwnInvitation(place, { by: self.keys.id, publicKey: key.publicKey, groupInfo, random });
    if (body === undefined) return;
    const welcome = { device: self.keys.id, body };
    try {
      await options.ask<"invite">({ type: "invite", conversation: here.id, lastCommit, welcome, tree });
    } catch (error) {
      // A newer commit, most likely: it is on its way here, and brings this about again.
      if (error instanceof ServerRefusal) return;
      throw error;
    }
    database.transaction(() => database.setMeta(placeOf(here.id), mark));
  }
}

function placeOf(id: ConversationId): string {
  return `left-for-own ${id}`;
}

/** What all devices of all members leave for one commit grows with the square of their number. */
const DEVICES_MAX = 64;
const TREE_BYTES_MAX = 512 * 1024;
/** Up to here it is left at once. */
const AT_ONCE_MAX = 8;
const DELAY_MS = 2_000;
const EACH_MS = 250;
