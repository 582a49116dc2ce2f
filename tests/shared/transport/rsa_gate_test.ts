import assert from "node:assert/strict";
import { DEFAULT_RSA_LIMITS, RsaGate, type RsaLimits } from "../../../shared/transport/rsa_gate.ts";

const SECOND_US = 1_000_000;
const make = (limits: Partial<RsaLimits> = {}) => new RsaGate<string>({ ...DEFAULT_RSA_LIMITS, ...limits }, 0);

Deno.test("RsaGate has so many in flight at once, and the next begins when one is done", () => {
  const gate = make({ inFlightMax: 2 });
  for (const job of ["a", "b", "c"]) assert.equal(gate.queue(job), undefined);
  assert.deepEqual([gate.begin(), gate.begin(), gate.begin()], ["a", "b", undefined]);
  assert.deepEqual([gate.inFlight, gate.queued], [2, 1]);
  gate.done();
  assert.equal(gate.begin(), "c");
  gate.done(), gate.done();
  assert.deepEqual([gate.inFlight, gate.begin()], [0, undefined]);
});

Deno.test("RsaGate: a full queue gives up its oldest entry, which has likely been given up", () => {
  const gate = make({ queuedMax: 2 });
  assert.deepEqual(["a", "b", "c", "d"].map((job) => gate.queue(job)), [undefined, undefined, "a", "b"]);
  assert.deepEqual([gate.begin(), gate.begin()], ["c", "d"]);
});

Deno.test("RsaGate.admit() holds each address to its rate, and nobody else by it", () => {
  const gate = make({ perAddress: { perSecond: 3, burst: 5 } });
  const admitted = (address: string, nowUs: number) => {
    let count = 0;
    while (gate.admit(address, nowUs)) count++;
    return count;
  };
  assert.equal(admitted("192.0.2.1", 0), 5);
  assert.equal(admitted("192.0.2.2", 0), 5);
  assert.equal(admitted("192.0.2.1", SECOND_US), 3);
});

Deno.test("RsaGate.admit() holds all of them together to the ceiling", () => {
  const gate = make({ ceiling: { perSecond: 10, burst: 4 } });
  const admitted = (nowUs: number) =>
    Array.from({ length: 100 }, (_, i) => gate.admit(`10.0.${nowUs}.${i}`, nowUs)).filter(Boolean).length;
  assert.equal(admitted(0), 4);
  assert.equal(admitted(SECOND_US / 2), 4);
  assert.equal(admitted(SECOND_US / 2 + 100_000), 1);
});

Deno.test("RsaGate's defaults are those of SECURITY H7", () => {
  assert.deepEqual([DEFAULT_RSA_LIMITS.inFlightMax, DEFAULT_RSA_LIMITS.queuedMax], [2, 64]);
  assert.equal(DEFAULT_RSA_LIMITS.perAddress.perSecond, 3);
});
