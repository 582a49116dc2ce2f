import assert from "node:assert/strict";
import { ChangeWaits } from "../../../client/home/change_waits.ts";
import { FastChatError } from "../../../client/errors.ts";

const LONG_MS = 2 ** 40;

Deno.test("ChangeWaits.next() resolves for all who wait, at a change and at their signal", async () => {
  const waits = new ChangeWaits(() => undefined), enough = new AbortController();
  const all = Promise.all([waits.next(LONG_MS, undefined), waits.next(LONG_MS, undefined)]);
  waits.wake();
  await all;
  const stopped = waits.next(LONG_MS, enough.signal);
  enough.abort();
  await stopped;
  await waits.next(LONG_MS, AbortSignal.abort());
});

Deno.test("ChangeWaits.next() throws what has ended it all", async () => {
  const over = new FastChatError("The client is closed"), waits = new ChangeWaits(() => over);
  await assert.rejects(waits.next(LONG_MS, undefined), over);
});

Deno.test("ChangeWaits.until() asks at first and after each change", async () => {
  const waits = new ChangeWaits(() => undefined);
  let isSo = false, asked = 0;
  const ask = () => (asked++, isSo);
  const waiting = waits.until(ask, LONG_MS, undefined);
  await Promise.resolve();
  waits.wake();
  await Promise.resolve();
  await Promise.resolve();
  assert.equal(asked, 2, "a change that changes nothing of it");
  isSo = true;
  waits.wake();
  assert.equal(await waiting, true);
  assert.equal(await waits.until(ask, 0, AbortSignal.abort()), true, "where it is so the time does not matter");
});

Deno.test("ChangeWaits.until() ends with the signal, or with what has ended it all", async () => {
  const over: { error?: Error } = {};
  const waits = new ChangeWaits(() => over.error), enough = new AbortController();
  const stopped = waits.until(() => false, LONG_MS, enough.signal);
  enough.abort();
  assert.equal(await stopped, false);
  const waiting = waits.until(() => false, LONG_MS, undefined);
  over.error = new FastChatError("The client is closed");
  waits.wake();
  await assert.rejects(waiting, over.error);
});
