/**
 * Makes commits and sees them through (SECURITY M7): an intention becomes a commit, is stored pending, offered to the server, and
 * counts when its row is taken. A race that is lost is run again from the intention, on the group as it is then.
 *
 * Safe wherever it stops: what is stored goes out again with the same bytes under the same id, and a commit is given up only
 * where the server names a newer one and all rows up to that were taken without finding it.
 */
import { ErrorCode } from "../../../shared/errors.ts";
import { InnerType } from "../../../shared/crypto/mod.ts";
import { COMMIT_BODY_BYTES_MAX, TREE_BYTES_MAX } from "../../../shared/limits.ts";
import type { MessageId, RequestOf, UserName } from "../../../shared/protocol/mod.ts";
import { FastChatError } from "../../errors.ts";
import { ServerRefusal } from "../../network/failures.ts";
import type { CommitNotes, Committed, Group, Intent, Roster } from "../mls/mod.ts";
import { mlsBody } from "./body.ts";
import type { Context } from "./context.ts";
import type { Conversation } from "./conversation.ts";
import { groundsOf, identitiesOf } from "./grounds.ts";
import { sealLetter } from "./letter.ts";
import type { Loaded } from "./library.ts";

export interface Wish extends Intent {
  /** Rows of leave notices that it acts on. */
  readonly leaves?: readonly number[];
  /** Members to whom the server delivers nothing, and is to again. */
  readonly serve?: readonly UserName[];
}

/** What a change needs does not fit: new keys for each of very many devices that never had any of their own, or their tree. */
export class CommitTooLarge extends FastChatError {
  override readonly name = "CommitTooLarge";
}

/** What is still to be done to a group; `undefined` where nothing is. Network inside. */
export type Intention = (group: Group, roster: Roster) => Promise<Wish | undefined>;

export class Committer {
  readonly #context: Context;
  readonly #loaded: Loaded;

  constructor(context: Context, loaded: Loaded) {
    this.#context = context;
    this.#loaded = loaded;
  }

  /**
   * Does what is intended until nothing of it is left to do; with `once`, until one commit of it counts: whoever changes that
   * again afterwards is not contradicted.
   *
   * @throws ChangeRefused where it is not allowed, ServerRefusal, ConnectionLostError (what is pending stays so).
   */
  async run(here: Conversation, intention: Intention, { once = false } = {}): Promise<void> {
    await here.making.run(async () => {
      const { lib } = this.#loaded;
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        await this.settle(here);
        const group = here.sound;
        if (group === undefined) {
          throw new FastChatError("You are not in this conversation, or nothing can be sent in it");
        }
        const wish = await intention(group, lib.rosterOf(group));
        if (wish === undefined) return;
        const made = await here.exclusive(() => this.#make(here, group, wish));
        await this.settle(here);
        if (once && made !== undefined && here.counted === made) return;
      }
      throw new FastChatError("Others change this conversation all the time: try again later");
    });
  }

  /**
   * Makes the first commit of a group that this device founds. Resolves when it is known whose group counts.
   *
   * @param lastCommit Of the conversation: one that came since makes this one needless.
   */
  async found(here: Conversation, group: Group, wish: Wish, lastCommit = here.state.base): Promise<void> {
    await here.making.run(async () => {
      await here.exclusive(async () => {
        if (here.group !== undefined || here.state.lastCommit > lastCommit) return;
        const { committed, request } = await this.#request(here, group, wish);
        const writes = [() => this.#context.pending.write(here.id, request)];
        here.change({ group: committed.group, isNew: true, writes });
      });
      await this.settle(here);
    });
  }

  /** Finds out what became of a commit on its way: it counts, it lost, or it is given up. */
  async settle(here: Conversation): Promise<void> {
    const { pending, options } = this.#context;
    for (;;) {
      const request = pending.load(here.id);
      if (request === undefined) return;
      let stored: Awaited<ReturnType<typeof options.ask<"commit">>>;
      try {
        stored = await options.ask<"commit">(request);
      } catch (error) {
        if (!(error instanceof ServerRefusal) || isPassing(error)) throw error;
        const isStale = error.code === ErrorCode.staleEpoch;
        if (isStale) await here.takenUpTo(error.response.epoch);
        await this.#giveUp(here, request, isStale ? error.response.epoch : undefined);
        if (!isStale) throw error;
        return;
      }
      await here.takenUpTo(stored.seq);
      // Taken as a commit that counts, or that lost; else it was none that this device could follow.
      await this.#giveUp(here, request, undefined);
    }
  }

  async #giveUp(here: Conversation, { messageId }: RequestOf<"commit">, newest: number | undefined): Promise<void> {
    const { lib } = this.#loaded, { pending } = this.#context;
    await here.exclusive(() => {
      // Meanwhile its row may have been taken.
      if (pending.load(here.id)?.messageId !== messageId) return Promise.resolve();
      const { group } = here;
      here.change({
        state: { ...here.state, ...(newest === undefined ? {} : { lastCommit: newest }) },
        ...(group === undefined ? {} : { group: here.isFounding ? null : lib.withoutPending(group) }),
        joining: null,
        writes: [() => pending.drop(here.id)],
      });
      return Promise.resolve();
    });
  }

