import assert from "node:assert/strict";
import { Pair } from "./pair.ts";

function transfer(options: { mtuBytes?: number; datagramBytes?: number }): { seconds: number; largest: number } {
  const { mtuBytes = 0, datagramBytes } = options;
  const pair = new Pair({
    toServer: { mtuBytes },
    ...(datagramBytes === undefined ? {} : { client: { datagramBytes } }),
  });
  pair.recorded = [];
  const startUs = pair.nowUs, id = pair.client.connection.openStream();
  pair.client.connection.write(id, new Uint8Array(300_000), true);
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 60_000_000), "It did not arrive");
  const sizes = pair.recorded.filter(({ toServer }) => toServer).map(({ bytes }) => bytes.length);
  return { seconds: (pair.nowUs - startUs) / 1e6, largest: sizes.reduce((a, b) => Math.max(a, b)) };
}

Deno.test("Pair: datagrams have 1,200 bytes, and more where the operator says so", () => {
  assert.equal(transfer({}).largest, 1200);
  assert.equal(transfer({ datagramBytes: 1452 }).largest, 1452);
});

Deno.test("Pair: a path that swallows large datagrams costs some timeouts, once", () => {
  const { seconds } = transfer({ datagramBytes: 1452, mtuBytes: 1300 });
  assert.ok(seconds < 10, `took ${seconds} s`);
});

Deno.test("Pair: a path that shrinks in the middle of a transfer does not stop it", () => {
  const pair = new Pair({ client: { datagramBytes: 1452 } });
  const id = pair.client.connection.openStream();
  pair.client.connection.write(id, new Uint8Array(2_000_000), true);
  assert.ok(pair.run(() => pair.server.inbox(id).bytes > 500_000));
  pair.client.out.faults.mtuBytes = 1_300;
  assert.ok(pair.run(() => pair.server.inbox(id).finished, 20_000_000));
  assert.equal(pair.client.connection.stats.datagramBytes, 1200);
});
