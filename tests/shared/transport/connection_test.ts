import assert from "node:assert/strict";
import fc from "fast-check";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { CloseCode } from "../../../shared/errors.ts";
import { HINTS_QUEUED_MAX } from "../../../shared/limits.ts";
import { Connection, type ConnectionEvent, DEFAULT_LIMITS } from "../../../shared/transport/mod.ts";
import { FrameCursor, FrameType } from "../../../shared/transport/frame.ts";
import { PacketKeys } from "../../../shared/transport/key_update.ts";

const primitives = await createPrimitives();
const ADDRESS = { host: "192.0.2.1", port: 1 };
const ID = new Uint8Array(8).fill(3), SECRETS = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;

/** A connection against a peer that holds the keys and sends whatever payload the test likes. */
class Hostile {
  readonly connection: Connection;
  readonly events: ConnectionEvent[] = [];
  nowUs = 1_000;
  readonly #keys = new PacketKeys({
    primitives,
    connectionId: ID,
    sendSecret: SECRETS[1],
    receiveSecret: SECRETS[0],
    nowUs: 0,
  });
  #number = 0;

  constructor(side: "client" | "server") {
    this.connection = new Connection({
      primitives,
      side,
      connectionId: ID,
      sendSecret: SECRETS[0],
      receiveSecret: SECRETS[1],
      local: DEFAULT_LIMITS,
      remote: DEFAULT_LIMITS,
      peer: ADDRESS,
      nowUs: this.nowUs,
    });
  }

  send(...payload: number[]): this {
    const packet = new Uint8Array(1200), number = this.#number++;
    packet.set(payload, 15);
    const bytes = this.#keys.seal(packet, payload.length, number, this.nowUs);
    this.connection.handleDatagram(packet, bytes, ADDRESS, this.nowUs);
    for (let event = this.connection.pollEvent(); event; event = this.connection.pollEvent()) this.events.push(event);
    return this;
  }

  /** Payloads of all that leaves now. */
  poll(): Uint8Array[] {
    const payloads: Uint8Array[] = [], packet = new Uint8Array(1200);
    for (let bytes; (bytes = this.connection.pollTransmit(packet, this.nowUs)) > 0;) {
      const number = new DataView(packet.buffer).getUint32(11);
      const payloadBytes = this.#keys.open(packet, bytes, number, this.nowUs, 0);
      assert.ok(payloadBytes > 0);
      payloads.push(packet.slice(15, 15 + payloadBytes));
    }
    return payloads;
  }

  get closeCode(): number | undefined {
    const closed = this.events.find((event): event is ConnectionEvent & { type: "closed" } => event.type === "closed");
    return closed?.reason.code;
  }
}

function types(payloads: Uint8Array[]): FrameType[] {
  const cursor = new FrameCursor(), found: FrameType[] = [];
  for (const payload of payloads) {
    cursor.start(payload, 0, payload.length);
    while (cursor.next()) found.push(cursor.type);
  }
  return found;
}

const violations: [string, number, number[]][] = [
  ["an empty payload", CloseCode.protocolViolation, []],
  ["an unknown frame", CloseCode.frameEncoding, [0x3f]],
  ["a truncated frame", CloseCode.frameEncoding, [0x10, 0x80]],
  ["an acknowledgement of what was never sent", CloseCode.protocolViolation, [0x02, 0x40, 99, 0, 0, 0]],
  ["CONFIRMED from a client", CloseCode.protocolViolation, [0x1e]],
  ["NEW_TICKET from a client", CloseCode.protocolViolation, [0x21, 1, 1]],
  ["a stream of ours that we did not open", CloseCode.streamState, [0x0a, 1, 0, 1, 7]],
  ["credit for a stream that cannot be", CloseCode.streamState, [0x11, 3, 9]],
  ["a stream beyond the limit", CloseCode.streamLimit, [0x0a, 0x44, 0x00, 0, 1, 7]],
  ["data beyond the stream's window", CloseCode.flowControl, [0x0a, 0, 0x80, 4, 0, 0, 1, 7]],
  ["a reset beyond the stream's window", CloseCode.flowControl, [0x04, 0, 0, 0x80, 4, 0, 1]],
  ["a final size that changes", CloseCode.finalSize, [0x0b, 0, 0, 2, 7, 7, 0x0b, 0, 0, 1, 7]],
];

