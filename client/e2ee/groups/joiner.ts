/**
 * Coming into a conversation: by a Welcome in the commit's row, or, for a device that has no state, lost it or was put back
 * (SECURITY M11), by asking the members and joining by itself with what one of them hands over.
 */
import { directConversationId, InnerType } from "../../../shared/crypto/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import type { ConversationId, MessageId, RequestOf, ResponseOf, UserName } from "../../../shared/protocol/mod.ts";
import { Rounds } from "../../../shared/rounds.ts";
import { ServerRefusal } from "../../network/failures.ts";
import type { Warning } from "../engine.ts";
import type { Group, Roster } from "../mls/mod.ts";
import { mlsBody } from "./body.ts";
import { claimedBy } from "./claims.ts";
import type { Committer } from "./committer.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { historyOf } from "./history.ts";
import { identitiesOf } from "./grounds.ts";
import { currentIdentity, identityWarnings, meet } from "./identities.ts";
import { type OpenedLetter, openLetter } from "./letter.ts";
import type { Inviter } from "./inviter.ts";
import type { Loaded } from "./library.ts";
import { changedMeanwhile } from "./meanwhile.ts";
import { isOwnInvitation, openOwnInvitation } from "./own_invitation.ts";
import { DISMISSED, rejoined, welcomeRefused } from "./reasons.ts";
import { type ConversationState, NEW_STATE, Trouble } from "./state_row.ts";
import type { Result } from "./result.ts";

type Found = NonNullable<ResponseOf<"welcome">["welcome"]>;

export class Joiner {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #committer: Committer;
  readonly #inviter: Inviter;
  /** What the server had for this device when a row was reached. */
  readonly #looked = new Map<ConversationId, { readonly seq: number; readonly found: Found | undefined }>();
  readonly #seeking = new WeakMap<Conversation, Rounds>();
  readonly #waiting = new Map<ConversationId, PromiseWithResolvers<void>>();
  readonly #asked = new Set<ConversationId>();
  readonly #alone = new Set<ConversationId>();
  /** The commit whose Welcome was no good. */
  readonly #bad = new Map<ConversationId, number>();

  constructor(
    context: Context,
    loaded: Loaded,
    { committer, inviter }: { readonly committer: Committer; readonly inviter: Inviter },
  ) {
    this.#context = context;
    this.#loaded = loaded;
    this.#committer = committer;
    this.#inviter = inviter;
  }

  /** Resolves when this device is in. */
  whenIn(here: Conversation): Promise<void> {
    let waiting = this.#waiting.get(here.id);
    if (waiting === undefined) this.#waiting.set(here.id, waiting = Promise.withResolvers());
    return waiting.promise;
  }

