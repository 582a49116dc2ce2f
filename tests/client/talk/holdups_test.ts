import assert from "node:assert/strict";
import type { NoticeEvent } from "../../../client/events.ts";
import { Holdups } from "../../../client/talk/holdups.ts";
import { ServerRefusal } from "../../../client/network/failures.ts";
import { ErrorCode } from "../../../shared/errors.ts";

function world(): { holdups: Holdups; notices: NoticeEvent[] } {
  const notices: NoticeEvent[] = [];
  return { holdups: new Holdups((notice) => notices.push(notice)), notices };
}

const refusal = (code: number, message: string) =>
  new ServerRefusal({ type: "error", code, message, retryAfterMs: 0, epoch: 0, messageId: undefined });

Deno.test("Holdups.heldUp() tells of a full server once, until something is taken again", () => {
  const { holdups, notices } = world(), full = refusal(ErrorCode.diskFull, "The server's disk is full");
  holdups.heldUp(full);
  holdups.heldUp(full);
  assert.deepEqual(notices.map(({ code }) => code), ["server-full"]);
  assert.match(notices[0]!.text, /^The server's disk is full: what you send waits in the outbox/);
  holdups.isOver();
  assert.equal(holdups.reason("bob"), undefined);
  holdups.heldUp(full);
  assert.equal(notices.length, 2);
});

Deno.test("Holdups.heldUp() keeps what passes by itself for those who wait in vain, and tells nobody", () => {
  const { holdups, notices } = world();
  holdups.heldUp(refusal(ErrorCode.busy, "The server is busy"));
  assert.equal(holdups.reason("bob"), "The server is busy");
  assert.deepEqual(notices, []);
});

Deno.test("Holdups.reason() is that of the address, where it has one of its own", () => {
  const { holdups, notices } = world();
  holdups.notReady("#dev", "Nobody has let this device in yet");
  holdups.heldUp(refusal(ErrorCode.busy, "The server is busy"));
  assert.equal(holdups.reason("#dev"), "Nobody has let this device in yet");
  assert.equal(holdups.reason("bob"), "The server is busy");
  assert.deepEqual(notices.map(({ code, name }) => [code, name]), [["waiting", "#dev"]]);
});