for (const [what, code, payload] of violations) {
  Deno.test(`Connection answers ${what} with CLOSE ${code}`, () => {
    const hostile = new Hostile("server").send(...payload);
    assert.equal(hostile.closeCode, code);
    assert.deepEqual(types(hostile.poll()), [FrameType.Close]);
    assert.equal(hostile.connection.isOpen, false);
  });
}

Deno.test("Connection closes when all its streams together pass the connection's window", () => {
  const hostile = new Hostile("server");
  // Each stream stays within its own window of 256 KiB: eight fill the connection's 2 MiB.
  for (let index = 0; index < 8; index++) hostile.send(0x0a, index * 4, 0x80, 3, 0xff, 0xff, 1, 7);
  assert.equal(hostile.closeCode, undefined);
  hostile.send(0x0a, 32, 0, 1, 7);
  assert.equal(hostile.closeCode, CloseCode.flowControl);
});

Deno.test("Connection counts the final sizes of streams given up, and gives their credit back", () => {
  const give = (hostile: Hostile, index: number) => hostile.send(0x04, index * 4, 1, 0x80, 3, 0xff, 0xff);
  const hasty = new Hostile("server");
  for (let index = 0; index < 8; index++) give(hasty, index);
  assert.equal(hasty.closeCode, undefined);
  assert.equal(give(hasty, 8).closeCode, CloseCode.flowControl, "It did not wait for the grant");
  const patient = new Hostile("server");
  let granted = 0;
  for (let index = 0; index < 12; index++) {
    const cursor = new FrameCursor();
    for (const payload of give(patient, index).poll()) {
      cursor.start(payload, 0, payload.length);
      while (cursor.next()) if (cursor.type === FrameType.MaxData) granted = cursor.value;
    }
  }
  assert.equal(patient.closeCode, undefined);
  assert.equal(granted, DEFAULT_LIMITS.connectionWindowBytes + 12 * 0x3ffff);
});

Deno.test("Connection survives any authentic payload", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), fc.boolean(), (payloads, isServer) => {
      const hostile = new Hostile(isServer ? "server" : "client");
      for (const payload of payloads) {
        hostile.send(...payload);
        hostile.poll();
        hostile.nowUs += 30_000;
        hostile.connection.handleTimeout(hostile.nowUs);
      }
      assert.ok(hostile.events.filter((event) => event.type === "closed").length <= 1);
    }),
    { numRuns: 500 },
  );
});

Deno.test("Connection survives any sequence of valid frames, and what it holds stays bounded", () => {
  const small = fc.nat(63);
  const frame = fc.oneof(
    small.map((id) => [0x05, id & ~3, 1]),
    fc.tuple(small, small).map(([id, offset]) => [0x0a, id & ~3, offset, 2, 1, 1]),
    fc.tuple(small, small).map(([id, size]) => [0x04, id & ~3, 1, size]),
    small.map((id) => [0x11, id & ~3, 0x80, 16, 0, 0]),
    small.map((count) => [0x12, count]),
    fc.constant([0x1a, 1, 2, 3, 4, 5, 6, 7, 8]),
    fc.constant([0x1b, 1, 2, 3, 4, 5, 6, 7, 8]),
    fc.constant([0x20, 1, 1]),
    fc.constant([0x01]),
  );
  fc.assert(
    fc.property(fc.array(fc.array(frame, { maxLength: 20 }), { maxLength: 20 }), (packets) => {
      const hostile = new Hostile("server");
      for (const frames of packets) {
        hostile.send(0x00, ...frames.flat());
        assert.ok(hostile.poll().length < 50);
        assert.ok(hostile.connection.streamsOpen <= DEFAULT_LIMITS.streamsOpenMax);
        hostile.nowUs += 1_000;
      }
      assert.ok([undefined, CloseCode.finalSize].includes(hostile.closeCode as 6 | undefined), `${hostile.closeCode}`);
    }),
    { numRuns: 300 },
  );
});

