/**
 * What is due in a conversation before anything is sent (SECURITY M5, M6, M8, M12): devices that wait or that the directory
 * shows are let in, revoked and expired ones and users who left are removed, old keys replaced. All in one commit.
 */
import { fingerprint, InnerType } from "../../../shared/crypto/mod.ts";
import type { Ask, DeviceId, MessageId, RequestOf, UserName } from "../../../shared/protocol/mod.ts";
import { ErrorCode } from "../../../shared/errors.ts";
import { ServerRefusal } from "../../network/failures.ts";
import type { CheckedKeyPackage, Group, Member, Roster } from "../mls/mod.ts";
import type { Asks } from "./asks.ts";
import { type Committer, CommitTooLarge, type Wish } from "./committer.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { certifiedDevices, currentIdentity, rankOf, readCertificate } from "./identities.ts";
import { sealLetter } from "./letter.ts";
import { isLinkProof } from "./link.ts";
import type { Loaded } from "./library.ts";
import { DEVICES_AT_ONCE, type Newcomer, type Newcomers } from "./newcomers.ts";
import { Successors } from "./successors.ts";

export class Chores {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #committer: Committer;
  readonly #asks: Asks;
  readonly #newcomers: Newcomers;
  readonly #successors: Successors;
  /** Users of a conversation whose devices are to be compared with its group. */
  readonly #changed = new Map<string, Set<UserName>>();
  /** Trees in which a commit does not fit a row. */
  readonly #tooLarge = new WeakSet<object>();
  /** What was looked at when nobody was to be removed. */
  readonly #nobodyLeaves = new Map<string, string>();

  constructor(parts: {
    readonly context: Context;
    readonly loaded: Loaded;
    readonly committer: Committer;
    readonly asks: Asks;
    readonly newcomers: Newcomers;
  }) {
    this.#context = parts.context;
    this.#loaded = parts.loaded;
    this.#committer = parts.committer;
    this.#asks = parts.asks;
    this.#newcomers = parts.newcomers;
    this.#successors = new Successors(parts.context, parts.loaded, parts.newcomers);
  }

  /** The server says that devices of somebody came or went, or nobody knows since when they did not. */
  devicesChanged(here: { readonly id: string }, names: readonly UserName[]): void {
    const changed = this.#changed.get(here.id) ?? new Set();
    for (const name of names) changed.add(name);
    this.#changed.set(here.id, changed);
  }

  /** Does what is due. @throws ChangeRefused, ServerRefusal, ConnectionLostError */
  async run(here: Conversation): Promise<void> {
    await this.#refresh(here);
    try {
      await this.#committer.run(here, (group, roster) => this.#wish(here, group, roster));
    } catch (error) {
      // Nobody is kept from talking by keys that cannot be replaced yet.
      if (!(error instanceof CommitTooLarge)) throw error;
      this.#tooLarge.add(here.group!.state.ratchetTree);
    }
    this.#changed.delete(here.id);
    await this.#invite(here);
  }

