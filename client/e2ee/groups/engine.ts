/**
 * The engine of encrypted conversations: owns the groups of a home, turns rows of the log into outcomes and intentions into rows.
 * What each part does, its own file says; here they are put together.
 */
import { directConversationId, equalBytes } from "../../../shared/crypto/mod.ts";
import { TEXT_BYTES_MAX } from "../../../shared/limits.ts";
import type {
  Ask,
  ConversationHead,
  ConversationId,
  DeviceId,
  Event,
  MessageId,
  Record,
  UserName,
} from "../../../shared/protocol/mod.ts";
import { FastChatError, UsageError } from "../../errors.ts";
import {
  type Engine,
  type EngineConversation,
  type GroupChange,
  NotReadyError,
  type Sealed,
  type Step,
  type Taken,
} from "../engine.ts";
import type { Member, Roster } from "../mls/mod.ts";
import { Asks } from "./asks.ts";
import { Changes, groupName, readable } from "./changes.ts";
import { ASK_LINK, Chores } from "./chores.ts";
import { disbelieved } from "./claims.ts";
import { Committer } from "./committer.ts";
import { type Context, makeContext } from "./context.ts";
import { Conversation } from "./conversation.ts";
import { EMPTY_INFO, Founder } from "./founder.ts";
import { Forgetting } from "./forgetting.ts";
import { requireIdentities } from "./identities.ts";
import { Inviter } from "./inviter.ts";
import { Joiner } from "./joiner.ts";
import { Leaving } from "./leaving.ts";
import type { Library, Loaded } from "./library.ts";
import { ROLES } from "./lines.ts";
import { formatLink, linkProof, parseLink } from "./link.ts";
import { Newcomers } from "./newcomers.ts";
import type { EngineOptions } from "./options.ts";
import { blockedBy, DISMISSED, NOT_IN_IT, PUT_OUT, WAITING } from "./reasons.ts";
import { Sealing } from "./sealing.ts";
import { Served } from "./served.ts";
import { Trouble } from "./state_row.ts";
import { Taker } from "./taker.ts";

export interface OwnEngine extends Engine {
  /** It does something that nobody waits for. */
  readonly isBusy: boolean;
  /** Resolves when what it leaves at the server just now, for its user's other devices, is there or given up. Never rejects. */
  left(): Promise<void>;
}

/** Makes the engine of a home. Nothing is read before the first call. */
export function makeEngine(options: EngineOptions): OwnEngine {
  return new GroupEngine(makeContext(options));
}

interface Parts {
  readonly loaded: Loaded;
  readonly committer: Committer;
  readonly joiner: Joiner;
  readonly taker: Taker;
  readonly newcomers: Newcomers;
  readonly chores: Chores;
  readonly sealing: Sealing;
  readonly changes: Changes;
  readonly leaving: Leaving;
  readonly served: Served;
  readonly inviter: Inviter;
  readonly forgetting: Forgetting;
  readonly founder: Founder;
}

class GroupEngine implements OwnEngine {
  readonly #context: Context;
  readonly #asks: Asks;
  readonly #conversations = new Map<ConversationId, Conversation>();
  /** Direct conversations whose members' devices were compared with the directory on this connection. */
  readonly #compared = new Set<ConversationId>();
  /** Members whose identities are the pinned ones, and until when that is taken for granted. */
  #trusted = new WeakMap<readonly Member[], number>();
  #parts: Promise<Parts> | undefined;
  #ready: Parts | undefined;
  /** When the list of conversations is known: before that, nobody knows what was sent by an older copy of this home. */
  readonly #listed = Promise.withResolvers<void>();

  constructor(context: Context) {
    this.#context = context;
    this.#asks = new Asks(context);
    // Nobody may be waiting for it when it is closed.
    this.#listed.promise.catch(() => {});
  }

  get isBusy(): boolean {
    return this.#context.background.isBusy;
  }

  async left(): Promise<void> {
    await this.#ready?.inviter.idle();
  }

