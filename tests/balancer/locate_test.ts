import assert from "node:assert/strict";
import fc from "fast-check";
import { answerLocate, type LocateView } from "../../balancer/locate.ts";
import { DATAGRAM_BYTES } from "../../shared/limits.ts";
import { decodeLocated, encodeLocate, PacketType } from "../../shared/packet/mod.ts";

const NONCE = Uint8Array.from({ length: 16 }, (_, index) => index);
const FROM = "192.0.2.7";

Deno.test("answerLocate() names a server, echoes the nonce and makes the token for the asker", () => {
  const hosts: string[] = [];
  const answer = answerLocate(locate(), FROM, view([0, 1], { makeToken: (host) => (hosts.push(host), NONCE) }))!;
  const located = decodeLocated(answer.datagram)!;
  assert.deepEqual(located.nonce, NONCE);
  assert.deepEqual([located.serverNumber, located.host, located.port], [0, "", 9001]);
  assert.deepEqual(located.clusterKey, view([]).clusterKey);
  assert.deepEqual(located.clusterId, view([]).clusterId);
  assert.deepEqual(located.token, NONCE);
  assert.deepEqual(hosts, [FROM]);
  assert.equal(answer.server?.number, 0);
});

Deno.test("answerLocate() tells the host to use where one is advertised", () => {
  const advertised = view([0], { servers: [{ number: 0, host: "chat.example.org", port: 9001, load: 0 }] });
  assert.equal(decodeLocated(answerLocate(locate(), FROM, advertised)!.datagram)!.host, "chat.example.org");
});

Deno.test("answerLocate() leaves out excluded servers while there are others", () => {
  assert.equal(answerLocate(locate([0]), FROM, view([0, 1, 2]))?.server?.number, 1);
  assert.equal(answerLocate(locate([0, 1]), FROM, view([0, 1, 2]))?.server?.number, 2);
  assert.equal(answerLocate(locate([0, 1, 2]), FROM, view([0, 1, 2]))?.server?.number, 0);
});

Deno.test("answerLocate() says port 0 where no server is available", () => {
  const answer = answerLocate(locate(), FROM, view([]))!;
  assert.equal(answer.server, undefined);
  assert.equal(decodeLocated(answer.datagram)!.port, 0);
});

Deno.test("answerLocate() is silent about what is not exactly a LOCATE", () => {
  const question = locate();
  for (let length = 0; length < DATAGRAM_BYTES; length += 7) {
    assert.equal(answerLocate(question.subarray(0, length), FROM, view([0])), undefined, `${length} bytes`);
  }
  assert.equal(answerLocate(new Uint8Array([...question, 0]), FROM, view([0])), undefined);
  const offersNothing = question.slice();
  offersNothing[19] = 0;
  assert.equal(answerLocate(offersNothing, FROM, view([0])), undefined);
  const otherType = question.slice();
  otherType[0] = PacketType.initial;
  assert.equal(answerLocate(otherType, FROM, view([0])), undefined);
});

Deno.test("answerLocate() survives any datagram and never answers more than it was asked", () => {
  const head = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.uint8Array({ maxLength: 64 }).map((bytes) => {
      return new Uint8Array([PacketType.locate, 0, 1, ...bytes]);
    }),
  );
  const length = fc.oneof(fc.constant(DATAGRAM_BYTES), fc.nat(2048));
  const host = fc.constantFrom("", "h".repeat(255));
  fc.assert(
    fc.property(head, length, host, fc.nat(128), (bytes, size, advertised, count) => {
      const datagram = new Uint8Array(size);
      datagram.set(bytes.subarray(0, size));
      const servers = Array.from({ length: count }, (_, number) => ({ number, host: advertised, port: 1, load: 0 }));
      const answer = answerLocate(datagram, FROM, view([], { servers }));
      if (answer === undefined) return;
      assert.ok(answer.datagram.length <= size);
      assert.ok(decodeLocated(answer.datagram));
      if (answer.server === undefined) assert.equal(count, 0);
    }),
    { numRuns: 2000 },
  );
});

function locate(excluded: readonly number[] = []): Uint8Array {
  return encodeLocate({ version: 1, nonce: NONCE, versions: [1], excluded });
}

/** Always the first of the candidates, so that the test sees whom it left out. */
function view(numbers: readonly number[], changes: Partial<LocateView> = {}): LocateView {
  return {
    clusterId: new Uint8Array(16).fill(1),
    clusterKey: new Uint8Array(422).fill(2),
    servers: numbers.map((number) => ({ number, host: "", port: 9001 + number, load: 0 })),
    choose: (candidates) => candidates[0]!,
    makeToken: () => new Uint8Array(23),
    ...changes,
  };
}
