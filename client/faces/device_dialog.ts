/** Asks in a chat what is to become of a device that was added with the password alone, and does it (SECURITY P9). */
import type { ChatClient } from "../chat_client.ts";
import { shortDevice } from "../trust/key_watch.ts";
import type { NoticeEvent } from "../events.ts";
import { type DeviceAct, type DeviceEffect, type DevicePopup, pressDevice, viewDevice } from "./device_popup.ts";
import type { Overlay } from "./terminal.ts";

/** In the chat there is a key for what takes a command elsewhere. `undefined` for a notice of anything else. */
export function newDeviceNotice({ code, name, device }: NoticeEvent): string | undefined {
  if (code !== "device-added" || name !== undefined || device === undefined) return undefined;
  return `A device was added to your account (${shortDevice(device)}) with your password. ` +
    "If it is not yours, M-r revokes it; if it is, M-k says so";
}

/** Stands beside the input line as long as there is such a device; empty where there is none. */
export function newDeviceStatus(chat: ChatClient): string {
  const [device, ...more] = chat.newDevices();
  if (device === undefined) return "";
  return `new device ${shortDevice(device)}${more.length > 0 ? ` +${more.length}` : ""}: M-r revoke, M-k mine`;
}

/** The popup about the one that has waited longest; `undefined` where there is none any more. */
export async function newDevicePopup(
  chat: ChatClient,
  act: DeviceAct,
  needsPassword: boolean,
): Promise<DevicePopup | undefined> {
  const [first] = chat.newDevices(), device = (await chat.devices()).find(({ id }) => id === first);
  if (device?.state !== "unapproved" && device?.state !== "waiting") return undefined;
  return { self: chat.name, device, act, needsPassword, step: "ask", typed: "" };
}

/** For a terminal to show. @param decided What the person wants done; the popup is gone then. */
export function deviceOverlay(begun: DevicePopup, decided: (effect: DeviceEffect) => void): Overlay {
  let popup = begun;
  return {
    view: (columns, rows) => viewDevice(popup, columns, rows),
    press(key) {
      const next = pressDevice(popup, key);
      if (next.popup !== undefined) popup = next.popup;
      if (next.effect !== undefined) decided(next.effect);
      return next.popup !== undefined;
    },
  };
}

/** Does it. @returns What to tell. @throws WrongPasswordError, UsageError */
export async function decideDevice(
  chat: ChatClient,
  { id }: DevicePopup["device"],
  effect: DeviceEffect,
  given: string | undefined,
): Promise<string> {
  if (effect.act === "keep") {
    await chat.approveDevice(id);
    return `The device ${shortDevice(id)} is yours`;
  }
  await chat.revokeDevice(id, effect.password ?? given!);
  return `The device ${
    shortDevice(id)
  } is yours no longer. Who added it knows your password: change it with fastchat passwd`;
}
