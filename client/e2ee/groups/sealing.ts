/** Seals texts for a conversation (SECURITY M2, M4, M16): the key that is used up is on disk before the message leaves. */
import { InnerType, NO_PREVIOUS, sealEnvelope } from "../../../shared/crypto/mod.ts";
import type { MessageId } from "../../../shared/protocol/mod.ts";
import { FastChatError } from "../../errors.ts";
import { NotReadyError, type Sealed } from "../engine.ts";
import type { Group } from "../mls/mod.ts";
import { mlsBody } from "./body.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import type { Loaded } from "./library.ts";
import { blockedBy } from "./reasons.ts";

export interface ToSeal {
  readonly id: MessageId;
  readonly timeMs: number;
  readonly type: number;
  readonly content: Uint8Array;
}

export class Sealing {
  readonly #context: Context;
  readonly #loaded: Loaded;

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /** @throws FastChatError where nothing may be sent now. */
  async seal(here: Conversation, { id, timeMs, type, content }: ToSeal): Promise<Sealed> {
    const release = await here.lock();
    try {
      const { lib, mls } = this.#loaded, { options: { self, keyLog }, traces } = this.#context, { state } = here;
      const group = here.sound;
      if (group === undefined) throw new FastChatError(blockedBy(state) ?? "This conversation is not ready yet");
      if (!here.isCaughtUp) throw new NotReadyError("Rows of this conversation are still to be read", here.caughtUp());
      const counter = traces.sentUnder(here.id, id) ?? state.counter + 1;
      const sealed = await lib.sealMessage(mls, group, {
        type,
        messageId: id,
        counter,
        timeMs,
        content,
        view: {
          seq: state.isTraced ? state.seq : 0,
          history: state.isTraced ? state.history : lib.NO_HISTORY,
          keyLog: keyLog.head,
        },
      });
      const body = this.#isFirst(here, counter)
        ? await this.#enveloped(here, sealed.group, sealed.body, { id, timeMs, counter })
        : mlsBody(sealed.body);
      const step = here.step({
        state: { ...state, counter: Math.max(state.counter, counter), keysUsed: state.keysUsed + 1 },
        group: sealed.group,
        writes: [
          () => traces.setSeen(here.id, self.keys.id, id, state.seq),
          () => traces.setSent(here.id, id, counter),
        ],
        wipe: sealed.wipe,
      }, release);
      return { body, epoch: state.lastCommit, counter, step };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** To somebody from whom nothing came yet: who reads it must hold the RSA keys of the directory, and the group's. */
  #isFirst(here: Conversation, counter: number): boolean {
    const { lib } = this.#loaded, roster = lib.rosterOf(here.group!);
    return counter === 1 && !here.state.heard && roster.info.kind === lib.Kind.direct && roster.members.length > 1;
  }

  async #enveloped(
    here: Conversation,
    group: Group,
    bytes: Uint8Array,
    { id, timeMs, counter }: { readonly id: MessageId; readonly timeMs: number; readonly counter: number },
  ): Promise<Uint8Array> {
    const { lib } = this.#loaded, { options: { self, peerOf }, certificates } = this.#context;
    const { members } = lib.rosterOf(group), peer = peerOf(here.id);
    const others = members.filter(({ device }) => device !== self.keys.id);
    const devices = await Promise.all(others.map(async ({ device, leaf }) => {
      const verdict = await certificates.verify(lib.certificateOf(group, leaf)!);
      if (!verdict.ok) throw new FastChatError(`A certificate in this conversation is bad: ${verdict.reason}`);
      return { id: device, envelopeKey: verdict.envelopeKey };
    }));
    const recipient = others.find(({ user }) => user === peer) ?? others[0]!;
    return await sealEnvelope({
      clusterId: self.clusterId,
      sender: { identity: self.identity, device: self.keys.id, leaf: self.keys.leaf },
      recipientIdentity: Uint8Array.fromHex(recipient.identity),
      devices,
      conversation: here.id,
      messageId: id,
      counter,
      previous: NO_PREVIOUS,
      timeMs,
      text: { type: InnerType.mls, bytes },
    });
  }
}