  /** The directory, for those whose devices may differ from what is known. */
  async #refresh(here: Conversation): Promise<void> {
    const { people } = this.#context.options;
    const names = new Set([...this.#changed.get(here.id) ?? [], ...this.#asks.in(here.id).map(({ user }) => user)]);
    const list = [...names];
    for (let at = 0; at < list.length; at += NAMES_AT_ONCE) await people.fetch(list.slice(at, at + NAMES_AT_ONCE));
  }

  async #wish(here: Conversation, group: Group, roster: Roster): Promise<Wish | undefined> {
    const { lib } = this.#loaded, { state } = here;
    const succession = await this.#successors.in(here, roster);
    const { remove: leaving, leaves } = this.#leaving(here, group, roster);
    const remove = [...new Set([...leaving, ...succession.remove])];
    const gone = new Set(remove), staying = roster.members.filter(({ leaf }) => !gone.has(leaf));
    const add = [...succession.add, ...await this.#coming(here, roster, staying, succession.names)];
    if (remove.length === 0 && add.length === 0 && !this.#needsKeys(state)) return undefined;
    if (this.#tooLarge.has(group.state.ratchetTree)) return undefined;
    const info = lib.withoutAbsent(roster.info, staying, currentIdentity(this.#context));
    return { add, remove, leaves, ...(info === roster.info ? {} : { info }) };
  }

  /** Leaves that may go: of users who left, of revoked devices, and expired ones where that is this device's to do. */
  #leaving(here: Conversation, group: Group, roster: Roster): { remove: number[]; leaves: number[] } {
    const { lib } = this.#loaded, { keyLog, nowMs } = this.#context.options, self = lib.selfIn(group);
    const remove: number[] = [], leaves = new Set<number>(), rank = rankOf(this.#context, lib, roster.info, self);
    // What was looked at before, is looked at again when something has changed, or a day has gone by.
    const day = Math.floor(nowMs() / DAY_MS);
    const looked = [lib.epochOf(group), keyLog.length, here.state.leaves.length, day].join(" ");
    if (this.#nobodyLeaves.get(here.id) === looked) return { remove, leaves: [] };
    for (const member of roster.members) {
      if (member.leaf === self.leaf) continue;
      const notice = here.state.leaves.find(({ user }) => user === member.user);
      if (notice !== undefined) leaves.add(notice.seq);
      const isExpired = member.notAfterMs < nowMs() &&
        (member.user === self.user || outranks(rank, roster, member, this.#context));
      const isRevoked = keyLog.isRevoked(member.user, member.device, keyLog.length);
      if (notice !== undefined || isExpired || isRevoked) remove.push(member.leaf);
    }
    if (remove.length === 0) this.#nobodyLeaves.set(here.id, looked);
    return { remove, leaves: [...leaves] };
    function outranks(own: number, { info }: Roster, member: Member, context: Context): boolean {
      return info.kind === lib.Kind.group && own >= lib.Role.admin && rankOf(context, lib, info, member) <= own;
    }
  }

  /** Devices of members that are not in the group. */
  async #coming(
    here: Conversation,
    roster: Roster,
    staying: readonly Member[],
    replaced: ReadonlySet<UserName>,
  ): Promise<CheckedKeyPackage[]> {
    const asks = this.#asks.in(here.id), changed = [...this.#changed.get(here.id) ?? []];
    // As before nearly every message.
    if (asks.length === 0 && changed.length === 0) return [];
    const there = new Set(staying.map(({ device }) => device)), memberOf = byUser(staying);
    const missing = new Set<DeviceId>();
    const newcomers = new Map<UserName, Newcomer>();
    const { keyLog, people } = this.#context.options;
    const wants = (name: UserName, identity: string, device: DeviceId) => {
      if (there.has(device)) return;
      missing.add(device);
      newcomers.set(name, { name, identity });
    };
    for (const name of changed) {
      const member = memberOf.get(name);
      if (member === undefined) continue;
      if (replaced.has(name)) continue;
      const identity = keyLog.identityOf(name, member.identity);
      for (const device of certifiedDevices(people.entry(name), name, identity)) wants(name, identity, device);
    }
    for (const ask of asks) {
      if (replaced.has(ask.user)) continue;
      if (ask.kind === ASK_LINK) {
        await this.#byLink(here, ask, roster, staying, (name, identity, device) => wants(name, identity, device));
        continue;
      }
      const member = memberOf.get(ask.user);
      if (member !== undefined) wants(ask.user, keyLog.identityOf(ask.user, member.identity), ask.device);
      else this.#asks.drop(here.id, ask.device);
    }
    // What is left over comes with the next commit.
    const now = new Set([...missing].slice(0, DEVICES_AT_ONCE));
    return await this.#newcomers.packagesOf(here.id, [...newcomers.values()], now);
  }

  /** Somebody who has an invite link: an admin's device looks at what they say, and nobody else (SECURITY M14). */
  async #byLink(
    here: Conversation,
    ask: Ask,
    { info }: Roster,
    staying: readonly Member[],
    wants: (name: UserName, identity: string, device: DeviceId) => void,
  ): Promise<void> {
    const { lib } = this.#loaded, { ask: tell, people } = this.#context.options;
    if (rankOf(this.#context, lib, info, lib.selfIn(here.group!)) < lib.Role.admin) return;
    const identity = people.pinned(ask.user), asker = { group: here.id, device: ask.device };
    const isThere = staying.some(({ user }) => user === ask.user);
    if (isThere || identity === undefined || !isLinkProof(ask.body, info, { ...asker, identity })) {
      this.#asks.drop(here.id, ask.device);
      await tell<"dropAsk">({ type: "dropAsk", conversation: here.id, device: ask.device });
      return;
    }
    wants(ask.user, identity.toHex(), ask.device);
    for (const device of certifiedDevices(people.entry(ask.user), ask.user, identity.toHex())) {
      wants(ask.user, identity.toHex(), device);
    }
  }

  /** Devices that ask and have a leaf lost their state: they join by themselves with what they are handed. */
  async #invite(here: Conversation): Promise<void> {
    const { lib, mls } = this.#loaded, { options, certificates } = this.#context, group = here.sound;
    const asks = this.#asks.in(here.id).filter(({ kind }) => kind === ASK_DEVICE);
    if (group === undefined || asks.length === 0) return;
    const { members } = lib.rosterOf(group);
    for (const ask of asks) {
      const former = members.find(({ device, user }) => device === ask.device && user === ask.user);
      if (former === undefined) continue;
      // Its leaf may be by an identity that was replaced since.
      const certificate = certificateOf(this.#context, former) ?? lib.certificateOf(group, former.leaf);
      this.#asks.drop(here.id, ask.device);
      if (certificate === undefined) continue;
      // Of one moment: an invitation under a later commit's number would lead out of the group.
      const { sound, state: { lastCommit } } = here;
      if (sound === undefined) return;
      const { groupInfo, sealedTree } = await lib.makeInvitation(mls, sound);
      const welcome = await sealLetter({
        self: options.self,
        certificates,
        to: certificate,
        conversation: here.id,
        messageId: options.random.bytes(16).toHex() as MessageId,
        timeMs: options.nowMs(),
        type: InnerType.invitation,
        content: groupInfo,
      });
      await this.#hand(here, { welcome, tree: sealedTree, lastCommit }, ask);
    }
  }

  async #hand(
    here: Conversation,
    invitation: Pick<RequestOf<"invite">, "welcome" | "tree" | "lastCommit">,
    ask: Ask,
  ): Promise<void> {
    try {
      await this.#context.options.ask<"invite">({ type: "invite", conversation: here.id, ...invitation });
    } catch (error) {
      if (!(error instanceof ServerRefusal)) throw error;
      if (error.code !== ErrorCode.staleEpoch) return;
      // A newer commit: it is read first, and then looked at who still waits.
      const { epoch } = error.response;
      this.#asks.heard(ask, 1, () => 0, () =>
        this.#context.background.run(async () => {
          await here.stale(epoch);
          await this.run(here);
        }));
    }
  }

  #needsKeys({ keysMs, keysUsed, keysDue, authenticators }: Conversation["state"]): boolean {
    if (authenticators.length === 0) return false;
    return keysDue || keysUsed >= KEY_MESSAGES_MAX || this.#context.options.nowMs() - keysMs > KEY_AGE_MS_MAX;
  }
}

/** The first device of each. */
function byUser(members: readonly Member[]): ReadonlyMap<UserName, Member> {
  return new Map(members.toReversed().map((member) => [member.user, member]));
}

/** What the directory has of a device, by the identity that its user goes by now. */
function certificateOf({ options: { people, keyLog } }: Context, { user, device, identity }: Member) {
  const now = keyLog.identityOf(user, identity);
  return people.entry(user)?.certificates.find((bytes) => {
    const certificate = readCertificate(bytes);
    return certificate?.device === device && fingerprint(certificate.identityKey).toHex() === now;
  });
}

export const ASK_DEVICE = 1;
export const ASK_LINK = 2;
const NAMES_AT_ONCE = 16;
const DAY_MS = 24 * 3600 * 1000;
/** A device's keys are replaced after so long, or so many messages of its own (SECURITY M12). */
const KEY_AGE_MS_MAX = 7 * DAY_MS;
const KEY_MESSAGES_MAX = 1_000;
