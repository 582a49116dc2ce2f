import assert from "node:assert/strict";
import fc from "fast-check";
import { CloseCode, TransportError } from "../../../shared/errors.ts";
import { ReceiveCredit, SendCredit } from "../../../shared/transport/flow_control.ts";

Deno.test("SendCredit.raise() never lowers", () => {
  const credit = new SendCredit(100);
  credit.use(60);
  assert.equal(credit.available, 40);
  assert.equal(credit.raise(90), false);
  assert.equal(credit.raise(150), true);
  assert.equal(credit.available, 90);
});

Deno.test("ReceiveCredit.receive() throws at the first byte too many", () => {
  const credit = new ReceiveCredit(100);
  credit.receive(100);
  assert.throws(
    () => credit.receive(1),
    (error) => error instanceof TransportError && error.code === CloseCode.flowControl,
  );
});

Deno.test("ReceiveCredit.wantsUpdate says so from a quarter of the window on", () => {
  const credit = new ReceiveCredit(100);
  credit.receive(50);
  credit.consume(24);
  assert.equal(credit.wantsUpdate, false);
  credit.consume(1);
  assert.equal(credit.wantsUpdate, true);
  assert.equal(credit.grant(), 125);
  assert.equal(credit.wantsUpdate, false);
});

Deno.test("A sender that keeps to its credit is never refused and never stuck", () => {
  const step = fc.record({ send: fc.nat(80), read: fc.nat(80), deliver: fc.boolean() });
  fc.assert(fc.property(fc.integer({ min: 1, max: 100 }), fc.array(step, { maxLength: 100 }), (window, steps) => {
    const sender = new SendCredit(window), receiver = new ReceiveCredit(window);
    let unread = 0, grants: number[] = [];
    const send = (bytes: number) => {
      const allowed = Math.min(bytes, sender.available);
      sender.use(allowed);
      receiver.receive(allowed);
      unread += allowed;
      assert.ok(unread <= window, "More than a window waits");
    };
    for (const { send: bytes, read, deliver } of steps) {
      send(bytes);
      const taken = Math.min(read, unread);
      receiver.consume(taken);
      unread -= taken;
      if (receiver.wantsUpdate) grants.push(receiver.grant());
      if (deliver) {
        for (const grant of grants.reverse()) sender.raise(grant);
        grants = [];
      }
    }
    receiver.consume(unread);
    if (receiver.wantsUpdate) grants.push(receiver.grant());
    for (const grant of grants) sender.raise(grant);
    assert.ok(sender.available > 0, "All was read, and nothing may be sent");
  }));
});

Deno.test("ReceiveCredit.grow() doubles where a whole window was read within two round trips, up to the bound", () => {
  const credit = new ReceiveCredit(100), rttUs = 1_000;
  const readAt = (bytes: number, nowUs: number) => {
    credit.receive(bytes);
    credit.consume(bytes);
    credit.grow(nowUs, rttUs, 350);
    credit.grant();
    return credit.windowBytes;
  };
  assert.equal(readAt(100, 0), 100, "how long the first one took is not known");
  assert.equal(readAt(99, 1_000), 100, "not a whole window");
  assert.equal(readAt(1, 1_999), 200);
  assert.equal(readAt(200, 1_999 + 2 * rttUs), 200, "two round trips: the reader or the path was slow");
  assert.equal(readAt(200, 5_000), 350);
  assert.equal(readAt(350, 5_001), 350);
});

Deno.test("ReceiveCredit.grow() never takes back what was offered", () => {
  const credit = new ReceiveCredit(100);
  for (let i = 0; i < 3; i++) {
    credit.receive(100);
    credit.consume(100);
    credit.grow(i, 1_000, 50);
    credit.grant();
  }
  assert.equal(credit.windowBytes, 100);
});
