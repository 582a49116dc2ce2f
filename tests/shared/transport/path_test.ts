import assert from "node:assert/strict";
import { createPrimitives } from "../../../shared/crypto/mod.ts";
import { Path } from "../../../shared/transport/path.ts";

const primitives = await createPrimitives();
const HOME = { host: "192.0.2.1", port: 1 }, AWAY = { host: "192.0.2.1", port: 2 }, THIRD = { host: "::1", port: 2 };

Deno.test("Path moves to a new address when that echoes the challenge", () => {
  const path = new Path(primitives, HOME);
  assert.equal(path.onElsewhere(AWAY, 100, true), true);
  const challenge = path.takeChallenge(40)!;
  assert.deepEqual(challenge.address, AWAY);
  assert.equal(challenge.data.length, 8);
  assert.deepEqual(path.peer, HOME);
  assert.equal(path.onResponse(new Uint8Array(8)), false);
  assert.equal(path.onResponse(challenge.data), true);
  assert.deepEqual(path.peer, AWAY);
  assert.equal(path.onResponse(challenge.data), false);
});

Deno.test("Path ignores an old packet from elsewhere, and a candidate when the peer is heard at home", () => {
  const path = new Path(primitives, HOME);
  assert.equal(path.onElsewhere(AWAY, 100, false), false);
  assert.equal(path.isValidating, false);
  path.onElsewhere(AWAY, 100, true);
  const challenge = path.takeChallenge(40)!;
  path.onHere();
  assert.equal(path.onResponse(challenge.data), false);
  assert.deepEqual(path.peer, HOME);
});

Deno.test("Path sends an unproven address at most three times what came from it", () => {
  const path = new Path(primitives, HOME);
  path.onElsewhere(AWAY, 31, true);
  assert.ok(path.takeChallenge(40));
  assert.equal(path.takeChallenge(40), undefined, "One for each deadline");
  assert.equal(path.onDeadline(), true);
  assert.ok(path.takeChallenge(40));
  path.onDeadline();
  assert.equal(path.takeChallenge(40), undefined, "120 bytes would be more than 93");
  path.onElsewhere(AWAY, 31, true);
  assert.ok(path.takeChallenge(40));
});

Deno.test("Path waits twice as long for each answer, and for three seconds at least", () => {
  const path = new Path(primitives, HOME);
  const waitsUs = (probeTimeoutUs: number) => {
    path.onElsewhere(AWAY, 10_000, true);
    const waits = [path.nextWaitUs(probeTimeoutUs)];
    while (path.onDeadline()) waits.push(path.nextWaitUs(probeTimeoutUs));
    return waits;
  };
  // On a path of a millisecond as well as on one of a second: what the new one is like is not known.
  assert.deepEqual(waitsUs(50_000), [0.05, 0.1, 0.2, 0.4, 0.8, 1.6].map((seconds) => seconds * 1e6));
  assert.equal(path.isValidating, false);
  assert.deepEqual(waitsUs(1_000_000), [1e6, 2e6]);
  assert.deepEqual(waitsUs(4_000_000), [4e6, 8e6]);
});

Deno.test("Path asks the newest of several addresses", () => {
  const path = new Path(primitives, HOME);
  path.onElsewhere(AWAY, 100, true);
  const old = path.takeChallenge(40)!;
  assert.equal(path.onElsewhere(THIRD, 100, true), true);
  assert.equal(path.onResponse(old.data), false);
  assert.deepEqual(path.takeChallenge(40)!.address, THIRD);
});

Deno.test("Path answers challenges where they came from, the newest few", () => {
  const path = new Path(primitives, HOME);
  for (let i = 0; i < 10; i++) path.onChallenge(new Uint8Array(8).fill(i), i % 2 ? AWAY : HOME);
  const answers = [];
  for (let answer = path.takeResponse(); answer; answer = path.takeResponse()) answers.push(answer);
  assert.deepEqual(answers.map(({ data }) => data[0]), [6, 7, 8, 9]);
  assert.deepEqual(answers[1]!.address, AWAY);
});
