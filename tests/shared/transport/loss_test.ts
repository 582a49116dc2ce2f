import assert from "node:assert/strict";
import { LossDetector } from "../../../shared/transport/loss.ts";
import { RttEstimator } from "../../../shared/transport/rtt.ts";
import { type SentPacket, SentPackets } from "../../../shared/transport/sent_packets.ts";

function make(rttUs = 100_000) {
  const ledger = new SentPackets(), rtt = new RttEstimator();
  rtt.update(rttUs, 0, 0);
  const loss = new LossDetector(ledger, rtt), found: SentPacket[] = [];
  const send = (number: number, sentUs: number) => {
    const packet = ledger.begin();
    packet.note(1);
    ledger.add(packet, number, sentUs, 1000);
  };
  const ack = (number: number) => {
    ledger.acknowledge(number, number, [], 0);
    loss.onAcked(number);
  };
  const detect = (nowUs: number) => {
    const count = loss.detect(nowUs, found), numbers = found.slice(0, count).map((packet) => packet.number);
    ledger.trim();
    return numbers;
  };
  return { ledger, rtt, loss, send, ack, detect };
}

Deno.test("LossDetector.detect() finds what is three packets behind", () => {
  const { send, ack, detect } = make();
  for (let number = 0; number < 5; number++) send(number, 1_000 + number);
  ack(3);
  assert.deepEqual(detect(10_000), [0]);
  ack(4);
  assert.deepEqual(detect(10_000), [1]);
});

Deno.test("LossDetector.detect() finds what is nine eighths of a round trip late, and says when", () => {
  const { loss, send, ack, detect } = make(80_000);
  send(0, 1_000);
  send(1, 2_000);
  ack(1);
  assert.deepEqual(detect(82_000), []);
  assert.equal(loss.deadlineUs, 91_000);
  assert.deepEqual(detect(90_999), []);
  assert.equal(loss.onDeadline(91_000), false, "The deadline is for detecting, not for probing");
  assert.deepEqual(detect(91_000), [0]);
  assert.equal(loss.deadlineUs, Infinity);
});

Deno.test("LossDetector suspects nothing newer than what was acknowledged", () => {
  const { loss, send, ack, detect } = make();
  for (let number = 0; number < 10; number++) send(number, number);
  ack(0);
  assert.deepEqual(detect(100_000_000), []);
  assert.notEqual(loss.deadlineUs, Infinity);
});

Deno.test("LossDetector.deadlineUs doubles with each probe and starts over with an acknowledgement", () => {
  const { loss, rtt, send, ack } = make();
  send(0, 1_000);
  const timeoutUs = rtt.probeTimeoutUs;
  assert.equal(loss.deadlineUs, 1_000 + timeoutUs);
  assert.equal(loss.onDeadline(1_000 + timeoutUs), true);
  assert.equal(loss.deadlineUs, 1_000 + 3 * timeoutUs, "It waits even where no probe has left");
  send(1, 2_000 + timeoutUs);
  assert.equal(loss.deadlineUs, 2_000 + 3 * timeoutUs);
  for (let i = 0; i < 20; i++) loss.onDeadline(5_000_000);
  assert.equal(loss.deadlineUs, 5_000_000 + 4_000_000);
  send(2, 6_000_000);
  ack(0);
  assert.equal(loss.deadlineUs, 6_000_000 + timeoutUs);
  assert.equal(loss.probesTotal, 21);
});

Deno.test("LossDetector.isPersistent needs losses without a break over three probe timeouts", () => {
  const span = (broken: boolean) => {
    const { loss, rtt, send, ack, detect } = make();
    const longUs = rtt.persistentCongestionUs;
    send(0, 1_000);
    send(1, 1_000 + longUs / 2);
    send(2, 2_000 + longUs);
    send(9, 3_000 + longUs);
    if (broken) ack(1);
    ack(9);
    assert.deepEqual(detect(4_000 + longUs), broken ? [0, 2] : [0, 1, 2]);
    return loss.isPersistent;
  };
  assert.equal(span(false), true);
  assert.equal(span(true), false);
});

Deno.test("LossDetector.isPersistent ignores what was sent before the first sample", () => {
  const ledger = new SentPackets(), rtt = new RttEstimator(), loss = new LossDetector(ledger, rtt);
  for (const [number, sentUs] of [[0, 1_000], [1, 50_000_000], [5, 50_001_000]] as const) {
    const packet = ledger.begin();
    ledger.add(packet, number, sentUs, 1000);
  }
  ledger.acknowledge(5, 5, [], 0);
  rtt.update(1_000, 0, 50_002_000);
  loss.onAcked(5);
  assert.equal(loss.detect(50_002_000, []), 2);
  assert.equal(loss.isPersistent, false);
});

Deno.test("LossDetector.abandon() gives up everything in flight", () => {
  const { loss, ledger, send } = make();
  for (let number = 0; number < 4; number++) send(number, number);
  const found: SentPacket[] = [];
  assert.equal(loss.abandon(found), 4);
  assert.equal(ledger.bytesInFlight, 0);
  assert.equal(loss.deadlineUs, Infinity);
});

Deno.test("LossDetector.onSpurious() tolerates as much reordering as was seen, until losses are real again", () => {
  const { ledger, loss, send, ack, detect } = make();
  for (let number = 0; number < 10; number++) send(number, 1_000);
  const first = ledger.at(0);
  ack(6);
  assert.deepEqual(detect(2_000), [0, 1, 2, 3]);
  loss.onSpurious(first, 6, 3_000);
  ack(9);
  assert.deepEqual(detect(3_000), [], "Packet 4 is five behind: less than was seen");
  assert.deepEqual(detect(500_000), [4, 5, 7, 8], "Time decides all the same");
  for (let episode = 0; episode < 16; episode++) {
    const number = 100 + episode * 20;
    send(number, 600_000);
    send(number + 10, 600_000);
    ack(number + 10);
    const found = detect(600_100);
    assert.deepEqual(found, [number]);
    loss.onReal();
  }
  send(1_000, 700_000);
  send(1_003, 700_000);
  ack(1_003);
  assert.deepEqual(detect(700_100), [1_000], "Three are enough again");
});
