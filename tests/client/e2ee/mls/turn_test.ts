import assert from "node:assert/strict";
import { turnMs } from "../../../../client/e2ee/mls/mod.ts";
import type { DeviceId } from "../../../../shared/protocol/mod.ts";

Deno.test("turnMs() spreads devices over the time, in another order for each request", () => {
  const devices = Array.from({ length: 100 }, (_, i) => i.toString(16).padStart(32, "0") as DeviceId);
  const order = (request: number) => devices.map((device) => turnMs(device, Uint8Array.of(request), 1000));
  const first = order(1), second = order(2);
  assert.deepEqual(first, order(1));
  assert(first.every((ms) => ms >= 0 && ms < 1000));
  assert(Math.min(...first) < 100 && Math.max(...first) > 900 && new Set(first).size > 80);
  assert.notEqual(first.indexOf(Math.min(...first)), second.indexOf(Math.min(...second)));
});
