import assert from "node:assert/strict";
import fc from "fast-check";
import type { Committed } from "../../../server/bus/bus.ts";
import { frameEnd, readCommitted, writeCommitted } from "../../../server/store/committed_frame.ts";
import { DecodeError, Reader, Writer } from "../../../shared/codec/mod.ts";
import { FRAME_BYTES_MAX } from "../../../server/store/link.ts";
import type { MessageId } from "../../../shared/protocol/mod.ts";
import { bytesOf, deviceOf, directOf, idOf, nameOf } from "./fixtures.ts";

const LISTS = [2, 8, 9, 100, 1000].map((length) =>
  Array.from({ length }, (_, at) => nameOf(`a-name-as-long-as-they-come-${`${at}`.padStart(4, "0")}`))
);

Deno.test("writeCommitted() and readCommitted() agree, whatever lists follow one another", () => {
  fc.assert(fc.property(fc.array(fc.nat(LISTS.length - 1), { maxLength: 30 }), (lists) => {
    const items = lists.map((list, at) => committed(at + 1, LISTS[list]!));
    const found = readCommitted(new Reader(frame(items)));
    assert.deepEqual(structuredClone(found), items);
  }));
});

Deno.test("writeCommitted() writes a long list once in a frame", () => {
  const long = LISTS[3]!, one = frame([committed(1, long)]).length;
  const hundred = Array.from({ length: 100 }, (_, at) => committed(at + 1, long));
  assert.ok(frame(hundred).length < one + 100 * 130);
  const found = readCommitted(new Reader(frame(hundred)));
  assert.ok(found.every(({ members }) => members === found[0]!.members));
});

Deno.test("frameEnd() leaves no frame longer than the link takes, however many different lists there are", () => {
  const items = Array.from({ length: 2_000 }, (_, at) => committed(at + 1, [...LISTS[4]!]));
  let frames = 0;
  for (let at = 0; at < items.length; frames++) {
    const end = frameEnd(items, at), writer = new Writer();
    writeCommitted(writer, items, at, end);
    assert.ok(end > at && writer.length < FRAME_BYTES_MAX);
    at = end;
  }
  assert.ok(frames > 10 && frames < 40, `${frames} frames`);
  assert.equal(frameEnd([committed(1, LISTS[4]!, 5 << 20), committed(2, LISTS[4]!)], 0), 1);
});

Deno.test("readCommitted() refuses a list that is not there", () => {
  const bytes = frame([committed(1, LISTS[2]!)]);
  // Behind the record, whose last field is its body: the list's number.
  const at = bytes.length - LISTS[2]!.length * 33 - 2;
  assert.equal(bytes[at], 1);
  bytes[at] = 2;
  assert.throws(() => readCommitted(new Reader(bytes)), DecodeError);
});

function frame(items: readonly Committed[]): Uint8Array {
  const writer = new Writer();
  writeCommitted(writer, items, 0, items.length);
  return writer.finish();
}

function committed(seq: number, members: Committed["members"], bodyBytes = 0): Committed {
  const body = bodyBytes === 0 ? bytesOf(`body ${seq}`) : new Uint8Array(bodyBytes);
  return {
    record: {
      conversation: directOf("alice", "bob"),
      seq,
      timeMs: seq,
      sender: nameOf("alice"),
      device: deviceOf("alice"),
      messageId: idOf<MessageId>("message", seq),
      body,
    },
    members,
  };
}
