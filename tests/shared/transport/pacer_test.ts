import assert from "node:assert/strict";
import { DATAGRAM_BYTES } from "../../../shared/limits.ts";
import { Pacer } from "../../../shared/transport/pacer.ts";

/** Datagrams that leave at once. */
function burst(pacer: Pacer, nowUs: number, windowBytes: number, rttUs: number): number {
  let count = 0;
  for (; count < 1000 && pacer.delayUs(nowUs, windowBytes, rttUs) === 0; count++) pacer.onSent(DATAGRAM_BYTES);
  return count;
}

Deno.test("Pacer lets ten datagrams out at once, then one at a time", () => {
  const pacer = new Pacer(0), window = 20 * DATAGRAM_BYTES, rttUs = 100_000;
  assert.equal(burst(pacer, 0, window, rttUs), 10);
  const delayUs = pacer.delayUs(0, window, rttUs);
  assert.equal(delayUs, 4_000, "A 25th of the round trip: 20 datagrams, and a quarter more");
  assert.equal(burst(pacer, delayUs - 1, window, rttUs), 0);
  assert.equal(burst(pacer, delayUs, window, rttUs), 1);
});

Deno.test("Pacer catches up over two milliseconds where timers come late", () => {
  const pacer = new Pacer(0), window = 1000 * DATAGRAM_BYTES, rttUs = 50_000;
  burst(pacer, 0, window, rttUs);
  // 25 datagrams a millisecond: a wake after two brings all that was missed, a later one no more.
  assert.equal(burst(pacer, 2_000, window, rttUs), 50);
  assert.equal(burst(pacer, 12_000, window, rttUs), 50);
});

Deno.test("Pacer never lets more out at once than a loopback socket holds", () => {
  const pacer = new Pacer(0);
  burst(pacer, 0, 4 << 20, 50);
  assert.equal(burst(pacer, 1_000_000, 4 << 20, 50), 64);
});

Deno.test("Pacer keeps to its rate over a second", () => {
  const pacer = new Pacer(0), window = 20 * DATAGRAM_BYTES, rttUs = 100_000;
  let nowUs = 0, sent = 0;
  while (nowUs < 1_000_000) {
    const delayUs = pacer.delayUs(nowUs, window, rttUs);
    if (delayUs > 0) nowUs += delayUs;
    else {
      pacer.onSent(DATAGRAM_BYTES);
      sent++;
    }
  }
  assert.ok(sent >= 255 && sent <= 262, `${sent} datagrams, expected 250 and the first burst`);
});
