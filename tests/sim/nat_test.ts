import assert from "node:assert/strict";
import { Pair } from "./pair.ts";

const FORGETS_US = 20_000_000;

/** Lets the client's NAT forget it when the client has said nothing for so long: then it appears under another port. */
function forgetful(pair: Pair): { forgot: number } {
  const nat = { forgot: 0 };
  let spokeUs = pair.nowUs;
  pair.client.out.drop = () => {
    if (pair.nowUs - spokeUs > FORGETS_US) {
      nat.forgot++;
      pair.rebind();
    }
    spokeUs = pair.nowUs;
    return false;
  };
  pair.server.out.drop = () => pair.nowUs - spokeUs > FORGETS_US;
  return nat;
}

Deno.test("Pair: an idle client is heard of often enough for a NAT that forgets in 20 s", () => {
  const pair = new Pair();
  assert.ok(pair.run(() => pair.client.has("confirmed"), 5_000_000));
  const nat = forgetful(pair), down = pair.server.connection.openStream();
  for (let i = 1; i <= 20; i++) {
    pair.sleep(97_000_000);
    pair.server.connection.write(down, new Uint8Array(100));
    const startUs = pair.nowUs;
    assert.ok(pair.run(() => pair.client.inbox(down).bytes === i * 100, 1_000_000), `message ${i}`);
    assert.equal(pair.nowUs - startUs, 10_000);
  }
  assert.equal(nat.forgot, 0);
  assert.equal(pair.server.connection.stats.moves, 0);
});

Deno.test("Pair: a client that was asleep for longer than its NAT remembers goes on under another port", () => {
  const pair = new Pair();
  assert.ok(pair.run(() => pair.client.has("confirmed"), 5_000_000));
  const nat = forgetful(pair), up = pair.client.connection.openStream();
  // Its timers did not run either.
  pair.nowUs += 40_000_000;
  pair.client.connection.write(up, new Uint8Array(100), true);
  assert.ok(pair.run(() => pair.server.inbox(up).finished, 1_000_000));
  assert.ok(pair.run(() => pair.server.connection.stats.moves === 1, 1_000_000));
  assert.equal(nat.forgot, 1);
  assert.equal(pair.client.closed, 0);
});
