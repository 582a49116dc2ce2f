import assert from "node:assert/strict";
import { judgeView, type Known, nextHistory, NO_HISTORY, type View } from "../../../../client/e2ee/mls/mod.ts";

const bytes = (length: number, fill: number) => new Uint8Array(length).fill(fill);
const VIEW: View = { epoch: 3, authenticator: bytes(16, 3), seq: 7, history: bytes(32, 7), keyLog: bytes(32, 9) };

function known(change: Partial<Known> = {}): Known {
  return {
    epoch: 3,
    authenticatorAt: (epoch) => epoch <= 3 ? bytes(16, epoch) : undefined,
    historyAt: (seq) => seq <= 9 ? bytes(32, seq) : undefined,
    knowsKeyLog: (head) => head[0] === 9,
    ...change,
  };
}

Deno.test("judgeView() is content where nothing contradicts", () => {
  assert.deepEqual(judgeView(VIEW, known()), { kind: "same" });
  assert.deepEqual(judgeView({ ...VIEW, epoch: 2, authenticator: bytes(16, 2) }, known()), { kind: "same" });
  assert.deepEqual(judgeView({ ...VIEW, seq: 12, history: bytes(32, 1) }, known()), { kind: "same" }, "rows I lack");
  assert.deepEqual(judgeView(VIEW, known({ knowsKeyLog: () => undefined })), { kind: "same" }, "a log I must fetch");
  assert.deepEqual(judgeView(VIEW, known({ authenticatorAt: () => undefined })), { kind: "same" }, "before my time");
});

Deno.test("judgeView() names a fork and a withheld commit", () => {
  assert.deepEqual(judgeView({ ...VIEW, history: bytes(32, 8) }, known()), { kind: "fork", of: "history" });
  assert.deepEqual(judgeView({ ...VIEW, authenticator: bytes(16, 8) }, known()), { kind: "fork", of: "epoch" });
  assert.deepEqual(judgeView({ ...VIEW, keyLog: bytes(32, 8) }, known()), { kind: "fork", of: "key log" });
  assert.deepEqual(judgeView({ ...VIEW, epoch: 4 }, known()), { kind: "withheld", epoch: 4 });
});

Deno.test("nextHistory() depends on every row, its place and its order", () => {
  const a = bytes(5, 1), b = bytes(5, 2);
  const after = (...rows: (readonly [number, Uint8Array])[]) =>
    rows.reduce((history, [seq, body]) => nextHistory(history, seq, body), NO_HISTORY).toHex();
  const histories = [
    after(),
    after([1, a]),
    after([2, a]),
    after([1, b]),
    after([1, a], [2, b]),
    after([1, b], [2, a]),
  ];
  assert.equal(new Set(histories).size, histories.length);
});
