/**
 * Rows of the first form of encryption: envelopes that carry a text (docs/PROTOCOL.md §10). Nothing new is sent in it; what was
 * stays readable.
 */
import { equalBytes, readEnvelope } from "../../shared/crypto/mod.ts";
import type { Record, UserName } from "../../shared/protocol/mod.ts";
import type { Step, Taken, Warning } from "../e2ee/engine.ts";
import type { OpenedRecord } from "../e2ee/mod.ts";
import type { Chains } from "./chains.ts";
import type { Conversations } from "./conversations.ts";
import type { History } from "./history.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import type { Outbox } from "./outbox.ts";
import type { Remote } from "../network/remote.ts";
import { isOwnRow } from "./taking.ts";

export interface TextRowsOptions {
  readonly conversations: Conversations;
  readonly history: History;
  readonly chains: Chains;
  readonly outbox: Outbox;
  readonly keyring: Keyring;
  readonly self: Self;
  ready(): Promise<Remote>;
}

export class TextRows {
  readonly #options: TextRowsOptions;

  constructor(options: TextRowsOptions) {
    this.#options = options;
  }

  /** Takes the next row of a conversation, as the engine does with its own. */
  async take(record: Record): Promise<{ readonly taken: Taken; readonly step: Step }> {
    const { conversations, keyring, ready } = this.#options, conversation = conversations.get(record.conversation);
    // Of this home, or of a time when there was one form only: in groups there never was this one.
    if (isOwnRow(this.#options, record)) return unchanged({ kind: "nothing", warnings: [] });
    if (conversation === undefined || conversation.peer === "") return unchanged(refusal("It is damaged", false));
    const opened = await keyring.open(record, conversation.peer, await ready());
    switch (opened.kind) {
      case "repeat":
        return unchanged({ kind: "nothing", warnings: [] });
      case "refused":
        return unchanged(
          refusal(opened.reason, opened.code === "identity changed" || opened.code === "unknown device"),
        );
      case "message":
        return this.#place(record, opened, conversation.begins);
    }
  }

  /** By the device's own counter, which the server cannot forge. */
  #place(
    record: Record,
    { message, chain }: Extract<OpenedRecord, { kind: "message" }>,
    begins: number,
  ): { readonly taken: Taken; readonly step: Step } {
    const { history, chains } = this.#options, { conversation, id, from, to, device, text, sentMs } = message;
    const last = chains.of(conversation, device);
    const step: Step = {
      write: () => {
        if (last === undefined || chain.counter > last.counter) chains.set(conversation, device, chain);
      },
      done: () => {},
      undo: () => {},
    };
    // Sent again after the server had lost it: nothing new was said, under a new number.
    if (history.has(conversation, device, id)) return { taken: { kind: "nothing", warnings: [] }, step };
    if (last && chain.counter <= last.counter) {
      const reason = "Its number was used before: it is a repeat, or its device was set back to an earlier state";
      return unchanged(refusal(reason, false));
    }
    // Who began before this device did, or before what the server still has, begins in the middle: nothing is missing.
    const isBeginning = last === undefined ? begins > 0 : last.hash.length === 0;
    const missed = isBeginning ? 0 : chain.counter - (last?.counter ?? 0) - 1, warnings: Warning[] = [];
    if (missed > 0) warnings.push(gap(from, `${missed} messages of ${from} before this one never came`));
    else if (last && !isBeginning && !follows(record, last.hash)) {
      warnings.push(gap(from, `${from} sent this after another message than the one that came before it`));
    }
    const devices = devicesOf(record).map((one) => ({ user: to, device: one }));
    return { taken: { kind: "message", id, from, device, text, sentMs, devices, warnings }, step };
  }
}

function unchanged(taken: Taken): { readonly taken: Taken; readonly step: Step } {
  return { taken, step: { write: () => {}, done: () => {}, undo: () => {} } };
}

function refusal(reason: string, retryable: boolean): Taken {
  return { kind: "refused", reason, retryable, warnings: [] };
}

function gap(name: UserName, text: string): Warning {
  return { code: "gap", name, text };
}

function follows(record: Record, hash: Uint8Array): boolean {
  const read = readEnvelope(record.body);
  return read.ok && equalBytes(read.envelope.header.previous, hash);
}

function devicesOf(record: Record) {
  const read = readEnvelope(record.body);
  return read.ok ? read.envelope.header.devices : [];
}
