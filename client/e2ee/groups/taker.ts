/**
 * Takes rows of the log (SECURITY M2, M4 to M8): what a row is, who wrote it, and what it does to the group. Whatever the server
 * says of it beside its bytes is compared with what the bytes prove.
 */
import { InnerType, openEnvelope, readEnvelope } from "../../../shared/crypto/mod.ts";
import type { DeviceId, Record, UserName } from "../../../shared/protocol/mod.ts";
import type { Step, Taken, Warning } from "../engine.ts";
import type { Member, Outcome } from "../mls/mod.ts";
import type { Asks } from "./asks.ts";
import { Kind, readBody } from "./body.ts";
import { inNextEpoch } from "./claims.ts";
import type { Context } from "./context.ts";
import type { Conversation, Next } from "./conversation.ts";
import { comersOf, groundsOf, identitiesOf } from "./grounds.ts";
import { givingTurns } from "./givers.ts";
import { historyOf } from "./history.ts";
import { currentIdentity, identityWarnings, meet } from "./identities.ts";
import type { Inviter } from "./inviter.ts";
import type { Joiner } from "./joiner.ts";
import { KeyLogFirst } from "./key_log_first.ts";
import type { Loaded } from "./library.ts";
import { linesOf } from "./lines.ts";
import { Outside } from "./outside.ts";
import { fork, gap, putOut, REFUSALS, REFUSED, rejoined, reordered, skippedCommit } from "./reasons.ts";
import { nothing, refused, type Result } from "./result.ts";
import { type ConversationState, LISTED_MAX, NEW_STATE, Trouble } from "./state_row.ts";

export class Taker {
  readonly #context: Context;
  readonly #loaded: Loaded;
  readonly #joiner: Joiner;
  readonly #asks: Asks;
  readonly #inviter: Inviter;
  readonly #outside: Outside;
  readonly #keyLogFirst: KeyLogFirst;

  constructor(
    context: Context,
    loaded: Loaded,
    { joiner, asks, inviter }: { readonly joiner: Joiner; readonly asks: Asks; readonly inviter: Inviter },
  ) {
    this.#context = context;
    this.#loaded = loaded;
    this.#joiner = joiner;
    this.#asks = asks;
    this.#inviter = inviter;
    this.#outside = new Outside(context, joiner);
    this.#keyLogFirst = new KeyLogFirst(context, loaded);
  }