  async take(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }> {
    const { taker } = await this.#load();
    return await taker.take(await this.#here(record.conversation), record);
  }

  async passed(id: ConversationId, place: { readonly upTo: number; readonly kept?: number }): Promise<Step> {
    const here = await this.#here(id), release = await here.lock();
    return here.step(here.behind(place, this.#context.options.peerOf(id) !== undefined), release);
  }

  async prepare(id: ConversationId): Promise<void> {
    this.#context.options.keyLog.requireOne();
    const { joiner, chores, founder, loaded: { lib } } = await this.#load();
    await this.#listed.promise;
    const here = await this.#here(id);
    if (here.state.trouble !== Trouble.removed) await here.caughtUp();
    if (here.state.trouble === Trouble.removed) {
      throw new FastChatError(this.#context.options.peerOf(id) === undefined ? NOT_IN_IT : PUT_OUT);
    }
    if (here.group === undefined || here.isFounding) await founder.enter(here);
    const { trouble } = here.state;
    if (trouble === Trouble.withheld || trouble === Trouble.rolledBack) {
      await joiner.seek(here);
      throw new NotReadyError(blockedBy(here.state)!, joiner.whenIn(here));
    }
    if (trouble !== Trouble.none) throw new FastChatError(blockedBy(here.state)!);
    const group = here.sound;
    if (group === undefined) throw new NotReadyError(WAITING, joiner.whenIn(here));
    const roster = lib.rosterOf(group);
    founder.requireShown(id);
    if (roster.info.kind === lib.Kind.direct && !this.#compared.has(id)) {
      this.#compared.add(id);
      chores.devicesChanged(here, founder.usersOf(id));
    }
    await this.#orWhenIn(here, joiner, async () => {
      await chores.run(here);
      await this.#requireIdentities(lib.rosterOf(here.group ?? group), lib);
    });
  }

  async seal(id: ConversationId, message: { id: MessageId; timeMs: number; text: string }): Promise<Sealed> {
    const { sealing, joiner, loaded: { lib } } = await this.#load(), here = await this.#here(id);
    const content = TEXT_ENCODER.encode(message.text);
    if (content.length > TEXT_BYTES_MAX) throw new UsageError(`A message has at most ${TEXT_BYTES_MAX} bytes`);
    const { id: messageId, timeMs } = message, type = lib.ContentType.text;
    return await this.#orWhenIn(here, joiner, () => sealing.seal(here, { id: messageId, timeMs, type, content }));
  }

  async stale(id: ConversationId, epoch: number): Promise<void> {
    await (await this.#here(id)).stale(epoch);
  }

  accept(id: ConversationId): Promise<void> {
    return this.#context.background.run(async () => {
      const here = await this.#here(id);
      const { joiner } = await this.#load();
      await here.exclusive(() => {
        const { state } = here, isFork = state.trouble === Trouble.fork;
        const after = isFork ? { ...state, trouble: Trouble.none, troubleText: "" } : disbelieved(state);
        // Whoever waited to be let in is in.
        if (after !== undefined) here.change({ state: after, ...(!isFork && { after: () => joiner.isIn(here) }) });
        return Promise.resolve();
      });
      this.#context.options.onChanged(id);
    });
  }

  trusted(name: UserName): Promise<void> {
    return this.#context.background.run(async () => {
      const { chores, newcomers } = await this.#load(), { self, onChanged } = this.#context.options;
      // Nothing that was found out under the former pin holds.
      this.#trusted = new WeakMap();
      newcomers.forget();
      const here = await this.#here(directConversationId(self.clusterId, self.name, name));
      if (here.sound !== undefined) await chores.run(here);
      onChanged(here.id);
    });
  }

  async create(name: string): Promise<ConversationId> {
    const { committer, newcomers, founder, loaded: { lib, mls } } = await this.#load();
    const { options, device } = this.#context;
    const { self, random, nowMs } = options, wanted = groupName(name);
    const isAnother = (other: DeviceId) => other !== self.keys.id;
    const id = random.bytes(16).toHex() as ConversationId;
    await options.ask<"createGroup">({ type: "createGroup", conversation: id });
    const here = await this.#here(id);
    const owner = { user: self.name, identity: self.identity.toHex(), role: lib.Role.owner };
    const info = { ...EMPTY_INFO, kind: lib.Kind.group, name: wanted, roles: [owner] };
    const group = await lib.createGroup(mls, device, { conversation: id, info, nowMs: nowMs() });
    await committer.found(here, group, { add: await newcomers.packages(id, [founder.own], isAnother) });
    return id;
  }

  async change(id: ConversationId, change: GroupChange): Promise<void> {
    const { changes, committer, chores } = await this.#load(), here = await this.#groupOf(id);
    await readable(this.#context, async () => {
      // Who has left is nobody to be removed against their rank, and may be brought back.
      if (here.state.leaves.length > 0) await chores.run(here);
      if (change.do === "delete") {
        await committer.run(here, changes.everybodyElse(), { once: true });
        await this.leave(id);
        return;
      }
      const intention = await changes.intention(id, change);
      await committer.run(here, intention, { once: change.do !== "add" });
      if (change.do !== "add") return;
      // Their other devices, and whoever waits: nobody should miss what is said next.
      chores.devicesChanged(here, change.names);
      await chores.run(here);
    });
  }

  async leave(id: ConversationId): Promise<void> {
    const { leaving } = await this.#load();
    await leaving.leave(await this.#groupOf(id));
  }

  async link(id: ConversationId, { revoke }: { readonly revoke: boolean }): Promise<string> {
    const { changes, committer, loaded: { lib } } = await this.#load(), here = await this.#groupOf(id);
    const { random } = this.#context.options;
    await readable(this.#context, async () => {
      const invite = { id: random.bytes(16).toHex(), secret: random.bytes(32) };
      const intention = changes.describing((info) =>
        revoke ? { ...info, invites: [] } : info.invites.length > 0 ? info : { ...info, invites: [invite] }
      );
      await committer.run(here, intention, { once: true });
    });
    const [open] = here.group === undefined ? [] : lib.rosterOf(here.group).info.invites;
    return open === undefined ? "" : this.#linkText(id, open);
  }

  async join(text: string): Promise<ConversationId> {
    const { ask, self, clusterFingerprint } = this.#context.options, link = parseLink(text);
    if (link === undefined) throw new UsageError("This is no invite link, or a part of it is missing");
    if (clusterFingerprint !== undefined && !equalBytes(link.cluster, clusterFingerprint)) {
      throw new UsageError(`This link is to another cluster: ${link.server}`);
    }
    const body = linkProof(link, { group: link.group, identity: self.identity, device: self.keys.id });
    await ask<"ask">({ type: "ask", conversation: link.group, kind: ASK_LINK, body });
    return link.group;
  }

  conversation(id: ConversationId): EngineConversation | undefined {
    const parts = this.#ready;
    if (parts === undefined) return undefined;
    const here = this.#hereNow(parts, id);
    if (here.group === undefined || here.isFounding) return undefined;
    const { lib } = parts.loaded, roster = lib.rosterOf(here.group);
    // Whoever has left is in the tree until the next commit, and in the group no longer.
    const left = new Set(here.state.leaves.map(({ user }) => user));
    const devicesOf = Map.groupBy(roster.members, ({ user }) => user);
    const roles = new Map(roster.info.roles.map(({ user, role }) => [user, role]));
    const roleOf = (name: UserName) => ROLES[roles.get(name) ?? 0] ?? "member";
    const blocked = blockedBy(here.state);
    return {
      id,
      isGroup: roster.info.kind === lib.Kind.group,
      name: roster.info.name,
      topic: roster.info.topic,
      members: [...devicesOf].filter(([name]) => !left.has(name)).map(([name, devices]) => ({
        name,
        role: roleOf(name),
        devices: devices.map(({ device }) => device),
        identity: devices[0]!.identity,
      })),
      role: roleOf(this.#context.options.self.name),
      membersMayAdd: roster.info.membersAdd,
      historySinceMs: roster.info.historySinceMs,
      joined: here.state.joined,
      links: roster.info.invites.map((invite) => this.#linkText(id, invite)),
      ...(blocked === undefined ? {} : { blocked }),
    };
  }

  async known(id: ConversationId): Promise<EngineConversation | undefined> {
    await this.#load();
    return this.conversation(id);
  }

  async connected(heads: readonly ConversationHead[] = []): Promise<void> {
    const { joiner, newcomers, inviter, forgetting, loaded } = await this.#load();
    const { shelf, device, pending } = this.#context;
    joiner.forget();
    newcomers.forget();
    this.#compared.clear();
    for (const head of heads) await (await this.#here(head.conversation)).begin(head);
    forgetting.start();
    // Before anything is sent: a program that sends one message and ends lets in first who waits for it.
    const asks = await this.#asks.load();
    this.#listed.resolve();
    await shelf.replenish(loaded, device);
    for (const id of pending.all()) this.#settleLater(id);
    // A program that ends as soon as it has caught up comes into its groups too.
    const seeking: Promise<void>[] = [];
    for (const head of heads) {
      const here = await this.#here(head.conversation);
      if (here.isOut && isPerhapsGroup(head)) seeking.push(joiner.wantsIn(here));
      // What is behind is left when it has caught up.
      else if (here.state.lastCommit === head.epoch) inviter.soon(here);
      if (head.kind === KIND_GROUP) this.#compareLater(here, head.head);
    }
    for (const ask of asks) this.#answerLater(ask);
    await Promise.all(seeking);
  }

  onEvent(event: Event): void {
    if (event.type === "asked") this.#answerLater(event.ask);
    else if (event.type === "welcomed") this.#welcomed(event.conversation);
    else if (event.type === "dismissed") this.#dismissed(event.conversation, event.seq);
    else if (event.type === "devicesChanged") {
      this.#context.background.run(async () => {
        const { chores, newcomers } = await this.#load();
        newcomers.forget();
        chores.devicesChanged({ id: event.conversation }, [event.name]);
      });
    }
  }

  forget(): void {
    this.#end(new NotReadyError("Another program of this home was at work meanwhile: try again", Promise.resolve()));
    this.#context.groups.forget();
  }

  async close(): Promise<void> {
    this.#asks.close();
    this.#ready?.forgetting.close();
    const closed = new FastChatError("The home was closed");
    this.#listed.reject(closed);
    this.#end(closed);
    await this.#context.background.close();
    this.#context.scrubber.close();
  }

  #linkText(group: ConversationId, { id, secret }: { readonly id: string; readonly secret: Uint8Array }): string {
    const { clusterFingerprint, serverAddress } = this.#context.options;
    const cluster = clusterFingerprint ?? new Uint8Array(32), server = serverAddress?.() ?? "";
    return formatLink({ cluster, server, group, invite: id, secret });
  }

  /** @throws FastChatError where this device is not in it, or nothing may be changed. */
  async #groupOf(id: ConversationId): Promise<Conversation> {
    const { joiner } = await this.#load(), here = await this.#here(id), { trouble } = here.state;
    if (here.isFounding) await this.#settle(here);
    if (trouble === Trouble.none && here.sound === undefined) {
      await joiner.seek(here);
      if (here.sound === undefined) throw new NotReadyError(WAITING, joiner.whenIn(here));
    }
    if (trouble !== Trouble.none) throw new FastChatError(blockedBy(here.state)!);
    return here;
  }

  /** Pins are a person's to change: who was compared a moment ago is not compared again for each message. */
  async #requireIdentities(roster: Roster, lib: Library): Promise<void> {
    const { nowMs } = this.#context.options, until = this.#trusted.get(roster.members);
    if (until !== undefined && nowMs() < until) return;
    await requireIdentities(this.#context, roster, lib);
    this.#trusted.set(roster.members, nowMs() + TRUSTED_MS);
  }

  /** The server delivers nothing more. A commit or one's own notice should have said why. */
  #dismissed(id: ConversationId, seq: number): void {
    this.#context.background.run(async () => {
      const here = await this.#here(id);
      await here.takenUpTo(seq);
      // This device may be about to hear that its own leaving is what did it.
      await here.making.run(() => Promise.resolve());
      if (here.sound === undefined) return;
      this.#context.options.onWarning(id, DISMISSED);
    });
  }

  #welcomed(id: ConversationId): void {
    this.#context.background.run(async () => {
      const { joiner } = await this.#load(), here = await this.#here(id);
      joiner.forget(id);
      await joiner.seek(here);
    });
  }

  #answerLater(ask: Ask): void {
    this.#context.background.run(async () => {
      const { chores, newcomers, loaded: { lib } } = await this.#load(), here = await this.#here(ask.conversation);
      const members = here.group === undefined ? 1 : lib.rosterOf(here.group).members.length;
      const { self, peerOf, onChanged } = this.#context.options, own = self.keys.id;
      newcomers.forget();
      this.#asks.heard(ask, members, (request, within) => lib.turnMs(own, request, within), () => {
        if (here.sound !== undefined) this.#context.background.run(() => chores.run(here));
        // Perhaps nobody is left now who could let anybody in.
        else if (peerOf(here.id) !== undefined) onChanged(here.id);
      });
    });
  }

  #settleLater(id: ConversationId): void {
    this.#context.background.run(async () => this.#settle(await this.#here(id)));
  }

  #compareLater(here: Conversation, head: number): void {
    this.#context.background.run(async () => {
      // Who only sends something and goes does not wait for it.
      await this.#context.background.pause(COMPARE_AFTER_MS);
      await here.takenUpTo(head);
      await (await this.#load()).served.compare(here);
    });
  }

  async #settle(here: Conversation): Promise<void> {
    const { committer } = await this.#load();
    await here.making.run(() => committer.settle(here));
  }

  /** A row that is taken meanwhile may stop this conversation: what was to be sent waits then, and is not given up. */
  async #orWhenIn<T>(here: Conversation, joiner: Joiner, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const { trouble } = here.state, isPassing = trouble === Trouble.withheld || trouble === Trouble.rolledBack;
      if (!isPassing || !(error instanceof FastChatError) || error instanceof NotReadyError) throw error;
      throw new NotReadyError(blockedBy(here.state)!, joiner.whenIn(here));
    }
  }

  #end(reason: Error): void {
    for (const here of this.#conversations.values()) here.end(reason);
    this.#conversations.clear();
  }

  async #here(id: ConversationId): Promise<Conversation> {
    return this.#hereNow(await this.#load(), id);
  }

  #hereNow({ loaded }: Parts, id: ConversationId): Conversation {
    let here = this.#conversations.get(id);
    if (here === undefined) this.#conversations.set(id, here = new Conversation(this.#context, loaded, id));
    return here;
  }

  #load(): Promise<Parts> {
    return this.#parts ??= this.#context.load().then((loaded) => {
      const context = this.#context, asks = this.#asks;
      const committer = new Committer(context, loaded), inviter = new Inviter(context, loaded);
      const joiner = new Joiner(context, loaded, { committer, inviter });
      const newcomers = new Newcomers(context, loaded);
      const chores = new Chores({ context, loaded, committer, asks, newcomers });
      const taker = new Taker(context, loaded, { joiner, asks, inviter }), sealing = new Sealing(context, loaded);
      const changes = new Changes(context, loaded, newcomers), leaving = new Leaving(context, loaded, sealing);
      const served = new Served(context, loaded);
      const forgetting = new Forgetting(context, loaded, (id) => this.#here(id));
      return this.#ready = {
        loaded,
        committer,
        joiner,
        taker,
        newcomers,
        chores,
        sealing,
        changes,
        leaving,
        served,
        inviter,
        forgetting,
        founder: new Founder(context, loaded, { joiner, committer, newcomers }),
      };
    });
  }
}

/** A direct conversation without any commit shows a sum of revisions there; it cannot be above its head where it is a row. */
function isPerhapsGroup({ kind, epoch, head }: ConversationHead): boolean {
  return head > 0 && (kind === KIND_GROUP || epoch <= head);
}

const KIND_GROUP = 2;
const COMPARE_AFTER_MS = 5_000;
/** Nobody accepts another key and writes within it. */
const TRUSTED_MS = 1_000;
const TEXT_ENCODER = new TextEncoder();
