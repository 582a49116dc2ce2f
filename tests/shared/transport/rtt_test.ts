import assert from "node:assert/strict";
import { ACK_DELAY_US_MAX } from "../../../shared/limits.ts";
import { INITIAL_RTT_US, PROBE_TIMEOUT_US_MAX, RttEstimator } from "../../../shared/transport/rtt.ts";

Deno.test("RttEstimator assumes a third of a second before the first sample", () => {
  const rtt = new RttEstimator();
  assert.equal(rtt.hasSample, false);
  assert.equal(rtt.probeTimeoutUs, INITIAL_RTT_US + 2 * INITIAL_RTT_US + ACK_DELAY_US_MAX);
});

Deno.test("RttEstimator.update() follows RFC 9002 §5.3", () => {
  const rtt = new RttEstimator();
  rtt.update(100_000, 20_000, 1);
  assert.equal(rtt.smoothedUs, 100_000, "The first sample is taken as it is");
  assert.equal(rtt.minUs, 100_000);
  rtt.update(120_000, 10_000, 2);
  // adjusted = 110,000; variance = 3/4 × 50,000 + 1/4 × 10,000; smoothed = 7/8 × 100,000 + 1/8 × 110,000
  assert.equal(rtt.smoothedUs, 101_250);
  assert.equal(rtt.probeTimeoutUs, 101_250 + 4 * 40_000 + ACK_DELAY_US_MAX);
  assert.equal(rtt.latestUs, 120_000);
  assert.equal(rtt.firstSampleUs, 1);
});

Deno.test("RttEstimator.update() does not believe a delay that goes below the minimum or above the bound", () => {
  const rtt = new RttEstimator();
  rtt.update(100_000, 0, 1);
  rtt.update(105_000, 25_000, 2);
  assert.equal(rtt.smoothedUs, 100_000 + 5_000 / 8);
  const other = new RttEstimator();
  other.update(100_000, 0, 1);
  other.update(200_000, 90_000_000, 2);
  assert.equal(other.smoothedUs, 100_000 + (100_000 - ACK_DELAY_US_MAX) / 8);
});

Deno.test("RttEstimator.lossDelayUs is nine eighths, and never below a timer's granularity", () => {
  const rtt = new RttEstimator();
  rtt.update(80_000, 0, 1);
  assert.equal(rtt.lossDelayUs, 90_000);
  const local = new RttEstimator();
  local.update(60, 0, 1);
  assert.equal(local.lossDelayUs, 1_000);
});

Deno.test("RttEstimator.reset() forgets the path", () => {
  const rtt = new RttEstimator(50_000);
  rtt.update(10, 0, 1);
  rtt.reset();
  assert.equal(rtt.hasSample, false);
  assert.equal(rtt.smoothedUs, 50_000);
  assert.equal(rtt.firstSampleUs, Infinity);
});

Deno.test("RttEstimator.probeTimeoutUs has a ceiling, whatever one sample says", () => {
  const rtt = new RttEstimator();
  rtt.update(100_000, 0, 1);
  rtt.update(60_000_000, 0, 2);
  assert.equal(rtt.probeTimeoutUs, PROBE_TIMEOUT_US_MAX);
});
