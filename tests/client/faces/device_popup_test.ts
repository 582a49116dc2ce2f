import assert from "node:assert/strict";
import { newDeviceNotice } from "../../../client/faces/device_dialog.ts";
import { type DeviceEffect, type DevicePopup, pressDevice, viewDevice } from "../../../client/faces/device_popup.ts";
import type { Key } from "../../../client/faces/editor.ts";
import { textWidth } from "../../../client/faces/width.ts";
import type { DeviceId } from "../../../shared/protocol/mod.ts";
import { looksLike, plain } from "../../golden.ts";

function popupOf(changes: Partial<DevicePopup> = {}): DevicePopup {
  // A moment that is the same day and hour wherever this runs.
  const since = new Date(2026, 10, 23, 19, 40).toISOString();
  return {
    self: "alice",
    device: { id: "3fa91c22".padEnd(32, "0") as DeviceId, name: "laptop", since },
    act: "revoke",
    needsPassword: true,
    step: "ask",
    typed: "",
    ...changes,
  };
}

/** Types keys; what is left and what was decided. */
function typed(popup: DevicePopup, ...keys: (string | Key)[]) {
  let left: DevicePopup | undefined = popup;
  const effects: DeviceEffect[] = [];
  for (const key of keys) {
    assert(left !== undefined, `nothing is left for ${key}`);
    const next = pressDevice(left, typeof key !== "string" ? key : key.length === 1 ? { text: key } : { name: key });
    left = next.popup;
    if (next.effect) effects.push(next.effect);
  }
  return { left, effects };
}

const SCREENS: readonly [string, DevicePopup, number, number][] = [
  ["revoke-80x24", popupOf(), 80, 24],
  ["keep-80x24", popupOf({ act: "keep" }), 80, 24],
  ["password-80x24", typed(popupOf(), "y", "s", "e", "c").left!, 80, 24],
  [
    "longest-40x20",
    popupOf({ device: { ...popupOf().device, name: "日本語".repeat(7) }, self: "a".repeat(32), step: "password" }),
    40,
    20,
  ],
];

Deno.test("viewDevice() looks as it is meant to, fits, and shows nothing of a password", async () => {
  for (const [name, popup, columns, rows] of SCREENS) {
    const screen = viewDevice(popup, columns, rows);
    assert.equal(screen.length, rows, name);
    for (const row of screen) assert(textWidth(plain(row)) <= columns, `${name}: ${row}`);
    await looksLike(`devices/${name}`, screen);
  }
  assert.deepEqual(
    viewDevice(typed(popupOf(), "y", "s").left!, 80, 24),
    viewDevice(typed(popupOf(), "y").left!, 80, 24),
  );
});

Deno.test("pressDevice() revokes by y and a password, keeps by y, and does neither by anything else", () => {
  const revoked = typed(popupOf(), "y", "p", "x", "backspace", "w", "enter");
  assert.deepEqual(revoked, { left: undefined, effects: [{ act: "revoke", password: "pw" }] });
  const pasted: Key = { text: "a whole password", isPasted: true };
  assert.deepEqual(typed(popupOf(), "y", "z", "ctrl-u", pasted, "enter").effects, [
    { act: "revoke", password: "a whole password" },
  ]);
  assert.deepEqual(typed(popupOf({ needsPassword: false }), "Y").effects, [{ act: "revoke" }]);
  assert.deepEqual(typed(popupOf({ act: "keep" }), "y"), { left: undefined, effects: [{ act: "keep" }] });
  for (const key of ["n", "escape", "ctrl-c", "ctrl-d"]) {
    for (const act of ["revoke", "keep"] as const) {
      assert.deepEqual(typed(popupOf({ act }), key), { left: undefined, effects: [] });
    }
  }
  assert.deepEqual(typed(popupOf(), "y", "p", "escape"), { left: undefined, effects: [] });
  for (const key of ["enter", "x", "r", "alt-r", { text: "y", isPasted: true } as Key]) {
    assert.deepEqual(typed(popupOf(), key), { left: popupOf(), effects: [] });
  }
  assert.equal(typed(popupOf(), "y", "enter").left!.step, "password", "no password is none");
});

Deno.test("newDeviceNotice() is about a device of one's own that was added, and nothing else", () => {
  const notice = { type: "notice", code: "device-added", text: "as commands say it" } as const;
  const device = popupOf().device.id;
  assert.match(newDeviceNotice({ ...notice, device })!, /\(3fa91c22\) with your password.*M-r revokes it.*M-k/);
  assert.equal(newDeviceNotice(notice), undefined);
  assert.equal(newDeviceNotice({ ...notice, device, name: "bob" }), undefined);
  assert.equal(newDeviceNotice({ ...notice, device, code: "key-log" }), undefined);
});