Deno.test("Connection tells of the first hints only while nobody polls", () => {
  const hostile = new Hostile("server");
  hostile.send(...Array.from({ length: 300 }, () => [0x20, 1, 1]).flat());
  assert.equal(hostile.events.filter((event) => event.type === "hint").length, HINTS_QUEUED_MAX);
  hostile.send(0x20, 1, 2);
  assert.equal(hostile.events.filter((event) => event.type === "hint").length, HINTS_QUEUED_MAX + 1);
});

Deno.test("Connection answers STOP_SENDING with a reset and drops what waited", () => {
  const hostile = new Hostile("server").send(0x0a, 0, 0, 1, 7);
  hostile.connection.write(0, new Uint8Array(50_000));
  hostile.send(0x05, 0, 9);
  assert.equal(hostile.connection.bufferedBytes, 0);
  assert.deepEqual(hostile.events.filter((event) => event.type === "reset"), [{ type: "reset", id: 0, code: 9 }]);
  assert.ok(types(hostile.poll()).includes(FrameType.ResetStream));
});

Deno.test("Connection echoes a challenge", () => {
  const hostile = new Hostile("client").send(0x1a, 1, 2, 3, 4, 5, 6, 7, 8);
  assert.deepEqual(hostile.poll()[0], new Uint8Array([0x1b, 1, 2, 3, 4, 5, 6, 7, 8]));
});

Deno.test("Connection acknowledges several packets handled in one turn with one frame", () => {
  const hostile = new Hostile("server");
  for (let i = 0; i < 40; i++) hostile.send(0x01);
  const sent = hostile.poll();
  assert.equal(sent.length, 1);
  assert.deepEqual(types(sent), [FrameType.Ack, FrameType.Confirmed]);
});

Deno.test("Connection puts what many streams have to say into one datagram", () => {
  const hostile = new Hostile("server").send(0x01);
  hostile.poll();
  for (let i = 0; i < 20; i++) hostile.connection.write(hostile.connection.openStream(), new Uint8Array(40));
  const sent = hostile.poll();
  assert.equal(sent.length, 1);
  assert.equal(types(sent).filter((type) => type === FrameType.Stream).length, 20);
});

Deno.test("Connection's server sends nothing before it opened a packet, except CLOSE", () => {
  const hostile = new Hostile("server");
  hostile.connection.write(hostile.connection.openStream(), new Uint8Array(10), true);
  assert.deepEqual(hostile.poll(), []);
  hostile.connection.close(CloseCode.goElsewhere, "Stopping", hostile.nowUs);
  assert.deepEqual(types(hostile.poll()), [FrameType.Close]);
});

Deno.test("Connection does nothing on streams that are over, and after its end", () => {
  const hostile = new Hostile("client");
  hostile.poll();
  const id = hostile.connection.openStream();
  hostile.connection.write(id, new Uint8Array(5), true);
  hostile.connection.write(id, new Uint8Array(5));
  assert.equal(hostile.connection.bufferedBytes, 5);
  hostile.connection.write(400, new Uint8Array(5));
  assert.equal(hostile.connection.read(400), undefined);
  hostile.connection.close(0, "", hostile.nowUs);
  hostile.connection.close(1, "again", hostile.nowUs);
  hostile.connection.write(id, new Uint8Array(5));
  hostile.connection.sendHint(new Uint8Array(1));
  assert.equal(hostile.connection.closeReason?.code, 0);
  assert.deepEqual(types(hostile.poll()), [FrameType.Close]);
});

Deno.test("Connection lets the reader have what arrived before the end, and tells nothing after it", () => {
  const hostile = new Hostile("server").send(0x0b, 0, 0, 2, 7, 8);
  hostile.send(0x1c, 0x20, 0);
  assert.equal(hostile.closeCode, 0x20);
  assert.deepEqual(hostile.connection.read(0), new Uint8Array([7, 8]));
  assert.equal(hostile.connection.pollEvent(), undefined);
});