  async #make(here: Conversation, seen: Group, wish: Wish): Promise<MessageId | undefined> {
    const { lib } = this.#loaded, { group } = here;
    // The intention was for a group that is over: it is asked again.
    if (group === undefined || group.pending !== undefined || lib.epochOf(group) !== lib.epochOf(seen)) {
      return undefined;
    }
    const { committed, request } = await this.#request(here, group, wish);
    here.change({ group: committed.group, writes: [() => this.#context.pending.write(here.id, request)] });
    return request.messageId;
  }

  async #request(
    here: Conversation,
    group: Group,
    wish: Wish,
  ): Promise<{ committed: Committed; request: RequestOf<"commit"> }> {
    const { lib, mls } = this.#loaded, { options: { keyLog, random } } = this.#context, { state } = here;
    const cited = new Set(wish.leaves);
    const proofs = state.leaves.flatMap(({ seq, device, proof }) =>
      cited.has(seq) && proof.length > 0 ? [{ device, signature: proof }] : []
    );
    const notes: CommitNotes = {
      skipped: [...state.skipped],
      leaves: [...cited],
      keyLogEntries: keyLog.length,
      proofs,
    };
    const before = lib.rosterOf(group);
    const committed = await lib.commitChange(mls, group, wish, {
      notes,
      grounds: groundsOf(notes, state, keyLog, lib.leaversBy(group, proofs)),
      identityOf: identitiesOf(notes, keyLog),
    });
    if (committed.body.length + 2 > COMMIT_BODY_BYTES_MAX) {
      throw new CommitTooLarge(
        "There are so many devices in this group that such a change does not fit: it can be made when more of them have written",
      );
    }
    if ((committed.sealedTree?.length ?? 0) > TREE_BYTES_MAX) {
      throw new CommitTooLarge("There are so many devices in this group that no further ones can be let in");
    }
    const after = lib.rosterOf(committed.group.pending!);
    const isGroup = after.info.kind === lib.Kind.group;
    const were = usersOf(before), are = usersOf(after), messageId = random.bytes(16).toHex() as MessageId;
    return {
      committed,
      request: {
        type: "commit",
        conversation: here.id,
        messageId,
        lastCommit: state.lastCommit,
        body: mlsBody(committed.body),
        // Who is in a direct conversation, its id says.
        add: isGroup ? [...[...are].filter((user) => !were.has(user)), ...wish.serve ?? []] : [],
        remove: isGroup ? [...were].filter((user) => !are.has(user)) : [],
        welcomes: await this.#letters(here, wish, committed, messageId),
        tree: committed.sealedTree ?? new Uint8Array(),
      },
    };
  }

  async #letters(here: Conversation, { add = [] }: Wish, { welcomes }: Committed, messageId: MessageId) {
    const { options: { self, nowMs }, certificates } = this.#context;
    return await Promise.all(welcomes.map(async ({ device, bytes }) => {
      const { credential } = add.find(({ holder }) => holder.device === device)!.keyPackage.leafNode;
      return await sealLetter({
        self,
        certificates,
        to: (credential as { identity: Uint8Array }).identity,
        conversation: here.id,
        messageId,
        timeMs: nowMs(),
        type: InnerType.welcome,
        content: bytes,
      });
    }));
  }
}

/** The same request may be granted later. */
function isPassing({ code }: ServerRefusal): boolean {
  return code === ErrorCode.busy || code === ErrorCode.unavailable || code === ErrorCode.diskFull ||
    code === ErrorCode.notAuthenticated || code === ErrorCode.internal;
}

function usersOf({ members }: Roster): ReadonlySet<UserName> {
  return new Set(members.map(({ user }) => user));
}

/** Each lost race is somebody else's progress; a group that never lets anybody through is left alone. */
const ATTEMPTS_MAX = 32;
