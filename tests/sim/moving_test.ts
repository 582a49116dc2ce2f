import assert from "node:assert/strict";
import { Pair } from "./pair.ts";

Deno.test("Pair: the connection follows a client to a path two hundred times slower than the one it left", () => {
  const pair = new Pair({ toServer: { delayUs: 1_000 }, toClient: { delayUs: 1_000 } });
  const id = pair.client.connection.openStream();
  let written = 0;
  const write = (bytes: number) => {
    pair.client.connection.write(id, new Uint8Array(bytes));
    written += bytes;
  };
  for (let i = 0; i < 30; i++) {
    write(100);
    assert.ok(pair.run(() => pair.server.inbox(id).bytes === written, 1_000_000));
  }
  pair.sleep(1_000_000);
  pair.rebind();
  pair.client.out.faults.delayUs = pair.server.out.faults.delayUs = 200_000;
  write(100);
  const down = pair.server.connection.openStream();
  pair.server.connection.write(down, new Uint8Array(3_000), true);
  assert.ok(pair.run(() => pair.client.inbox(down).finished && pair.client.connection.bufferedBytes === 0, 10_000_000));
  assert.deepEqual(pair.server.connection.peer, pair.clientAddress);
});
