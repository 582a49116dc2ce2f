import assert from "node:assert/strict";
import fc from "fast-check";
import { SendStream } from "../../../shared/transport/send_stream.ts";

interface Piece {
  offset: number;
  end: number;
  fin: boolean;
  bytes: Uint8Array;
}

function send(stream: SendStream, bytesMax: number, connectionCredit = Infinity): Piece | undefined {
  if (!stream.prepare(connectionCredit)) return undefined;
  const length = Math.min(stream.pieceBytes, bytesMax), offset = stream.pieceOffset;
  const bytes = new Uint8Array(length), fin = stream.finAt(offset + length);
  stream.send(bytes, 0, length);
  return { offset, end: offset + length, fin, bytes };
}

Deno.test("SendStream sends in order, within both credits", () => {
  const stream = new SendStream(8);
  stream.write(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
  assert.deepEqual(send(stream, 3, 100)?.bytes, new Uint8Array([1, 2, 3]));
  assert.deepEqual(send(stream, 100, 2)?.bytes, new Uint8Array([4, 5]));
  assert.equal(send(stream, 100, 0), undefined);
  assert.deepEqual(send(stream, 100)?.bytes, new Uint8Array([6, 7, 8]));
  assert.equal(send(stream, 100), undefined, "The stream's credit is used up");
  stream.credit.raise(20);
  assert.deepEqual(send(stream, 100)?.bytes, new Uint8Array([9, 10]));
});

Deno.test("SendStream.onLost() sends again first, needs no credit, and skips what was acknowledged", () => {
  const stream = new SendStream(6);
  stream.write(new Uint8Array([1, 2, 3, 4, 5, 6]));
  send(stream, 6);
  stream.onAcked(2, 4, false);
  stream.onLost(0, 6, false);
  assert.deepEqual(send(stream, 100, 0)?.bytes, new Uint8Array([1, 2]));
  assert.deepEqual(send(stream, 100, 0)?.bytes, new Uint8Array([5, 6]));
  assert.equal(stream.hasWork, false);
});

Deno.test("SendStream.onAcked() goes on over every range that a piece covers and touches", () => {
  const stream = new SendStream(10);
  stream.write(new Uint8Array(10));
  send(stream, 10);
  stream.onAcked(2, 4, false);
  stream.onAcked(6, 10, false);
  assert.equal(stream.onAcked(0, 6, false), 10, "It covers [2, 4) and touches [6, 10)");
  assert.equal(stream.bufferedBytes, 0);
});

Deno.test("SendStream sends a lone FIN, and again when it is lost", () => {
  const stream = new SendStream(10);
  stream.write(new Uint8Array([1]));
  send(stream, 10);
  stream.finish();
  assert.deepEqual(send(stream, 10), { offset: 1, end: 1, fin: true, bytes: new Uint8Array(0) });
  assert.equal(stream.hasWork, false);
  stream.onLost(1, 1, true);
  assert.equal(send(stream, 10)?.fin, true);
  stream.onAcked(1, 1, true);
  assert.equal(stream.isDone, false);
  stream.onAcked(0, 1, false);
  assert.equal(stream.isDone, true);
});

Deno.test("SendStream.reset() drops everything and is done when the peer knows", () => {
  const stream = new SendStream(10);
  stream.write(new Uint8Array(30));
  send(stream, 10);
  assert.equal(stream.reset(5), 30);
  assert.equal(stream.bufferedBytes, 0);
  assert.equal(stream.hasWork, false);
  assert.equal(stream.sentBytes, 10);
  assert.equal(stream.resetPending, true);
  stream.onResetSent();
  stream.onResetLost();
  assert.equal(stream.resetPending, true);
  stream.onAcked(0, 10, false);
  stream.onLost(0, 10, false);
  stream.onResetAcked();
  assert.equal(stream.isDone, true);
  assert.equal(stream.resetPending, false);
});

Deno.test("SendStream delivers every byte once everything sent was acknowledged or lost and sent again", () => {
  const operation = fc.record({
    kind: fc.constantFrom("write", "send", "send", "ack", "ack", "lose", "late ack"),
    size: fc.integer({ min: 1, max: 50 }),
    pick: fc.nat(1000),
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
    const stream = new SendStream(1e9), flying: Piece[] = [], lost: Piece[] = [], arrived = new Map<number, number>();
    let written = 0, buffered = 0;
    const deliver = (piece: Piece) => {
      for (let i = 0; i < piece.bytes.length; i++) arrived.set(piece.offset + i, piece.bytes[i]!);
      buffered -= stream.onAcked(piece.offset, piece.end, piece.fin);
    };
    const sendOne = (size: number) => {
      const piece = send(stream, size);
      if (piece !== undefined) flying.push(piece);
      return piece !== undefined;
    };
    for (const { kind, size, pick } of operations) {
      if (kind === "write") {
        stream.write(Uint8Array.from({ length: size }, (_, i) => (written + i) * 7 & 0xff));
        written += size;
        buffered += size;
      } else if (kind === "send") sendOne(size);
      else if (kind === "ack" && flying.length > 0) deliver(flying.splice(pick % flying.length, 1)[0]!);
      else if (kind === "late ack" && lost.length > 0) deliver(lost[pick % lost.length]!);
      else if (kind === "lose" && flying.length > 0) {
        const piece = flying.splice(pick % flying.length, 1)[0]!;
        stream.onLost(piece.offset, piece.end, piece.fin);
        lost.push(piece);
      }
      assert.equal(stream.bufferedBytes, buffered);
    }
    stream.finish();
    while (sendOne(37));
    for (const piece of flying) deliver(piece);
    assert.equal(arrived.size, written);
    for (const [offset, byte] of arrived) assert.equal(byte, offset * 7 & 0xff);
    assert.equal(stream.isDone, true);
    assert.equal(stream.bufferedBytes, 0);
  }));
});

