/**
 * Takes the rows of one conversation, one after the other: what the engine says of a row, the history, the cursor and the engine's
 * own state become true in one transaction. Nothing is taken twice, whatever dies when.
 */
import { envelopeHash, equalBytes } from "../../shared/crypto/mod.ts";
import type { ConversationId, MessageId, Record, UserName } from "../../shared/protocol/mod.ts";
import type { ChangeLine, Engine, EngineConversation, Step, Taken, Warning } from "../e2ee/engine.ts";
import type { Joined } from "./engine_host.ts";
import { type Conversation, ConversationKind } from "./conversations.ts";
import { type NewMessage, Own } from "./message_row.ts";
import type { InboxOptions } from "./inbox_options.ts";
import { sanitizeLine, sanitizeText } from "../sanitize.ts";

/** The row cannot be taken yet. */
export type Waiting = Extract<Taken, { kind: "wait" }>;

export class Taking {
  readonly #id: ConversationId;
  readonly #options: InboxOptions;
  /** What is kept of the group, to know a change from a repetition. */
  #facts: string | undefined;

  constructor(id: ConversationId, options: InboxOptions) {
    this.#id = id;
    this.#options = options;
  }

  /**
   * Takes the row behind the cursor. Only while this process owns the home.
   *
   * @returns What it waits for, where it was not taken.
   */
  async take(engine: Engine, record: Record): Promise<Waiting | undefined> {
    const isMine = isOwnRow(this.#options, record);
    const { taken, step } = await engine.take(record);
    if (taken.kind === "wait") {
      step.undo();
      return taken;
    }
    const after = this.#commit(record, taken, step, isMine);
    if (taken.kind === "change" && taken.ended) this.#facts = undefined;
    // Its own messages aside, any row may have changed the group, or be the first that this process sees of it.
    if (taken.kind !== "message" || this.#facts === undefined) this.keepFacts(engine);
    for (const act of after) act();
    return undefined;
  }

  /** This device came in without a row of the log: one stands at its beginning all the same. */
  joined(engine: Engine, taken: Joined): void {
    const { database, conversations, history, self } = this.#options;
    // What it is called comes first: whoever hears of it may ask.
    this.#facts = undefined;
    this.keepFacts(engine);
    database.transaction(() => {
      const { kind, cursor } = conversations.get(this.#id)!;
      if (taken.kind !== "change" || kind !== ConversationKind.group || taken.lines.length === 0) return;
      const { by, device, ended } = taken;
      history.add({
        conversation: this.#id,
        seq: cursor,
        id: NOBODYS_ID as MessageId,
        timeMs: Date.now(),
        sender: by,
        recipient: "" as UserName,
        device,
        own: by === self.name ? Own.elsewhere : Own.no,
        change: { lines: taken.lines.map(cleanLine), ended },
      });
    });
    for (const warning of taken.warnings) this.#warn(warning);
  }

  /** Keeps what the group says of itself: name, topic, members, and for whom is sealed from here on. */
  keepFacts(engine: Engine): void {
    const { database, conversations, states, keyring, self } = this.#options;
    const state = engine.conversation(this.#id), known = conversations.get(this.#id);
    if (state === undefined || known === undefined) return;
    const facts = factsOf(state);
    if (facts === this.#facts) return;
    const others = state.members.filter(({ name }) => name !== self.name);
    database.transaction(() => {
      if (known.kind === ConversationKind.group) {
        const { name, topic, members } = state;
        conversations.setGroup(this.#id, { name, topic, members, ended: false });
      }
      const devices = others.flatMap(({ name, devices }) => devices.map((device) => ({ user: name, device })));
      states.setRoster(this.#id, conversations.get(this.#id)!.cursor, devices);
    });
    this.#facts = facts;
    // Whom one talks with is pinned at first contact, whoever of the two began.
    if (known.kind === ConversationKind.direct) {
      for (const { name, identity } of others) {
        if (keyring.pinned(name) === undefined) keyring.check(name, Uint8Array.fromHex(identity));
      }
    }
  }

  #commit(record: Record, taken: Exclude<Taken, Waiting>, step: Step, isMine: boolean): (() => void)[] {
    const { database, conversations, history } = this.#options, after: (() => void)[] = [];
    let isTaken: boolean, warnings = taken.warnings;
    try {
      isTaken = database.transaction(() => {
        const now = conversations.get(this.#id)!;
        if (now.cursor + 1 !== record.seq) return false;
        // Behind what the server has removed, or lost with a backup, everybody begins in the middle: nothing is missed.
        const begins = taken.kind === "message" && now.begins > 0 &&
          !history.hasBehind(this.#id, taken.device, now.begins);
        if (begins) warnings = warnings.filter(({ code }) => code !== "gap");
        if (isMine) this.#keepMine(record, after);
        else this.#keep(record, taken, now);
        conversations.setCursor(this.#id, record.seq, envelopeHash(record.body));
        step.write();
        return true;
      });
    } catch (error) {
      step.undo();
      throw error;
    }
    if (!isTaken) {
      step.undo();
      return [];
    }
    step.done();
    return [...after, ...warnings.map((warning) => () => this.#warn(warning))];
  }

  #keepMine({ messageId: id, seq, timeMs }: Record, after: (() => void)[]): void {
    const { outbox, history, self, onSettled } = this.#options;
    if (outbox.storedWithin(id, { seq, timeMs }, { name: self.name, device: self.keys.id })) {
      after.push(() => onSettled(id));
    }
    history.dropOwnBody(this.#id, seq);
  }

  #keep(record: Record, taken: Exclude<Taken, Waiting>, { peer, kind }: Conversation): void {
    const { conversations, history, states, self } = this.#options;
    const row = { conversation: this.#id, seq: record.seq, timeMs: record.timeMs, hash: envelopeHash(record.body) };
    const isGroup = kind === ConversationKind.group;
    switch (taken.kind) {
      case "nothing":
        return;
      case "message": {
        const { id, from, device } = taken;
        // Sent again after the server had lost it: nothing new was said.
        if (history.has(this.#id, device, id)) return;
        history.add({
          ...row,
          id,
          sender: from,
          recipient: recipientOf(from),
          device,
          own: from === self.name ? Own.elsewhere : Own.no,
          text: sanitizeText(taken.text),
        });
        if (from === self.name) states.said(this.#id, record.seq, taken.devices.map((one) => one.device));
        return;
      }
      case "change": {
        const { by, device, ended } = taken, lines = taken.lines.map(cleanLine);
        if (ended && isGroup) conversations.endGroup(this.#id);
        // Between two people there are no members to tell of.
        if (!isGroup || (lines.length === 0 && !ended)) return;
        const own = by !== self.name ? Own.no : device === self.keys.id ? Own.here : Own.elsewhere;
        return history.add({
          ...row,
          id: record.messageId,
          sender: by,
          recipient: recipientOf(by),
          device,
          own,
          change: { lines, ended },
        });
      }
      case "refused":
        return history.add(
          {
            ...row,
            id: record.messageId,
            sender: record.sender,
            recipient: recipientOf(record.sender),
            device: record.device,
            // Whatever the row claims: what was refused has to be seen.
            own: Own.no,
            reason: taken.reason,
            ...(taken.retryable && { body: record.body }),
          } satisfies NewMessage,
        );
    }
    function recipientOf(sender: UserName): UserName {
      return isGroup || sender === self.name ? peer : self.name;
    }
  }

  #warn({ code, name, text }: Warning): void {
    this.#options.onNotice({ type: "notice", code, ...(name && { name }), conversation: this.#id, text });
  }
}

/** A row that this very device handed in: known by its id and, while it waits in the outbox, by its bytes. */
export function isOwnRow(
  { outbox, history, self }: Pick<InboxOptions, "outbox" | "history" | "self">,
  row: Record,
): boolean {
  if (row.sender !== self.name || row.device !== self.keys.id) return false;
  if (history.hasOwn(row.conversation, row.seq)) return true;
  const sealed = outbox.sealedBody(row.messageId);
  return sealed !== undefined && equalBytes(sealed, row.body);
}

/** Of a row that the log does not have. */
const NOBODYS_ID = "0".repeat(32);

/** Names and topics are somebody else's words. */
function cleanLine(line: ChangeLine): ChangeLine {
  return line.value === undefined ? line : { ...line, value: sanitizeLine(line.value) };
}

function factsOf({ name, topic, members }: EngineConversation): string {
  return JSON.stringify([name, topic, members.map(({ name, role, devices }) => [name, role, devices])]);
}
