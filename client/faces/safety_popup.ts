/**
 * Pure: the popup in which somebody's safety number is compared. Keys in; the next state and what should be done out; the state as
 * rows of a screen.
 */
import type { Key } from "./editor.ts";
import { popupRows } from "./popup.ts";
import { safetyRows, type SafetyScreen } from "./safety_screen.ts";

export interface SafetyPopup {
  readonly screen: SafetyScreen;
  /** "compare": shown, nothing said yet. "sure": asked whether all digits are equal. "differs": they said no. */
  readonly step: "compare" | "sure" | "differs";
}

export type SafetyEffect = "verify" | "unverify" | "trust";

/**
 * What a key does. A paste says nothing.
 *
 * @returns The next state, `undefined` when it is over; and what the person decided.
 */
export function pressSafety(
  popup: SafetyPopup,
  key: Key,
): { readonly popup: SafetyPopup | undefined; readonly effect?: SafetyEffect } {
  if ("text" in key && key.isPasted) return { popup };
  const pressed = "text" in key ? key.text.toLowerCase() : key.name;
  if (["escape", "ctrl-c", "ctrl-d", "alt-v", "q"].includes(pressed)) return { popup: undefined };
  const { trust } = popup.screen.trust;
  if (popup.step === "sure") {
    if (pressed === "y") return { popup: undefined, effect: trust === "changed" ? "trust" : "verify" };
    if (pressed === "n") return { popup: { ...popup, step: "differs" } };
    return { popup };
  }
  if (pressed === "v" && trust !== "verified") return { popup: { ...popup, step: "sure" } };
  if (pressed === "u" && trust === "verified") return { popup: undefined, effect: "unverify" };
  if (pressed === "enter" || pressed === "n") {
    return { popup: pressed === "n" ? { ...popup, step: "differs" } : undefined };
  }
  return { popup };
}

/** Exactly `rows` rows, the last of them the keys; none wider than `columns`. */
export function viewSafety(popup: SafetyPopup, columns: number, rows: number, colour: boolean): string[] {
  const content = safetyRows(popup.screen, { columns, rows: rows - 1, colour }, below(popup));
  return popupRows(content, keys(popup), columns, rows);
}

function below({ step, screen: { safety: { name }, trust: { trust } } }: SafetyPopup): string {
  if (step === "sure") return `Are all 60 digits on ${name}'s screen the same? y or n`;
  if (step === "differs") {
    return `Then do not trust this key. Compare once more; if they still differ, somebody may be in between: ` +
      `write nothing to ${name} that others must not read, and tell whoever runs the server.`;
  }
  if (trust === "verified") return `You compared this number with ${name}.`;
  if (trust === "changed") {
    return `${name}'s key changed: nothing is sent to ${name}. Compare this number in person or by phone: if it is the same on ` +
      `${name}'s screen, the new key is theirs.`;
  }
  return `Compare in person or by phone: ${name} sees the same number with /verify.`;
}

function keys({ step, screen: { trust: { trust } } }: SafetyPopup): string {
  if (step === "sure") return "y: the same   n: not the same   Esc: back";
  if (step === "differs") return "v: they are the same after all   Esc: back";
  return `${trust === "verified" ? "u: take the mark away" : "v: they are the same   n: they differ"}   Esc: back`;
}
