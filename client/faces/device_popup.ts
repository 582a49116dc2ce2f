/**
 * Pure: the popup in which a person says what is to become of a device that was added with their password alone (SECURITY P9). Keys
 * in; the next state and what should be done out; the state as rows of a screen.
 */
import type { DeviceInfo } from "../account/devices.ts";
import type { Key } from "./editor.ts";
import { clock, localDay } from "./lines.ts";
import { popupRows } from "./popup.ts";
import { graphemes } from "./width.ts";
import { wrap } from "./wrap.ts";

/** The key that opens it, and what for. */
export const DEVICE_KEYS: Readonly<Record<string, DeviceAct>> = { "alt-r": "revoke", "alt-k": "keep" };

export type DeviceAct = "revoke" | "keep";

export interface DevicePopup {
  /** Whose device it is: who is asked for the password. */
  readonly self: string;
  readonly device: Pick<DeviceInfo, "id" | "name" | "since">;
  readonly act: DeviceAct;
  /** To revoke takes the identity; a password that was given otherwise need not be typed. */
  readonly needsPassword: boolean;
  readonly step: "ask" | "password";
  /** Of the password. */
  readonly typed: string;
}

export type DeviceEffect =
  | { readonly act: "keep" }
  /** Without a password: the one that was given otherwise. */
  | { readonly act: "revoke"; readonly password?: string };

/**
 * What a key does. A paste is a password or nothing.
 *
 * @returns The next state, `undefined` when it is over; and what the person decided.
 */
export function pressDevice(
  popup: DevicePopup,
  key: Key,
): { readonly popup: DevicePopup | undefined; readonly effect?: DeviceEffect } {
  if ("name" in key && ["escape", "ctrl-c", "ctrl-d"].includes(key.name)) return { popup: undefined };
  return popup.step === "ask" ? pressAnswer(popup, key) : pressPassword(popup, key);
}

function pressAnswer(popup: DevicePopup, key: Key): ReturnType<typeof pressDevice> {
  const answer = "text" in key && !key.isPasted ? key.text.toLowerCase() : undefined;
  if (answer === "n") return { popup: undefined };
  if (answer !== "y") return { popup };
  if (popup.act === "keep") return { popup: undefined, effect: { act: "keep" } };
  if (!popup.needsPassword) return { popup: undefined, effect: { act: "revoke" } };
  return { popup: { ...popup, step: "password" } };
}

function pressPassword(popup: DevicePopup, key: Key): ReturnType<typeof pressDevice> {
  const { typed } = popup;
  if ("text" in key) return { popup: { ...popup, typed: typed + key.text } };
  switch (key.name) {
    case "enter":
      return typed === "" ? { popup } : { popup: undefined, effect: { act: "revoke", password: typed } };
    case "backspace":
      return { popup: { ...popup, typed: graphemes(typed).slice(0, -1).join("") } };
    case "ctrl-u":
      return { popup: { ...popup, typed: "" } };
    default:
      return { popup };
  }
}

/** Exactly `rows` rows, the last of them the keys. What is typed is not shown, nor how much of it there is. */
export function viewDevice(popup: DevicePopup, columns: number, rows: number): string[] {
  const { id, name, since } = popup.device, short = id.slice(0, 8);
  const called = name === undefined ? "" : `, which calls itself "${name}"`;
  const content = [
    "A device was added to your account with your password alone",
    "",
    `${short}${called}, on ${localDay(since)} at ${clock(since)}`,
    "",
    popup.act === "revoke" ? REVOKING : KEEPING,
    "",
    question(popup, short),
  ];
  return popupRows(content.flatMap((text) => wrap(text, columns, 0).split("\n")), keys(popup), columns, rows);
}

function question({ act, self, step }: DevicePopup, short: string): string {
  if (step === "password") return `Password of ${self} (it is not shown):`;
  return act === "revoke" ? `Revoke ${short}? y or n` : `Is ${short} yours? y or n`;
}

function keys({ act, step }: DevicePopup): string {
  if (step === "password") return "Enter: revoke it   Esc: leave it as it is";
  return `y: ${act === "revoke" ? "revoke it" : "it is mine"}   n: leave it as it is   Esc: back`;
}

const REVOKING =
  "If you have not added it yourself, somebody knows your password. Revoked it is logged out at once and for " +
  "good, and nobody seals anything for it any more. Then change your password: fastchat passwd";
const KEEPING =
  "If you have added it yourself, say so: it is no longer shown, and it may be handed what was said before it came.";
