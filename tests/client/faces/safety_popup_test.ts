import assert from "node:assert/strict";
import type { Key } from "../../../client/faces/editor.ts";
import { qrModules } from "../../../client/faces/qr.ts";
import { pressSafety, type SafetyEffect, type SafetyPopup, viewSafety } from "../../../client/faces/safety_popup.ts";
import { safetyUri } from "../../../client/e2ee/mod.ts";
import { textWidth } from "../../../client/faces/width.ts";
import type { PeerTrust, TrustState } from "../../../client/trust/people.ts";
import { formatFingerprint } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { looksLike, plain } from "../../golden.ts";
import { scan } from "../../scanner.ts";

const NUMBER = "012345678901234567890123456789543210987654321098765432109876";

function popupOf(
  trust: TrustState,
  options: { self?: string; name?: string; wasVerified?: boolean; qr?: boolean } = {},
): SafetyPopup {
  const self = (options.self ?? "alice") as UserName, name = (options.name ?? "bob") as UserName;
  const identity = new Uint8Array(32).fill(7), uri = safetyUri(self, name, NUMBER);
  const known: PeerTrust = {
    name,
    trust,
    wasVerified: options.wasVerified ?? false,
    fingerprint: formatFingerprint(identity),
    ...(trust === "changed" && { offered: formatFingerprint(new Uint8Array(32).fill(9)) }),
  };
  const screen = {
    self,
    own: formatFingerprint(new Uint8Array(32).fill(1)),
    safety: { name, number: NUMBER, uri, identity },
  };
  return {
    screen: { ...screen, trust: known, ...(options.qr !== false && { qr: qrModules(uri) }) },
    step: "compare",
  };
}

/** Types keys; what is left and what was decided. */
function typed(popup: SafetyPopup, ...names: string[]): { popup: SafetyPopup | undefined; effects: SafetyEffect[] } {
  let left: SafetyPopup | undefined = popup;
  const effects: SafetyEffect[] = [];
  for (const name of names) {
    assert(left !== undefined, `nothing is left for ${name}`);
    const key: Key = name.length === 1 ? { text: name } : { name };
    const next = pressSafety(left, key);
    left = next.popup;
    if (next.effect) effects.push(next.effect);
  }
  return { popup: left, effects };
}

const SCREENS: readonly [string, SafetyPopup, number, number][] = [
  ["unverified-80x24", popupOf("unverified"), 80, 24],
  ["sure-80x24", typed(popupOf("unverified"), "v").popup!, 80, 24],
  ["differs-80x24", typed(popupOf("unverified"), "v", "n").popup!, 80, 24],
  ["verified-80x24", popupOf("verified"), 80, 24],
  ["changed-80x24", popupOf("changed", { wasVerified: true }), 80, 24],
  ["accepted-80x24", popupOf("unverified", { wasVerified: true }), 80, 24],
  [
    "longest-80x24",
    popupOf("changed", { self: "a".repeat(32), name: "b" + "_".repeat(31), wasVerified: true }),
    80,
    24,
  ],
  ["no-room-60x20", popupOf("unverified"), 60, 20],
  ["narrow-40x20", popupOf("changed"), 40, 20],
  ["wide-140x40", popupOf("unverified"), 140, 40],
  ["without-code-80x24", popupOf("unverified", { qr: false }), 80, 24],
];

Deno.test("viewSafety() looks as it is meant to, fits, and shows all digits", async () => {
  for (const [name, popup, columns, rows] of SCREENS) {
    const screen = viewSafety(popup, columns, rows, false);
    assert.equal(screen.length, rows, name);
    for (const row of screen) assert(textWidth(plain(row)) <= columns, `${name}: ${row}`);
    const groups = screen.join("\n").match(/(?<!\S)\d{5}(?!\S)/g)!;
    assert.equal(groups.join(""), NUMBER, name);
    await looksLike(`safety/${name}`, screen);
  }
});

Deno.test("viewSafety(): a scanner reads the code off an 80x24 screen", () => {
  for (const popup of [popupOf("unverified"), popupOf("changed", { self: "a".repeat(32), name: "b".repeat(32) })]) {
    const size = popup.screen.qr!.length;
    const code = viewSafety(popup, 80, 24, false).slice(0, Math.ceil(size / 2)).map((row) => row.slice(0, size));
    assert.equal(scan(code), popup.screen.safety.uri);
  }
});

Deno.test("pressSafety() verifies only after a yes to the question", () => {
  const popup = popupOf("unverified");
  assert.deepEqual(typed(popup, "v", "y"), { popup: undefined, effects: ["verify"] });
  assert.deepEqual(typed(popup, "V", "Y"), { popup: undefined, effects: ["verify"] });
  for (const keys of [["y"], ["v"], ["v", "v"], ["v", "enter"], ["v", "n"], ["v", "n", "y"], ["u"], ["x"]]) {
    const { popup: left, effects } = typed(popup, ...keys);
    assert(left !== undefined, keys.join());
    assert.deepEqual(effects, [], keys.join());
  }
  assert.deepEqual(typed(popup, "v", "n", "v", "y").effects, ["verify"], "after comparing once more");
  const sure = { ...popup, step: "sure" } as const;
  for (const at of [popup, sure]) {
    for (const text of ["v", "y", "q"]) assert.deepEqual(pressSafety(at, { text, isPasted: true }), { popup: at });
  }
});

Deno.test("pressSafety() accepts a changed key with the yes, takes a mark away only where there is one", () => {
  assert.deepEqual(typed(popupOf("changed"), "v", "y"), { popup: undefined, effects: ["trust"] });
  assert.deepEqual(typed(popupOf("verified"), "u"), { popup: undefined, effects: ["unverify"] });
  assert.deepEqual(typed(popupOf("verified"), "v", "y").effects, []);
});

Deno.test("pressSafety() closes with Escape, q, Ctrl-C and M-v, and decides nothing by it", () => {
  for (const step of ["compare", "sure", "differs"] as const) {
    for (const name of ["escape", "q", "ctrl-c", "ctrl-d", "alt-v"]) {
      assert.deepEqual(typed({ ...popupOf("unverified"), step }, name), { popup: undefined, effects: [] });
    }
  }
  assert.deepEqual(typed(popupOf("unverified"), "enter"), { popup: undefined, effects: [] });
});
