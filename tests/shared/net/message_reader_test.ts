import assert from "node:assert/strict";
import fc from "fast-check";
import { Writer } from "../../../shared/codec/mod.ts";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { MESSAGE_BYTES_MAX } from "../../../shared/limits.ts";
import { MessageReader, ReadBudget } from "../../../shared/net/message_reader.ts";

function encode(messages: readonly Uint8Array[]): Uint8Array {
  const writer = new Writer();
  for (const message of messages) {
    writer.varint(message.length);
    writer.bytes(message);
  }
  return writer.finish();
}

function read(reader: MessageReader, chunks: readonly Uint8Array[]): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (const chunk of chunks) reader.push(chunk.slice(), (message) => (messages.push(message.slice()), true));
  return messages;
}

Deno.test("MessageReader.push() gives back the messages however their bytes are cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 20_000, size: "max" }), { maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = encode(sent), chunks: Uint8Array[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = cuts[i % cuts.length]!;
        chunks.push(bytes.subarray(at, at + length));
        at += length;
      }
      const budget = new ReadBudget(1 << 20), reader = new MessageReader(budget);
      assert.deepEqual(read(reader, chunks), sent);
      assert(reader.isBetweenMessages);
      assert.equal(budget.used, 0);
    }),
    { numRuns: 60 },
  );
});

Deno.test("MessageReader.push() byte by byte", () => {
  const sent = [0, 1, 63, 64, 300, 16_384].map((length) => new Uint8Array(length).fill(length));
  const reader = new MessageReader(new ReadBudget(1 << 20));
  assert.deepEqual(read(reader, Array.from(encode(sent), (byte) => Uint8Array.of(byte))), sent);
});

Deno.test("MessageReader knows whether it is inside a message", () => {
  const reader = new MessageReader(new ReadBudget(1 << 20));
  const bytes = encode([new Uint8Array(100)]);
  for (const [i, byte] of bytes.entries()) {
    assert.equal(reader.isBetweenMessages, i === 0);
    read(reader, [Uint8Array.of(byte)]);
  }
  assert(reader.isBetweenMessages);
});

Deno.test("MessageReader refuses a length beyond the bound before anything of it arrives", () => {
  const claim = (length: number) => {
    const writer = new Writer();
    writer.varint(length);
    return writer.finish();
  };
  const isMalformed = (error: unknown) => error instanceof TransportError && error.code === CloseCode.malformedMessage;
  for (const length of [MESSAGE_BYTES_MAX + 1, 2 ** 40]) {
    assert.throws(() => read(new MessageReader(new ReadBudget(1 << 30)), [claim(length)]), isMalformed);
  }
  read(new MessageReader(new ReadBudget(1 << 30)), [claim(MESSAGE_BYTES_MAX)]);
});

Deno.test("MessageReader holds memory for what arrived, not for what was promised", () => {
  const budget = new ReadBudget(1 << 30), reader = new MessageReader(budget);
  const writer = new Writer();
  writer.varint(MESSAGE_BYTES_MAX);
  writer.zeros(100);
  read(reader, [writer.finish()]);
  assert(budget.used <= 4096);
  read(reader, [new Uint8Array(100_000)]);
  assert(budget.used <= 2 * 100_100);
  reader.drop();
  assert.equal(budget.used, 0);
});

Deno.test("ReadBudget closes who wants more than its own part, or than there is for all", () => {
  const all = new ReadBudget(20_000);
  const one = new MessageReader(new ReadBudget(12_000, all)), two = new MessageReader(new ReadBudget(12_000, all));
  const begin = (length: number) => encode([new Uint8Array(length)]).subarray(0, length - 1);
  const isRefused = (error: unknown) => error instanceof TransportError && error.code === CloseCode.flowControl;
  read(one, [begin(10_000)]);
  const used = all.used;
  assert(used >= 9_990);
  assert.throws(() => read(two, [begin(11_000)]), isRefused);
  assert.equal(all.used, used, "What was refused holds nothing");
  one.drop();
  assert.throws(() => read(one, [begin(13_000)]), isRefused);
  read(two, [begin(11_000)]);
});

Deno.test("MessageReader stops where the reader wants no more", () => {
  const reader = new MessageReader(new ReadBudget(1 << 20));
  const got: number[] = [];
  reader.push(encode([1, 2, 3].map((length) => new Uint8Array(length))), (message) => {
    got.push(message.length);
    return got.length < 2;
  });
  assert.deepEqual(got, [1, 2]);
});