  async take(here: Conversation, record: Record): Promise<{ readonly taken: Taken; readonly step: Step }> {
    const release = await here.lock();
    try {
      if (record.seq <= here.state.seq) return { taken: nothing(), step: here.step({}, release) };
      const content = readBody(record.body);
      if (content?.kind === Kind.envelope && innerTypeOf(record.body) === InnerType.text) {
        return await this.#takeText(here, record, release);
      }
      const result = await this.#read(here, record, content);
      if (result.taken.kind === "wait") return { taken: result.taken, step: here.step({}, release) };
      return { taken: result.taken, step: here.step(this.#traced(here, record, result), release) };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #takeText(here: Conversation, record: Record, release: () => void) {
    const { taken, step } = await this.#context.options.takeText(record);
    const own = here.step(this.#traced(here, record, { next: {} }), release);
    const both = (act: (step: Step) => void) => () => {
      act(own);
      act(step);
    };
    return {
      taken,
      step: { write: both((one) => one.write()), done: both((one) => one.done()), undo: both((one) => one.undo()) },
    };
  }

  /** Every row moves the rolling hash, whatever it was: that is what is compared with others (SECURITY M4). */
  #traced(here: Conversation, record: Record, { next, begins = false }: Pick<Result, "next" | "begins">): Next {
    const { lib } = this.#loaded, { traces } = this.#context, { seq, body } = record;
    const before = next.state ?? here.state, isNext = seq === here.state.seq + 1;
    // Rows that the server has removed are not in the hash of who did not see them.
    const isTraced = begins ? before.isTraced : before.isTraced && isNext;
    const history = begins ? before.history : isTraced ? lib.nextHistory(before.history, seq, body) : lib.NO_HISTORY;
    const write = () => isTraced && traces.setHistory(here.id, seq, history);
    return { ...next, state: { ...before, seq, history, isTraced }, writes: [...next.writes ?? [], write] };
  }

  async #read(here: Conversation, record: Record, content: ReturnType<typeof readBody>): Promise<Result> {
    if (content === undefined) return refused(REFUSED.newer);
    if (content.kind === Kind.mls) return await this.#message(here, record, content.content);
    return await this.#first(here, record);
  }

  /** The first message of somebody in a direct conversation travels in an envelope. */
  async #first(here: Conversation, record: Record): Promise<Result> {
    const { lib } = this.#loaded, { self } = this.#context.options, read = readEnvelope(record.body);
    if (!read.ok) return refused(REFUSED.damaged);
    const { header } = read.envelope;
    if (header.innerType !== InnerType.mls) return refused(REFUSED.newer);
    if (here.group === undefined || here.isFounding) return this.#outside.message(here, record);
    if (header.senderDevice === self.keys.id && record.device === self.keys.id) {
      // Nothing is wrapped for this device. One that it does not know is later than its state.
      const isKnown = this.#context.traces.isSeen(here.id, self.keys.id, record.messageId);
      return isKnown ? this.#own(here, record) : this.#outside.rolledBack(here);
    }
    const sender = lib.rosterOf(here.group).members.find(({ device }) => device === header.senderDevice);
    const certificate = sender && lib.certificateOf(here.group, sender.leaf);
    const verdict = certificate && await this.#context.certificates.verify(certificate);
    if (!verdict?.ok) return refused(REFUSALS["does not open"]);
    const opened = await openEnvelope({
      envelope: read.envelope,
      clusterId: self.clusterId,
      conversation: here.id,
      own: { identity: self.identity, device: self.keys.id, envelopePrivate: self.keys.envelopePrivate },
      sender: {
        identity: verdict.identity,
        device: verdict.certificate.device,
        leafKey: verdict.certificate.leafKey,
      },
      types: [InnerType.mls],
    });
    if (!opened.ok || lib.isCommit(opened.content.bytes)) return refused(REFUSALS["does not open"]);
    return await this.#message(here, record, opened.content.bytes, header.senderDevice);
  }

  async #message(here: Conversation, record: Record, bytes: Uint8Array, envelopeBy?: string): Promise<Result> {
    const { lib, mls } = this.#loaded, { keyLog, nowMs } = this.#context.options, { state } = here;
    const isCommit = lib.isCommit(bytes);
    if (isCommit && here.joining !== undefined && here.isPending(bytes)) return this.#joinedByItself(here, record);
    if (here.group === undefined || (here.isFounding && !here.isPending(bytes))) {
      return isCommit ? await this.#outside.commit(here, record) : this.#outside.message(here, record);
    }
    const notes = isCommit ? lib.peekNotes(bytes) : undefined;
    if (notes !== undefined && notes.keyLogEntries > 0) {
      const first = this.#keyLogFirst.commit(here.group, record, notes.keyLogEntries);
      if (first !== undefined) return first;
    }
    const outcome = await lib.receive(mls, here.group, bytes, {
      nowMs: nowMs(),
      ...(notes === undefined ? {} : {
        grounds: groundsOf(notes, state, keyLog, lib.leaversBy(here.group, notes.proofs ?? [])),
        identityOf: identitiesOf(notes, keyLog),
        mayComeIn: comersOf(notes, keyLog),
      }),
    });
    const seen = isCommit ? { ...state, lastCommit: record.seq } : state;
    switch (outcome.kind) {
      case "message":
        if (envelopeBy !== undefined && outcome.sender.device !== envelopeBy) return refused(REFUSED.device);
        return this.#opened(here, record, outcome);
      case "commit":
        return this.#committed(here, record, outcome);
      case "removed":
        return this.#removed(here, record, outcome);
      case "own":
        return this.#own(here, record);
      case "rolledBack":
        return this.#outside.rolledBack(here, seen);
      case "late":
        return isCommit && here.isOut
          ? await this.#outside.anew(here, record)
          : { taken: nothing(), next: { state: seen } };
      case "ahead":
        // Removed and brought back while it was away: the first row that it is shown lets it in.
        return isCommit ? await this.#outside.commit(here, record) : this.#outside.behind(here, record, seen);
      case "skipped": {
        const skipped = isCommit ? [...state.skipped, record.seq].slice(-LISTED_MAX) : state.skipped;
        const warning = skippedCommit(outcome.reason, record.sender);
        return { taken: nothing([warning]), next: { state: { ...seen, skipped } } };
      }
      case "refused":
        return { ...refused(REFUSALS[outcome.reason]), next: { state: seen } };
    }
  }

