/**
 * The engine of encrypted conversations: owns the groups of a home, turns rows of the log into outcomes and intentions into rows.
 * What each part does, its own file says; here they are put together.
 */
import { ErrorCode } from "../../../shared/errors.ts";
import { TEXT_BYTES_MAX } from "../../../shared/limits.ts";
import type {
  Ask,
  ConversationHead,
  ConversationId,
  Event,
  MessageId,
  Record,
  UserName,
} from "../../../shared/protocol/mod.ts";
import { FastChatError, RefusedError, UsageError } from "../../errors.ts";
import {
  type Engine,
  type EngineConversation,
  type GroupChange,
  NotReadyError,
  type Sealed,
  type Step,
  type Taken,
} from "../engine.ts";
import type { GroupInfo } from "../mls/mod.ts";
import { Asks } from "./asks.ts";
import { Chores } from "./chores.ts";
import { Committer } from "./committer.ts";
import { type Context, makeContext } from "./context.ts";
import { Conversation } from "./conversation.ts";
import { requireIdentities } from "./identities.ts";
import { Joiner } from "./joiner.ts";
import type { Loaded } from "./library.ts";
import { Newcomers } from "./newcomers.ts";
import type { EngineOptions } from "./options.ts";
import { BLOCKED } from "./reasons.ts";
import { Sealing } from "./sealing.ts";
import { Trouble } from "./state_row.ts";
import { Taker } from "./taker.ts";

/** Makes the engine of a home. Nothing is read before the first call. */
export function makeEngine(options: EngineOptions): Engine {
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
}

class GroupEngine implements Engine {
  readonly #context: Context;
  readonly #asks: Asks;
  readonly #conversations = new Map<ConversationId, Conversation>();
  /** Direct conversations whose members' devices were compared with the directory on this connection. */
  readonly #compared = new Set<ConversationId>();
  readonly #background = new Set<Promise<void>>();
  #parts: Promise<Parts> | undefined;
  #ready: Parts | undefined;
  #closed = false;

  constructor(context: Context) {
    this.#context = context;
    this.#asks = new Asks(context);
  }

