/**
 * Leaving a group (SECURITY M6): a signed notice goes into the conversation, the server stops delivering, and whoever commits
 * next removes the leaver's devices.
 */
import { ErrorCode } from "../../../shared/errors.ts";
import type { MessageId } from "../../../shared/protocol/mod.ts";
import { UsageError } from "../../errors.ts";
import { ServerRefusal } from "../../network/failures.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { rankOf } from "./identities.ts";
import type { Loaded } from "./library.ts";
import type { Sealing } from "./sealing.ts";
import { NEW_STATE, Trouble } from "./state_row.ts";

export class Leaving {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #sealing: Sealing;

  constructor(context: Context, loaded: Loaded, sealing: Sealing) {
    this.#context = context;
    this.#loaded = loaded;
    this.#sealing = sealing;
  }

  /** @throws UsageError for the last admin while others are there, ServerRefusal, ConnectionLostError. */
  async leave(here: Conversation): Promise<void> {
    const { options: { database, ask, random, nowMs, self }, pending, traces } = this.#context, { lib } = this.#loaded;
    const id = random.bytes(16).toHex() as MessageId;
    await here.making.run(async () => {
      for (;;) {
        this.#requireAnotherHead(here);
        const group = here.sound;
        const { body, epoch, step } = await this.#sealing.seal(here, {
          id,
          timeMs: nowMs(),
          type: lib.ContentType.leaveNotice,
          content: group === undefined ? new Uint8Array() : lib.signLeave(group, self.keys.leaf),
        });
        try {
          database.transaction(() => step.write());
        } catch (error) {
          step.undo();
          throw error;
        }
        step.done();
        try {
          await ask<"leave">({ type: "leave", conversation: here.id, messageId: id, lastCommit: epoch, body });
          break;
        } catch (error) {
          if (!(error instanceof ServerRefusal) || error.code !== ErrorCode.staleEpoch) throw error;
          await here.stale(error.response.epoch);
        }
      }
      await here.exclusive(() => {
        const { seq, lastCommit } = here.state;
        here.change({
          state: { ...NEW_STATE, seq, lastCommit, trouble: Trouble.removed },
          group: null,
          joining: null,
          writes: [() => pending.drop(here.id), () => traces.restartOwn(here.id)],
        });
        return Promise.resolve();
      });
    });
  }

  #requireAnotherHead(here: Conversation): void {
    const { lib } = this.#loaded, { self } = this.#context.options, group = here.sound;
    if (group === undefined) return;
    const { members, info } = lib.rosterOf(group);
    if (info.kind !== lib.Kind.group) throw new UsageError("A direct conversation cannot be left");
    const isAlone = members.every(({ user }) => user === self.name);
    const others = info.roles.some(({ user, role }) => user !== self.name && role >= lib.Role.admin);
    const isHead = rankOf(this.#context, lib, info, lib.selfIn(group)) >= lib.Role.admin;
    if (isHead && !others && !isAlone) {
      throw new UsageError("You are the last admin of this group: make somebody else one first, or delete the group");
    }
  }
}