  /** A message that opened. From here on its author is proven, and the row is a claim (SECURITY M2). */
  #opened(here: Conversation, record: Record, outcome: Extract<Outcome, { kind: "message" }>): Result {
    const { lib } = this.#loaded, { options: { keyLog, self }, traces } = this.#context, { state } = here;
    const { sender, plaintext, group, wipe } = outcome, { user, device } = sender;
    const head = plaintext.view.keyLog, isEmpty = head.every((byte) => byte === 0);
    const isKnownHead = isEmpty ? true : keyLog.knows(head);
    const first = isKnownHead === undefined ? this.#keyLogFirst.message(record) : undefined;
    if (first !== undefined) return first;
    const verdict = lib.judgeView(plaintext.view, {
      epoch: lib.epochOf(here.group!),
      authenticatorAt: (epoch) => state.authenticators.find((one) => one.epoch === epoch)?.value,
      historyAt: (seq) => seq === 0 ? undefined : traces.historyAt(here.id, seq),
      knowsKeyLog: () => isKnownHead,
    });
    const used: Next = { group, wipe };
    if (record.sender !== user) return { ...refused(REFUSED.sender(record.sender)), next: used };
    if (record.device !== device) return { ...refused(REFUSED.device), next: used };
    if (record.messageId !== plaintext.messageId) return { ...refused(REFUSED.message), next: used };
    if (traces.isSeen(here.id, device, plaintext.messageId)) return { taken: nothing(), next: used };
    const warnings: Warning[] = [], last = traces.counterOf(here.id, device);
    if (last !== undefined && plaintext.counter > last + 1) warnings.push(gap(user, plaintext.counter - last - 1));
    if (last !== undefined && plaintext.counter <= last) warnings.push(reordered(user));
    if (verdict.kind === "fork") warnings.push(fork(user, verdict.of));
    // Shown as theirs, since the group says so, and never without saying that it is not the key one knows them by.
    warnings.push(...identityWarnings(this.#context, [sender]));
    const troubled = verdict.kind === "fork" ? { trouble: Trouble.fork, troubleText: user } : {};
    const writes = [
      () => traces.setSeen(here.id, device, plaintext.messageId, record.seq),
      () => traces.setCounter(here.id, device, plaintext.counter),
    ];
    const after: ConversationState = { ...state, ...troubled, heard: state.heard || user !== self.name };
    if (plaintext.type === lib.ContentType.leaveNotice) {
      const taken: Taken = {
        kind: "change",
        by: user,
        device,
        lines: [{ what: "left", who: user }],
        ended: user === self.name,
        warnings,
      };
      if (user === self.name) return { taken, next: this.#gone(here, record) };
      const { seq } = record, signature = plaintext.content;
      const isProof = signature.length === 64 && lib.leaversBy(here.group!, [{ device, signature }]).has(user);
      const leave = { seq, user, device, proof: isProof ? signature : new Uint8Array() };
      const leaves = [...state.leaves, leave].slice(-LISTED_MAX);
      return { taken, next: { state: { ...after, leaves }, group, wipe, writes } };
    }
    const next: Next = { state: after, group, wipe, writes };
    if (plaintext.type !== lib.ContentType.text) return { ...refused(REFUSED.newer), next };
    const text = decodeText(plaintext.content);
    if (text === undefined) return { ...refused(REFUSED.damaged), next };
    const devices = devicesOf(lib.rosterOf(here.group!).members);
    return {
      taken: {
        kind: "message",
        id: plaintext.messageId,
        from: user,
        device,
        text,
        sentMs: plaintext.timeMs,
        devices,
        warnings,
      },
      next,
    };
  }

  /** A commit that counts. */
  #committed(here: Conversation, record: Record, outcome: Extract<Outcome, { kind: "commit" }>): Result {
    const { lib } = this.#loaded, { self } = this.#context.options;
    const { group, by, change, notes, own, wipe, lost } = outcome;
    const before = lib.rosterOf(here.group!), after = lib.rosterOf(group);
    const left = here.state.leaves.filter(({ seq }) => notes.leaves.includes(seq)).map(({ user }) => user);
    // Who came in has what they asked for: an invitation now would take the place of the Welcome that they have not read yet.
    for (const { device } of change.added) this.#asks.drop(here.id, device);
    const isFounded = here.isFounding;
    const lines = linesOf({ before, after, change, left, identityOf: currentIdentity(this.#context) });
    const entered = inNextEpoch(this.#inEpoch(here.state, record.seq, group), after.members);
    const isCleared = entered.trouble !== here.state.trouble;
    const state: ConversationState = {
      ...entered,
      joined: isFounded ? record.seq : here.state.joined,
      leaves: here.state.leaves.filter(({ user }) => after.members.some((member) => member.user === user)),
      ...(own ? { keysMs: this.#context.options.nowMs(), keysUsed: 0, keysDue: false } : {}),
    };
    const writes = this.#restarts(here, before.members, after.members, change.added);
    if (own || lost !== undefined) writes.push(() => this.#context.pending.drop(here.id));
    const comers = givingTurns({ before, after, change, by: by.device, self: self.keys.id });
    if (comers.length > 0) writes.push(() => this.#context.options.onComers?.(here.id, comers, record.seq - 1));
    const warnings = identityWarnings(this.#context, change.added);
    const isDirect = after.info.kind === lib.Kind.direct;
    const taken: Taken = {
      kind: "change",
      by: by.user,
      device: by.device,
      lines: isFounded && !isDirect ? [{ what: "created", value: after.info.name }, ...lines] : isDirect ? [] : lines,
      ended: !after.members.some(({ device }) => device === self.keys.id),
      warnings,
    };
    return {
      taken: taken.lines.length === 0 ? nothing(warnings) : taken,
      next: {
        state,
        group,
        wipe,
        writes,
        after: () => {
          meet(this.#context, after, lib);
          this.#inviter.soon(here);
          if (!isCleared) return;
          this.#joiner.isIn(here);
          this.#context.options.onChanged(here.id);
        },
        ...(own ? { counted: record.messageId } : {}),
      },
      begins: true,
    };
  }

  /** Devices that came in count from 1. */
  #restarts(
    here: Conversation,
    before: readonly Member[],
    after: readonly Member[],
    added: readonly Omit<Member, "leaf">[],
  ): (() => void)[] {
    const { traces } = this.#context;
    const present = new Set(after.map(({ device }) => device)),
      gone = before.filter(({ device }) => !present.has(device));
    return [
      ...gone.map(({ device }) => () => traces.restart(here.id, device, undefined)),
      ...added.map(({ device }) => () => traces.restart(here.id, device, 0)),
    ];
  }

  #inEpoch(state: ConversationState, seq: number, group: NonNullable<Conversation["group"]>): ConversationState {
    const { lib } = this.#loaded;
    const authenticator = { epoch: lib.epochOf(group), value: lib.authenticatorOf(group) };
    const authenticators = [...state.authenticators, authenticator].slice(-AUTHENTICATORS_KEPT);
    const history = historyOf(lib, seq, group);
    return { ...state, lastCommit: seq, skipped: [], authenticators, history, isTraced: true };
  }

  #removed(here: Conversation, record: Record, { by, notes }: Extract<Outcome, { kind: "removed" }>): Result {
    const { self, keyLog } = this.#context.options;
    // By this very device, but not by what it knows: it came back from a copy that is older than its last join.
    if (by.device === self.keys.id) return this.#outside.rolledBack(here, { ...here.state, lastCommit: record.seq });
    const next = this.#gone(here, record);
    // Its identity had been replaced, and has certified it anew since: it asks to be let in like any new device.
    const hadEnded = keyLog.isRevoked(self.name, self.keys.id, notes.keyLogEntries);
    if (hadEnded && keyLog.isUsable(self.name, self.keys.id)) {
      this.#joiner.wantsIn(here);
      return { taken: nothing(), next: { ...next, state: { ...next.state!, trouble: Trouble.none } } };
    }
    const isDirect = this.#context.options.peerOf(here.id) !== undefined;
    return {
      taken: {
        kind: "change",
        by: by.user,
        device: by.device,
        lines: [{ what: "removed", who: self.name }],
        ended: true,
        warnings: isDirect && by.user !== self.name ? [putOut(by.user)] : [],
      },
      next,
    };
  }

  /** Not in it any more: nothing is kept but that. */
  #gone(here: Conversation, { seq }: Record): Next {
    const { pending, traces } = this.#context;
    return {
      state: { ...NEW_STATE, lastCommit: seq, trouble: Trouble.removed },
      group: null,
      joining: null,
      writes: [() => pending.drop(here.id), () => traces.restartOwn(here.id)],
    };
  }

  /** A row that this device wrote is there. */
  #own(here: Conversation, record: Record): Result {
    const { traces } = this.#context;
    return { taken: nothing(), next: { writes: [() => traces.dropSent(here.id, record.messageId)] } };
  }

  /** The commit by which this device came in by itself. */
  #joinedByItself(here: Conversation, record: Record): Result {
    const group = here.joining!, { lib } = this.#loaded, { traces, pending, options: { self, nowMs } } = this.#context;
    const roster = lib.rosterOf(group), { members, info } = roster, { missed } = here.state;
    // In a direct conversation a new device's first message takes its readers' RSA keys too.
    const heard = here.state.heard || info.kind === lib.Kind.group;
    const state: ConversationState = {
      ...this.#inEpoch({ ...NEW_STATE, seq: here.state.seq, heard }, record.seq, group),
      joined: record.seq,
      keysMs: nowMs(),
    };
    const writes = [
      () => pending.drop(here.id),
      () => traces.restartOwn(here.id),
      ...members.map(({ device }) => () => traces.restart(here.id, device, undefined)),
    ];
    const warnings = [
      ...(missed === 0 && this.#joiner.isFirst(here.id)
        ? []
        : [rejoined(missed, this.#joiner.meanwhile(here, roster))]),
      ...identityWarnings(this.#context, members),
    ];
    const { user, device } = { user: self.name, device: self.keys.id };
    return {
      taken: { kind: "change", by: user, device, lines: [], ended: false, warnings },
      next: {
        state,
        group,
        isNew: true,
        joining: null,
        writes,
        after: () => {
          meet(this.#context, roster, lib);
          this.#joiner.isIn(here);
        },
      },
      begins: true,
    };
  }
}

/** The same list for every message, until somebody comes or goes. */
function devicesOf(members: readonly Member[]): readonly { user: UserName; device: DeviceId }[] {
  let devices = devicesByMembers.get(members);
  if (devices === undefined) {
    devices = members.map(({ user, device }) => ({ user, device }));
    devicesByMembers.set(members, devices);
  }
  return devices;
}

const devicesByMembers = new WeakMap<readonly Member[], readonly { user: UserName; device: DeviceId }[]>();

function innerTypeOf(body: Uint8Array): number | undefined {
  const read = readEnvelope(body);
  return read.ok ? read.envelope.header.innerType : InnerType.text;
}

function decodeText(content: Uint8Array): string | undefined {
  try {
    return TEXT_DECODER.decode(content);
  } catch {
    return undefined;
  }
}

const TEXT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** As many as epochs whose messages still open, and this one. */
const AUTHENTICATORS_KEPT = 5;
