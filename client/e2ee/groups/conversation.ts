/**
 * One conversation in memory and on disk: its group, what is known beside it, and the order in which both change.
 *
 * A change is decided on values, then written in one transaction, the caller's or our own, and only then believed. Between
 * the two nothing else happens in this conversation.
 */
import { assert } from "../../../shared/assert.ts";
import { equalBytes, sha256 } from "../../../shared/crypto/mod.ts";
import type { ConversationId, MessageId } from "../../../shared/protocol/mod.ts";
import type { Step } from "../engine.ts";
import type { Group } from "../mls/mod.ts";
import type { Context } from "./context.ts";
import type { Loaded } from "./library.ts";
import { Mutex } from "./mutex.ts";
import { type ConversationState, NEW_STATE, Trouble } from "./state_row.ts";

/** What a conversation becomes. What is left out stays. */
export interface Next {
  readonly state?: ConversationState;
  /** `null`: there is none any more. */
  readonly group?: Group | null;
  /** It does not follow from the one that is there, but takes its place. */
  readonly isNew?: boolean;
  /** This device's own join on its way: the group it would have. */
  readonly joining?: Group | null;
  /** More rows of the same transaction. */
  readonly writes?: readonly (() => void)[];
  /** This device's own commit that counts by it. */
  readonly counted?: MessageId;
  /** Keys that were used up; called when the transaction has committed. */
  readonly wipe?: () => void;
  /** Whoever waited for it is told, once it is so. */
  readonly after?: () => void;
}

export class Conversation {
  readonly id: ConversationId;
  /** One commit maker at a time. */
  readonly making = new Mutex();
  /** This device's newest commit that counts. */
  counted: MessageId | undefined;
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #changing = new Mutex();
  #state: ConversationState;
  #group: Group | undefined;
  #joining: Group | undefined;
  #isRead = false;
  #waiting: { seq: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #ended: Error | undefined;
  /** Of the log, as it was listed. */
  #head = 0;
  #listedEpoch = 0;

  constructor(context: Context, loaded: Loaded, id: ConversationId) {
    this.id = id;
    this.#context = context;
    this.#loaded = loaded;
    this.#state = context.states.load(id) ?? NEW_STATE;
  }

  get state(): ConversationState {
    return this.#state;
  }

  /** The group, its founding one too, whose first commit nobody may have taken. */
  get group(): Group | undefined {
    this.#read();
    return this.#group;
  }

  get joining(): Group | undefined {
    this.#read();
    return this.#joining;
  }

  /** This device made it, and does not know yet whether another one was first. */
  get isFounding(): boolean {
    return this.#state.joined === 0 && this.group !== undefined;
  }

  /** The group, where one is in it and nothing is wrong with it. */
  get sound(): Group | undefined {
    return this.isFounding || this.#state.trouble !== Trouble.none ? undefined : this.group;
  }

  /** Whether somebody must let it in: it has no group, or one that it can do nothing with. */
  get isOut(): boolean {
    const { trouble } = this.#state;
    if (trouble === Trouble.withheld || trouble === Trouble.rolledBack) return true;
    return this.#state.joined === 0 && this.group === undefined;
  }

  /** Whether a commit's bytes are those on their way. */
  isPending(commit: Uint8Array): boolean {
    const request = this.#context.pending.load(this.id);
    return request !== undefined && equalBytes(sha256(request.body.subarray(2)), sha256(commit));
  }

  /** Runs with nothing else going on here. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#changing.run(work);
  }

  /** Begins a change that somebody else's transaction ends: see {@linkcode step}. */
  lock(): Promise<() => void> {
    return this.#changing.lock();
  }