Deno.test("SendStream.unackedFrom() says what of a piece is still worth a copy", () => {
  const stream = new SendStream(1000);
  stream.write(new Uint8Array(100).map((_, i) => i));
  stream.finish();
  assert.equal(stream.prepare(1000), true);
  stream.send(new Uint8Array(100), 0, 100);
  assert.equal(stream.unackedFrom(10, 50, false), 10);
  stream.onAcked(0, 20, false);
  stream.onAcked(30, 40, false);
  assert.equal(stream.unackedFrom(10, 50, false), 20);
  assert.equal(stream.unackedFrom(30, 40, false), -1);
  assert.equal(stream.unackedFrom(35, 50, false), 40);
  const target = new Uint8Array(3);
  stream.copyTo(target, 0, 40, 3);
  assert.deepEqual(target, new Uint8Array([40, 41, 42]));
  stream.onAcked(20, 100, false);
  assert.equal(stream.unackedFrom(90, 100, true), 100, "The end is not known to have arrived");
  stream.onAcked(100, 100, true);
  assert.equal(stream.unackedFrom(90, 100, true), -1);
});

Deno.test("SendStream never shows what another one wrote into the buffer that both had in turn", () => {
  const step = fc.record({ which: fc.nat(3), bytes: fc.integer({ min: 1, max: 5_000 }), isAcked: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const streams = Array.from({ length: 4 }, () => ({ stream: new SendStream(Infinity), unacked: [] as Piece[] }));
    for (const [number, { which, bytes, isAcked }] of steps.entries()) {
      const { stream, unacked } = streams[which]!;
      stream.write(new Uint8Array(bytes).fill(number + 1));
      for (let piece = send(stream, 1_200); piece !== undefined; piece = send(stream, 1_200)) {
        assert.ok(piece.bytes.every((byte) => byte === number + 1));
        unacked.push(piece);
      }
      // What nobody has acknowledged can still be sent again as it was.
      for (const { offset, bytes } of unacked) {
        const again = new Uint8Array(bytes.length);
        stream.copyTo(again, 0, offset, bytes.length);
        assert.deepEqual(again, bytes);
      }
      if (isAcked) { for (const { offset, end } of unacked.splice(0)) stream.onAcked(offset, end, false); }
    }
  }));
});