  async take(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }> {
    const { taker } = await this.#load();
    return await taker.take(await this.#here(record.conversation), record);
  }

  async prepare(id: ConversationId): Promise<void> {
    const { joiner, chores, loaded: { lib } } = await this.#load(), here = await this.#here(id);
    if (here.group === undefined || here.isFounding) await this.#enter(here);
    const { trouble } = here.state;
    if (trouble === Trouble.withheld || trouble === Trouble.rolledBack) {
      await joiner.seek(here);
      throw new NotReadyError(BLOCKED[trouble]!, joiner.whenIn(here));
    }
    if (trouble !== Trouble.none) throw new FastChatError(BLOCKED[trouble]!);
    const group = here.sound;
    if (group === undefined) throw new NotReadyError(WAITING, joiner.whenIn(here));
    const roster = lib.rosterOf(group);
    if (roster.info.kind === lib.Kind.direct && !this.#compared.has(id)) {
      this.#compared.add(id);
      chores.devicesChanged(here, this.#usersOfDirect(id));
    }
    await chores.run(here);
    await requireIdentities(this.#context, lib.rosterOf(here.group ?? group).members);
  }

  async seal(id: ConversationId, message: { id: MessageId; timeMs: number; text: string }): Promise<Sealed> {
    const { sealing, loaded: { lib } } = await this.#load(), here = await this.#here(id);
    const content = TEXT_ENCODER.encode(message.text);
    if (content.length > TEXT_BYTES_MAX) throw new UsageError(`A message has at most ${TEXT_BYTES_MAX} bytes`);
    return await sealing.seal(here, {
      id: message.id,
      timeMs: message.timeMs,
      type: lib.ContentType.text,
      content,
    });
  }

  async stale(id: ConversationId, epoch: number): Promise<void> {
    const here = await this.#here(id);
    await here.takenUpTo(epoch);
    await here.exclusive(() => {
      // What the server counts as a commit is its own to say: naming another one only gets nothing stored.
      if (here.state.lastCommit !== epoch) here.change({ state: { ...here.state, lastCommit: epoch } });
      return Promise.resolve();
    });
  }

  accept(id: ConversationId): void {
    this.#inBackground(async () => {
      const here = await this.#here(id);
      await here.exclusive(() => {
        if (here.state.trouble === Trouble.fork) here.change({ state: { ...here.state, trouble: Trouble.none } });
        return Promise.resolve();
      });
      this.#context.options.onChanged(id);
    });
  }

  create(_name: string): Promise<ConversationId> {
    return Promise.reject(new FastChatError("Groups are not built yet"));
  }

  change(_id: ConversationId, _change: GroupChange): Promise<void> {
    return Promise.reject(new FastChatError("Groups are not built yet"));
  }

  leave(_id: ConversationId): Promise<void> {
    return Promise.reject(new FastChatError("Groups are not built yet"));
  }

  link(_id: ConversationId, _options: { readonly revoke: boolean }): Promise<string> {
    return Promise.reject(new FastChatError("Groups are not built yet"));
  }

  join(_link: string): Promise<ConversationId> {
    return Promise.reject(new FastChatError("Groups are not built yet"));
  }

  conversation(id: ConversationId): EngineConversation | undefined {
    const here = this.#conversations.get(id), parts = this.#ready;
    if (here?.group === undefined || here.isFounding || parts === undefined) return undefined;
    const { lib } = parts.loaded, roster = lib.rosterOf(here.group);
    const names = [...new Set(roster.members.map(({ user }) => user))];
    const roleOf = (name: UserName) =>
      ROLES[roster.info.roles.find(({ user }) => user === name)?.role ?? 0] ?? "member";
    const blocked = BLOCKED[here.state.trouble];
    return {
      id,
      isGroup: roster.info.kind === lib.Kind.group,
      name: roster.info.name,
      topic: roster.info.topic,
      members: names.map((name) => {
        const devices = roster.members.filter(({ user }) => user === name);
        return {
          name,
          role: roleOf(name),
          devices: devices.map(({ device }) => device),
          identity: devices[0]!.identity,
        };
      }),
      role: roleOf(this.#context.options.self.name),
      membersMayAdd: roster.info.membersAdd,
      links: [],
      ...(blocked === undefined ? {} : { blocked }),
    };
  }

  async connected(heads: readonly ConversationHead[] = []): Promise<void> {
    const { joiner, newcomers, loaded } = await this.#load(), { shelf, device, pending } = this.#context;
    joiner.forget();
    newcomers.forget();
    this.#compared.clear();
    await shelf.replenish(loaded, device);
    for (const id of pending.all()) this.#settleLater(id);
    for (const head of heads) {
      const here = await this.#here(head.conversation);
      if (here.sound === undefined && isPerhapsGroup(head)) joiner.wantsIn(here);
    }
    for (const ask of await this.#asks.load()) this.#answerLater(ask);
  }

  onEvent(event: Event): void {
    if (event.type === "asked") this.#answerLater(event.ask);
    else if (event.type === "welcomed") this.#welcomed(event.conversation);
    else if (event.type === "devicesChanged") {
      this.#inBackground(async () => {
        const { chores, newcomers } = await this.#load();
        newcomers.forget();
        chores.devicesChanged({ id: event.conversation }, [event.name]);
      });
    }
  }

  forget(): void {
    this.#conversations.clear();
    this.#context.groups.forget();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#asks.close();
    await Promise.allSettled([...this.#background]);
  }

  /** Into a direct conversation: its group is made where there is none, or joined. */
  async #enter(here: Conversation): Promise<void> {
    const { joiner, committer, loaded } = await this.#load(),
      { options, device } = this.#context,
      { lib, mls } = loaded;
    if (here.isFounding) await committer.settle(here);
    if (here.sound !== undefined) return;
    const peer = options.peerOf(here.id);
    if (peer === undefined || here.state.lastCommit > 0) {
      await joiner.seek(here);
      if (here.sound === undefined) throw new NotReadyError(WAITING, joiner.whenIn(here));
      return;
    }
    const add = await this.#firstMembers(here, peer);
    const group = await lib.createGroup(mls, device, {
      conversation: here.id,
      info: { kind: lib.Kind.direct, ...EMPTY_INFO },
      nowMs: options.nowMs(),
    });
    await committer.found(here, group, { add });
    if (here.sound !== undefined) return;
    await joiner.seek(here);
    if (here.sound === undefined) throw new NotReadyError(WAITING, joiner.whenIn(here));
  }

  /** All devices of both that can be added; at least one of the other's. */
  async #firstMembers(here: Conversation, peer: UserName) {
    const { newcomers } = await this.#load(), { options: { people, self, timers } } = this.#context;
    await people.fetch(peer === self.name ? [peer] : [peer, self.name]);
    const identity = people.pinned(peer);
    const shown = people.entry(peer);
    if (identity === undefined || shown === undefined) {
      throw new RefusedError(`There is nobody called ${peer}`, ErrorCode.unknownName);
    }
    await requireIdentities(this.#context, []);
    const wanted = [{ name: self.name, identity: self.identity.toHex() }];
    if (peer !== self.name) wanted.unshift({ name: peer, identity: identity.toHex() });
    const add = await newcomers.packages(here.id, wanted, (device) => device !== self.keys.id);
    if (peer !== self.name && !add.some(({ holder }) => holder.user === peer)) {
      const ready = new Promise<void>((resolve) => timers.after(NO_KEYS_RETRY_MS, resolve));
      throw new NotReadyError(
        `${peer} has left no keys to write with yet: it waits until their device was online`,
        ready,
      );
    }
    return add;
  }

  #usersOfDirect(id: ConversationId): UserName[] {
    const { self, peerOf } = this.#context.options, peer = peerOf(id);
    return peer === undefined || peer === self.name ? [self.name] : [peer, self.name];
  }

  #welcomed(id: ConversationId): void {
    this.#inBackground(async () => {
      const { joiner } = await this.#load(), here = await this.#here(id);
      joiner.forget(id);
      await joiner.seek(here);
    });
  }

  #answerLater(ask: Ask): void {
    this.#inBackground(async () => {
      const { chores, newcomers, loaded: { lib } } = await this.#load(), here = await this.#here(ask.conversation);
      const members = here.group === undefined ? 1 : lib.rosterOf(here.group).members.length;
      const own = this.#context.options.self.keys.id;
      newcomers.forget();
      this.#asks.heard(ask, members, (request, within) => lib.turnMs(own, request, within), () => {
        if (here.sound !== undefined) this.#inBackground(() => chores.run(here));
      });
    });
  }

  #settleLater(id: ConversationId): void {
    this.#inBackground(async () => {
      const { committer } = await this.#load(), here = await this.#here(id);
      await here.making.run(() => committer.settle(here));
    });
  }

  /** What fails here fails for want of a connection, and is done again with the next one. */
  #inBackground(work: () => Promise<void>): void {
    if (this.#closed) return;
    const running = work().catch(() => {}).finally(() => this.#background.delete(running));
    this.#background.add(running);
  }

  async #here(id: ConversationId): Promise<Conversation> {
    const { loaded } = await this.#load();
    let here = this.#conversations.get(id);
    if (here === undefined) this.#conversations.set(id, here = new Conversation(this.#context, loaded, id));
    return here;
  }

  #load(): Promise<Parts> {
    return this.#parts ??= this.#context.load().then((loaded) => {
      const context = this.#context, asks = this.#asks;
      const committer = new Committer(context, loaded), joiner = new Joiner(context, loaded, committer);
      const newcomers = new Newcomers(context, loaded);
      const chores = new Chores({ context, loaded, committer, asks, newcomers });
      const taker = new Taker(context, loaded, joiner), sealing = new Sealing(context, loaded);
      return this.#ready = { loaded, committer, joiner, taker, newcomers, chores, sealing };
    });
  }
}

/** A direct conversation without any commit shows a sum of revisions there; it cannot be above its head where it is a row. */
function isPerhapsGroup({ kind, epoch, head }: ConversationHead): boolean {
  return head > 0 && (kind !== 1 || epoch <= head);
}

const EMPTY_INFO: Omit<GroupInfo, "kind"> = {
  name: "",
  topic: "",
  roles: [],
  membersAdd: false,
  historySinceMs: 0,
  invites: [],
};
const ROLES = ["member", "admin", "owner"] as const;
const WAITING = "This device is not in that conversation yet: it waits until a device that is lets it in";
const NO_KEYS_RETRY_MS = 30_000;
const TEXT_ENCODER = new TextEncoder();
