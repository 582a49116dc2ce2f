import assert from "node:assert/strict";
import { choosePort, isPortFree } from "../../balancer/ports.ts";
import { openUdp } from "../../shared/net/mod.ts";

Deno.test("choosePort() takes the wanted port, or the next that nobody has", () => {
  assert.equal(choosePort(9001, new Set(), () => true), 9001);
  assert.equal(choosePort(9001, new Set([9001, 9002]), () => true), 9003);
  assert.equal(choosePort(9001, new Set([9002]), (port) => port !== 9001 && port !== 9003), 9004);
});

Deno.test("choosePort() goes on below when it reaches the end, and gives up when all are taken", () => {
  assert.equal(choosePort(65_535, new Set([65_535]), () => true), 1024);
  assert.equal(choosePort(65_540, new Set(), () => true), 1028);
  assert.throws(() => choosePort(9000, new Set(), () => false), RangeError);
  const tried = new Set<number>();
  assert.throws(() => choosePort(60_000, new Set(), (port) => (tried.add(port), false)));
  assert.equal(tried.size, 65_536 - 1024);
});

Deno.test("isPortFree() asks the system", async () => {
  const taken = openUdp({ host: "127.0.0.1", port: 0, onDatagram() {} });
  const { port } = taken.address;
  assert.equal(isPortFree("127.0.0.1", port), false);
  taken.close();
  // The system has the port back when the receive under way has been cancelled: at the next turn of the event loop.
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(isPortFree("127.0.0.1", port), true);
});