  /** A change, as a step of the caller's transaction. @param release What {@linkcode lock} gave. */
  step(next: Next, release: () => void): Step {
    let isOver = false;
    const end = (apply: () => void) => {
      assert(!isOver, "A step is over once");
      isOver = true;
      try {
        apply();
      } finally {
        // What goes wrong behind a step stops nobody here for ever.
        release();
        this.#wake();
      }
    };
    return {
      write: () => this.#write(next),
      done: () =>
        end(() => {
          this.#apply(next);
        }),
      undo: () => end(() => this.#context.groups.forget(this.id)),
    };
  }

  /** A change in a transaction of its own. Only inside {@linkcode exclusive}. */
  change(next: Next): void {
    try {
      this.#context.options.database.transaction(() => this.#write(next));
    } catch (error) {
      this.#context.groups.forget(this.id);
      throw error;
    }
    this.#apply(next);
    this.#wake();
  }

  /** Resolves when the rows up to here were taken, or this user is no longer in it. Rejects when {@linkcode end} comes first. */
  async takenUpTo(seq: number): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#state.seq >= seq || this.#state.trouble === Trouble.removed) return;
    const taken = new Promise<void>((resolve, reject) => this.#waiting.push({ seq, resolve, reject }));
    this.#context.options.onReaches(this.id, seq);
    await taken;
  }

  /**
   * What the server lists of it on a new connection: this device begins behind the cursor, where it has taken nothing yet, and
   * nothing is sealed before it has come up to the head. Its own messages may be among those rows (SECURITY M11).
   */
  async begin(
    { cursor, head, epoch }: { readonly cursor: number; readonly head: number; readonly epoch: number },
  ): Promise<void> {
    this.#head = Math.max(this.#head, head);
    this.#listedEpoch = epoch;
    await this.exclusive(() => {
      // One that was put back has a group, and reads its own messages again.
      if (this.#state.seq < cursor && this.#state.joined === 0 && this.group === undefined) {
        this.change({ state: { ...this.#state, seq: cursor } });
      }
      return Promise.resolve();
    });
  }

  /**
   * What it is when rows up to a place are not coming (see {@linkcode Engine.passed}). A direct conversation begins anew where the
   * server was restored, whether its newest commit is lost or not: its members are known, and all must do the same.
   */
  behind({ upTo, kept }: { readonly upTo: number; readonly kept?: number }, isDirect: boolean): Next {
    const { lib } = this.#loaded, { pending } = this.#context;
    const seq = Math.max(this.#state.seq, upTo), unknown = { isTraced: false, history: lib.NO_HISTORY };
    if (kept === undefined) return { state: { ...this.#state, seq, ...unknown } };
    const isLost = this.#state.lastCommit > kept;
    // What the server names where it knows of no commit is no row.
    const lastCommit = isLost ? (this.#listedEpoch <= kept ? this.#listedEpoch : 0) : this.#state.lastCommit;
    const again = { joining: null, writes: [() => pending.drop(this.id)] };
    if (isDirect) {
      const begun = { ...NEW_STATE, seq, base: upTo, lastCommit };
      // Whose first word is the first behind the restore hears of that last: what is on its way there is not taken back.
      if (this.isFounding) return { joining: null, state: begun };
      return { ...again, group: null, state: begun };
    }
    const state = { ...this.#state, seq, ...unknown, base: upTo, lastCommit };
    if (!isLost || state.trouble === Trouble.removed) return { state };
    return { ...again, state: { ...state, trouble: Trouble.withheld } };
  }

  /** Past epochs that are over go, also where nothing happens (SECURITY M12). What was not in memory does not stay there. */
  forgetOld(): Promise<void> {
    return this.exclusive(() => {
      const { lib } = this.#loaded, { groups, device, options: { nowMs, database }, scrubber } = this.#context;
      const group = this.#isRead ? this.#group : groups.load(this.#loaded, device, this.id);
      const kept = group && lib.forgetOldEpochs(group, nowMs());
      if (kept === undefined || kept === group) database.transaction(() => groups.notePast(lib, this.id, group));
      else if (this.#isRead) this.change({ group: kept });
      else {
        database.transaction(() => groups.write(lib, this.id, group, kept));
        groups.forget(this.id);
        scrubber.soon();
      }
      return Promise.resolve();
    });
  }

  /** Resolves when all that was listed is taken. */
  async caughtUp(): Promise<void> {
    await this.takenUpTo(this.#head);
  }

  get isCaughtUp(): boolean {
    return this.#state.seq >= this.#head;
  }

  /** It is not the true one any more: whoever waits here is told, and begins again. */
  end(reason: Error): void {
    this.#ended = reason;
    for (const { reject } of this.#waiting) reject(reason);
    this.#waiting = [];
  }

  /** The server named another row as the newest commit: what it counts as one is its own to say, once all up to there is taken. */
  async stale(newest: number): Promise<void> {
    await this.takenUpTo(newest);
    await this.exclusive(() => {
      if (this.#state.lastCommit !== newest) this.change({ state: { ...this.#state, lastCommit: newest } });
      return Promise.resolve();
    });
  }

  #write({ state, group, isNew, joining, writes = [] }: Next): void {
    const { groups, states } = this.#context, { lib } = this.#loaded;
    if (state !== undefined) states.write(this.id, state);
    if (group === null) groups.drop(this.id);
    else if (group !== undefined) groups.write(lib, this.id, isNew ? undefined : this.group, group);
    if (joining === null) groups.drop(this.#joiningSlot);
    else if (joining !== undefined) groups.write(lib, this.#joiningSlot, undefined, joining);
    for (const write of writes) write();
  }

  /** Groups are read when they are needed: a home may have many. */
  #read(): void {
    if (this.#isRead) return;
    const { groups, device } = this.#context;
    this.#group = groups.load(this.#loaded, device, this.id);
    this.#joining = groups.load(this.#loaded, device, this.#joiningSlot);
    this.#isRead = true;
  }

  #apply({ state, group, joining, counted, wipe, after }: Next): void {
    this.#read();
    if (group !== undefined) this.#context.scrubber.soon();
    if (counted !== undefined) this.counted = counted;
    if (state !== undefined) this.#state = state;
    if (group !== undefined) this.#group = group ?? undefined;
    if (joining !== undefined) this.#joining = joining ?? undefined;
    wipe?.();
    after?.();
  }

  #wake(): void {
    // Who is no longer in it is not shown any more: there is nothing to wait for.
    const seq = this.#state.trouble === Trouble.removed ? Infinity : this.#state.seq;
    const ready = this.#waiting.filter((waiter) => waiter.seq <= seq);
    this.#waiting = this.#waiting.filter((waiter) => waiter.seq > seq);
    for (const { resolve } of ready) resolve();
  }

  get #joiningSlot(): string {
    return `${this.id} joining`;
  }
}