  isIn(here: Conversation): void {
    const { id } = here;
    this.#inviter.soon(here);
    this.#waiting.get(id)?.resolve();
    this.#waiting.delete(id);
    if (this.#asked.delete(id)) {
      const { ask, self } = this.#context.options;
      this.#context.background.run(async () => {
        await ask<"dropAsk">({ type: "dropAsk", conversation: id, device: self.keys.id });
      });
    }
  }

  /**
   * This device can neither read nor write: whatever lets it in is sought, in the background.
   *
   * @returns When it was looked for once, whatever came of it.
   */
  wantsIn(here: Conversation): Promise<void> {
    return this.#context.background.run(async () => {
      // Behind what goes on here now: the row that shows it may change the state first.
      await here.exclusive(() => Promise.resolve());
      await this.seek(here);
    });
  }

  /** A new connection, or news of a Welcome: what was asked may have been answered meanwhile. */
  forget(id?: ConversationId): void {
    for (const known of [this.#asked, this.#looked]) {
      if (id === undefined) known.clear();
      else known.delete(id);
    }
  }

  /** Whether it joins by what another device of its user's left, without having asked anybody: it has lost nothing. */
  isFirst(id: ConversationId): boolean {
    return this.#alone.has(id);
  }

  /** What was found for a commit's row: nothing known yet, nothing there, or a Welcome that belongs to it. */
  foundFor(id: ConversationId, seq: number): Found | "none" | undefined {
    const looked = this.#looked.get(id), found = looked?.found;
    if (looked === undefined) return undefined;
    if (found !== undefined && !found.isInvitation && found.commit === seq) return found;
    return looked.seq === seq || (found !== undefined && found.commit > seq) ? "none" : undefined;
  }

  /** The same for a message's row: a Welcome that is older, whose own row was not for this device to read. */
  foundBefore({ id, state }: Conversation, seq: number): Found | "none" | undefined {
    const looked = this.#looked.get(id), found = looked?.found;
    if (looked === undefined) return undefined;
    // Who could not join by it would be offered this row for ever.
    if (!isWelcome(found) || found.commit === this.#bad.get(id)) return "none";
    return found.commit >= state.lastCommit && found.commit < seq ? found : "none";
  }

  /** Asks for a Welcome. Never rejects: without a connection it takes a while, and the row is offered again. */
  async look(id: ConversationId, seq: number): Promise<void> {
    const { ask } = this.#context.options;
    try {
      const { welcome } = await ask<"welcome">({ type: "welcome", conversation: id });
      this.#looked.set(id, { seq, found: welcome });
    } catch {
      await this.#context.background.pause(RETRY_MS).catch(() => {});
    }
  }

  /** Joins by a Welcome whose row is not taken here. Never rejects for what others wrote. */
  async joinLate(here: Conversation, found: Found): Promise<void> {
    await here.exclusive(async () => {
      if (!here.isOut) return;
      const { next, taken } = await this.joined(here, found);
      here.change(next);
      // A Welcome that was no good is not looked at again.
      if (here.isOut) this.#looked.set(here.id, { seq: here.state.seq, found: undefined });
      if (taken.kind === "change" || taken.kind === "nothing") this.#context.options.onJoined(here.id, taken);
    });
    if (here.sound !== undefined) this.#context.options.onChanged(here.id);
  }

  /**
   * What joining by a Welcome makes of a conversation.
   *
   * @param by Whose row it belongs to, where that is at hand.
   */
  async joined(here: Conversation, found: Found, by?: UserName): Promise<Result> {
    const { lib, mls } = this.#loaded, { options: { self, nowMs }, device, shelf, pending, traces } = this.#context;
    const isInGroup = here.group !== undefined && !here.isFounding;
    const { state } = here, seq = found.commit, seen = { ...state, lastCommit: Math.max(state.lastCommit, seq) };
    // A Welcome that is no good clears up nothing: the row says that there is a later group, or this home is still an older copy.
    const stopped = (now: ConversationState): ConversationState => {
      if (!isInGroup) return { ...now, trouble: Trouble.none };
      return state.trouble === Trouble.rolledBack || by === undefined ? now : claimedBy(now, by);
    };
    const failed = (reason: string): Result => {
      // The server holds it for an answer to what was asked: it is asked anew.
      this.#asked.delete(here.id);
      this.#bad.set(here.id, found.commit);
      this.wantsIn(here);
      return {
        taken: { kind: "nothing", warnings: [welcomeRefused(reason)] },
        next: { state: stopped(seen) },
      };
    };
    // Told once, whichever way it is come upon.
    if (this.#bad.get(here.id) === found.commit) {
      return { taken: { kind: "nothing", warnings: [] }, next: { state: seen } };
    }
    const letter = await openLetter({
      self,
      certificates: this.#context.certificates,
      conversation: here.id,
      type: InnerType.welcome,
    }, found.body);
    if (letter === undefined) return failed("it is not for this device, or was changed on its way");
    let joined: Awaited<ReturnType<typeof lib.joinFromWelcome>>;
    try {
      joined = await lib.joinFromWelcome(mls, {
        conversation: here.id,
        welcome: letter.content,
        device,
        keyPackages: (ref) => shelf.find(ref),
        used: (ref) => shelf.isUsed(ref),
        sealedTree: found.tree,
      });
    } catch (error) {
      if (error instanceof lib.JoinRefused) return failed(error.message);
      throw error;
    }
    const { group, keyPackage } = joined, roster = lib.rosterOf(group);
    const fault = this.#placeFault(here.id, roster, letter) ?? this.#strangerFault(here, letter) ??
      this.#olderFault(here, group);
    if (fault !== undefined) return failed(fault);
    const next = {
      ...NEW_STATE,
      seq: Math.max(state.seq, seq),
      history: historyOf(lib, seq, group),
      // What was passed by meanwhile is not in it.
      isTraced: state.seq <= seq,
      lastCommit: seq,
      joined: seq,
      authenticators: [{ epoch: lib.epochOf(group), value: lib.authenticatorOf(group) }],
      keysMs: nowMs(),
      keysDue: keyPackage.lastResort,
      heard: roster.info.kind === lib.Kind.group,
    };
    const changed = this.meanwhile(here, roster);
    const warnings: Warning[] = [
      ...(state.missed > 0 || changed !== "" ? [rejoined(state.missed, changed)] : []),
      ...identityWarnings(this.#context, roster.members),
    ];
    const writes = [
      () => traces.setHistory(here.id, seq, next.history),
      () => shelf.use(keyPackage),
      () => pending.drop(here.id),
      () => traces.restartOwn(here.id),
      ...roster.members.map(({ device }) => () => traces.restart(here.id, device, undefined)),
    ];
    const isGroup = roster.info.kind === lib.Kind.group;
    const { user, device: byDevice } = letter.from;
    return {
      taken: isGroup
        ? {
          kind: "change",
          by: user,
          device: byDevice,
          lines: [{ what: "added", who: self.name }],
          ended: false,
          warnings,
        }
        : { kind: "nothing", warnings },
      next: {
        state: next,
        group,
        isNew: true,
        joining: null,
        writes,
        after: () => {
          meet(this.#context, roster, lib);
          this.isIn(here);
        },
      },
      begins: true,
    };
  }

  /** Looks for what lets this device in, and asks for it where there is nothing. @throws ConnectionLostError */
  seek(here: Conversation): Promise<void> {
    let seeking = this.#seeking.get(here);
    // One that goes on may have looked before there was what made somebody call this: then it looks once more.
    if (seeking === undefined) this.#seeking.set(here, seeking = new Rounds(() => this.#seek(here)));
    return seeking.run();
  }

  async #seek(here: Conversation): Promise<void> {
    const { options: { ask, onReaches } } = this.#context;
    if (!here.isOut) return;
    const { welcome } = await ask<"welcome">({ type: "welcome", conversation: here.id });
    // A direct conversation begins anew behind a restore: nobody comes back into the group that was before.
    const { lastCommit, base } = here.state, begins = this.#context.options.peerOf(here.id) === undefined ? 0 : base;
    const isUsable = welcome !== undefined && welcome.commit >= lastCommit && welcome.commit > begins;
    // Who was put out knows of a group whose members did that: back into it leads what they commit, or another own device.
    const isPutOut = here.state.trouble === Trouble.removed;
    if (isUsable && welcome.isInvitation && !(isPutOut && !isOwnInvitation(welcome.body))) {
      return await this.#joinByItself(here, welcome);
    }
    if (isUsable && !welcome.isInvitation && here.group === undefined) await this.joinLate(here, welcome);
    else if (isUsable && !welcome.isInvitation && welcome.commit > here.state.seq) {
      return onReaches(here.id, welcome.commit);
    }
    // Who was removed does not ask, but may have been brought back.
    if (here.isOut && here.state.trouble !== Trouble.removed) await this.#ask(here);
  }

  async #ask(here: Conversation): Promise<void> {
    const { id } = here;
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    try {
      await this.#context.options.ask<"ask">({ type: "ask", conversation: id, kind: 1, body: new Uint8Array() });
    } catch (error) {
      this.#asked.delete(id);
      if (!(error instanceof ServerRefusal) || error.code !== ErrorCode.forbidden) throw error;
      await this.#isDismissed(here);
    }
  }

  /** The server says that this user is no member, and this device cannot follow: it will not hear why any more. */
  async #isDismissed(here: Conversation): Promise<void> {
    const { options: { onChanged, onWarning }, pending } = this.#context;
    await here.exclusive(() => {
      if (!here.isOut || here.group === undefined) return Promise.resolve();
      const { seq, lastCommit } = here.state;
      here.change({
        state: { ...NEW_STATE, seq, lastCommit, trouble: Trouble.removed },
        group: null,
        joining: null,
        writes: [() => pending.drop(here.id)],
      });
      onWarning(here.id, DISMISSED);
      onChanged(here.id);
      return Promise.resolve();
    });
  }

  /** Joins in place of this device's old leaf, where it has one. Another commit that comes first makes it ask again. */
  async #joinByItself(here: Conversation, found: Found): Promise<void> {
    const { lib, mls } = this.#loaded, { device, options: { self, nowMs, random, keyLog }, pending } = this.#context;
    const isOwn = isOwnInvitation(found.body);
    // It is the answer to what was asked.
    if (!isOwn) this.#asked.delete(here.id);
    // As its user's other devices see it (SECURITY P9), all others will.
    else await keyLog.catchUp();
    await here.making.run(async () => {
      const request = await here.exclusive(async () => {
        if (!here.isOut || pending.load(here.id) !== undefined) return undefined;
        const letter = isOwn ? this.#openOwn(here.id, found) : await openLetter({
          self,
          certificates: this.#context.certificates,
          conversation: here.id,
          type: InnerType.invitation,
        }, found.body);
        if (letter === undefined) return undefined;
        const notes = { ...lib.NO_NOTES, keyLogEntries: keyLog.length };
        const { group, body, invitedBy } = await lib.joinByItself(
          mls,
          device,
          { groupInfo: letter.content, sealedTree: found.tree },
          { conversation: here.id, nowMs: nowMs(), notes, identityOf: identitiesOf(notes, keyLog) },
        );
        // Whoever has had the identity, or an invitation to hand on, can seal one: the group's own signature says whose it is.
        if (invitedBy.device !== letter.from.device) return undefined;
        if (this.#strangerFault(here, letter) !== undefined) return undefined;
        // Into an epoch that is over by what this device has read itself, nobody would follow.
        const isOver = here.group !== undefined && lib.epochOf(group) <= lib.epochOf(here.group);
        if (isOver || this.#placeFault(here.id, lib.rosterOf(group), letter) !== undefined) return undefined;
        const made: RequestOf<"commit"> = {
          type: "commit",
          conversation: here.id,
          messageId: random.bytes(16).toHex() as MessageId,
          lastCommit: found.commit,
          body: mlsBody(body),
          add: [],
          remove: [],
          welcomes: [],
          tree: new Uint8Array(),
        };
        if (isOwn) this.#alone.add(here.id);
        else this.#alone.delete(here.id);
        here.change({ joining: group, writes: [() => pending.write(here.id, made)] });
        return made;
      });
      if (request !== undefined) await this.#committer.settle(here);
    }).catch((error) => {
      // An invitation that is not good: another one is asked for.
      if (!(error instanceof lib.JoinRefused) && !(error instanceof lib.ChangeRefused)) throw error;
    });
    if (here.isOut) await this.#ask(here);
  }

  /** What one of this user's devices has left: they must be somebody in the key log, as this one must (SECURITY P9). */
  #openOwn(
    conversation: ConversationId,
    { commit, body }: Found,
  ):
    | Pick<OpenedLetter, "content" | "identity"> & { readonly from: Pick<OpenedLetter["from"], "user" | "device"> }
    | undefined {
    const { self, keyLog, accountKey } = this.#context.options, { name: user, clusterId, keys } = self;
    const privateKey = accountKey?.()?.privateKey;
    const opened = privateKey && openOwnInvitation({ clusterId, user, conversation, commit }, privateKey, body);
    if (opened === undefined) return undefined;
    const { by, groupInfo } = opened;
    if (!keyLog.isUsable(user, keys.id) || !keyLog.isUsable(user, by)) return undefined;
    return { from: { user, device: by }, identity: self.identity.toHex(), content: groupInfo };
  }

  /** What is different in a group from the one that this device knew. */
  meanwhile(here: Conversation, roster: Roster): string {
    const { lib } = this.#loaded;
    if (roster.info.kind !== lib.Kind.group || here.group === undefined || here.isFounding) return "";
    return changedMeanwhile(lib.rosterOf(here.group), roster, currentIdentity(this.#context));
  }

  /**
   * Whoever lets a device in again must be somebody of the group that it knows. Anybody can make a group of that id and, with the
   * server's help, hand it over in place of the true one, with all its members and one more.
   */
  #strangerFault(
    here: Conversation,
    { from, identity }: Pick<OpenedLetter, "identity"> & WithUser,
  ): string | undefined {
    const { lib } = this.#loaded, identityOf = currentIdentity(this.#context);
    if (this.#context.options.peerOf(here.id) !== undefined || here.group === undefined || here.isFounding) {
      return undefined;
    }
    const isKnown = lib.rosterOf(here.group).members.some((member) =>
      member.user === from.user && identityOf(member.user, member.identity) === identityOf(from.user, identity)
    );
    return isKnown ? undefined : "who sent it is not in the group that this device knows";
  }

  /** Epochs only rise. Between two people a conversation may begin anew. */
  #olderFault(here: Conversation, group: Group): string | undefined {
    const { lib } = this.#loaded;
    if (this.#context.options.peerOf(here.id) !== undefined || here.group === undefined || here.isFounding) {
      return undefined;
    }
    return lib.epochOf(group) > lib.epochOf(here.group) ? undefined : "it is to an epoch that is over";
  }

  /** What is wrong with the group that one would be in: not the one asked for, or not by a member of it. */
  #placeFault(
    id: ConversationId,
    { members, info }: Roster,
    { from, identity }: {
      readonly from: { readonly user: string; readonly device: string };
      readonly identity: string;
    },
  ): string | undefined {
    const { lib } = this.#loaded, { self, peerOf } = this.#context.options;
    const isMember = members.some((member) =>
      member.user === from.user && member.device === from.device && member.identity === identity
    );
    if (!isMember) return "who sent it is not a member";
    const peer = peerOf(id), isDirect = info.kind === lib.Kind.direct;
    if (isDirect !== (peer !== undefined)) return "it is another kind of conversation";
    if (peer === undefined) return undefined;
    const isTheirs = id === directConversationId(self.clusterId, self.name, peer) &&
      members.every(({ user }) => user === self.name || user === peer);
    return isTheirs ? undefined : "others are in it";
  }
}

interface WithUser {
  readonly from: { readonly user: string };
}

function isWelcome(found: Found | undefined): found is Found {
  return found !== undefined && !found.isInvitation;
}

const RETRY_MS = 1_000;
