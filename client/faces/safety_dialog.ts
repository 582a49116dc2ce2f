/** Shows somebody's safety number in a chat, and does what the person decides over it. */
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import type { ChatClient } from "../chat_client.ts";
import { CannotReachError, TimedOutError, UsageError } from "../errors.ts";
import type { Safety } from "../trust/people.ts";
import { qrModules } from "./qr.ts";
import { pressSafety, type SafetyEffect, type SafetyPopup, viewSafety } from "./safety_popup.ts";
import type { SafetyScreen } from "./safety_screen.ts";
import type { Overlay } from "./terminal.ts";

/** What is compared with somebody now. Without a server the home's word has to do. @throws UsageError where it has none. */
export async function safetyWith(chat: ChatClient, name: string, timeoutMs?: number): Promise<Safety> {
  try {
    if (chat.isConnected) return await chat.meet(name, timeoutMs === undefined ? {} : { timeoutMs });
  } catch (error) {
    if (!(error instanceof CannotReachError || error instanceof TimedOutError)) throw error;
  }
  const known = chat.safety(name);
  if (known === undefined) throw new UsageError(`The key of ${name} is not known here yet, and there is no connection`);
  return known;
}

export function safetyScreen(chat: ChatClient, safety: Safety, withCode: boolean): SafetyScreen {
  return {
    self: chat.name,
    own: formatFingerprint(chat.fingerprint),
    safety,
    trust: chat.trustOf(safety.name),
    ...(withCode && { qr: qrModules(safety.uri) }),
  };
}

/** The popup, for a terminal to show. @param decided What the person wants done; the popup is gone then. */
export function safetyOverlay(screen: SafetyScreen, decided: (effect: SafetyEffect) => void): Overlay {
  let popup: SafetyPopup = { screen, step: "compare" };
  return {
    view: (columns, rows) => viewSafety(popup, columns, rows, !Deno.noColor),
    press(key) {
      const next = pressSafety(popup, key);
      if (next.popup !== undefined) popup = next.popup;
      if (next.effect !== undefined) decided(next.effect);
      return next.popup !== undefined;
    },
  };
}

/** Does it. A changed key is accepted by the number that was compared, and by no other. */
export async function decideSafety(
  chat: ChatClient,
  { name, number, ...safety }: Safety,
  effect: SafetyEffect,
): Promise<void> {
  if (effect === "unverify") return chat.unverify(name);
  if (effect === "trust") return void await chat.verifyNumber(name, number);
  chat.verify({ ...safety, name, number });
}
