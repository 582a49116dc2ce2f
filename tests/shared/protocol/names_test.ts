import assert from "node:assert/strict";
import { decode, DecodeError, encode, text } from "../../../shared/codec/mod.ts";
import { event, parseUserName, response, userName } from "../../../shared/protocol/mod.ts";

Deno.test("userName is refused in any spelling but the one that is compared and shown", () => {
  for (const name of ["bob", "a", "0.x_-", "a".repeat(32)]) {
    assert.equal(decode(userName, encode(text(99), name)), name);
  }
  for (
    const name of ["", "Bob", ".bob", "bo b", "bob\n", "\x1b[2Jx", "b\u202eob", "b\u009bob", "a".repeat(33), "ｂob"]
  ) {
    assert.throws(() => decode(userName, encode(text(99), name)), DecodeError, JSON.stringify(name));
  }
});

Deno.test("A server's answers and events carry nothing but names where names stand", () => {
  const bad = "\x1b]52;c;eA==\x07" as ReturnType<typeof parseUserName> & string;
  const record = {
    conversation: "00".repeat(16),
    seq: 1,
    timeMs: 1,
    sender: bad,
    device: "00".repeat(16),
    messageId: "00".repeat(16),
    body: new Uint8Array(),
  } as never;
  const answers = [
    { type: "users", users: [{ name: bad, online: true }], more: false },
    { type: "enrolNeeded", name: bad },
    { type: "records", records: [record], more: false, begins: 0 },
  ] as const;
  for (const answer of answers) {
    assert.throws(() => decode(response, encode(response, answer as never)), DecodeError, answer.type);
  }
  assert.throws(() => decode(event, encode(event, { type: "deliver", record })), DecodeError);
});
