import assert from "node:assert/strict";
import { AllFailedError, firstOf } from "../../../client/network/race.ts";

/** Ways that end when they are told, and remember what happened to them. */
class Way {
  begun = false;
  isAborted = false;
  readonly end = Promise.withResolvers<string>();
  readonly beginning = Promise.withResolvers<void>();

  readonly run = (signal: AbortSignal): Promise<string> => {
    this.begun = true;
    this.beginning.resolve();
    signal.addEventListener("abort", () => {
      this.isAborted = true;
      this.end.reject(signal.reason);
    });
    return this.end.promise;
  };
}

function race(ways: readonly Way[], staggerMs: number, signal = new AbortController().signal) {
  const discarded: string[] = [];
  const result = firstOf(ways.map(({ run }) => run), { staggerMs, signal, discard: (late) => discarded.push(late) });
  return { result, discarded };
}

Deno.test("firstOf() begins with the first way alone, and takes it", async () => {
  const ways = [new Way(), new Way()], { result } = race(ways, 60_000);
  ways[0]!.end.resolve("first");
  assert.equal(await result, "first");
  assert.equal(ways[1]!.begun, false);
});

Deno.test("firstOf() begins the next way at once where the one before has failed", async () => {
  const ways = [new Way(), new Way()], { result } = race(ways, 60_000);
  ways[0]!.end.reject(new Error("no"));
  ways[1]!.end.resolve("second");
  assert.equal(await result, "second");
});

Deno.test("firstOf() begins the next way beside one that takes long, and ends that when it has lost", async () => {
  const ways = [new Way(), new Way()], { result } = race(ways, 1);
  await ways[1]!.beginning.promise;
  assert.equal(ways[0]!.isAborted, false);
  ways[1]!.end.resolve("second");
  assert.equal(await result, "second");
  assert.ok(ways[0]!.isAborted);
});

Deno.test("firstOf() does not give a slow way up: it may win yet", async () => {
  const ways = [new Way(), new Way()], { result } = race(ways, 1);
  await ways[1]!.beginning.promise;
  ways[1]!.end.reject(new Error("no"));
  ways[0]!.end.resolve("first");
  assert.equal(await result, "first");
});

Deno.test("firstOf() discards what two ways bring at the same moment but the first", async () => {
  const ways = [new Way(), new Way()], { result, discarded } = race(ways, 1);
  await ways[1]!.beginning.promise;
  ways[1]!.end.resolve("second");
  ways[0]!.end.resolve("first");
  assert.equal(await result, "second");
  assert.deepEqual(discarded, ["first"]);
});

Deno.test("firstOf() throws every way's error in the ways' order, and the signal's reason", async () => {
  const ways = [new Way(), new Way()], { result } = race(ways, 1);
  await ways[1]!.beginning.promise;
  const errors = [new Error("one"), new Error("two")];
  ways[1]!.end.reject(errors[1]);
  ways[0]!.end.reject(errors[0]);
  await assert.rejects(result, (error) => {
    assert.ok(error instanceof AllFailedError);
    assert.deepEqual(error.errors, errors);
    return true;
  });
  const stop = new AbortController(), reason = new Error("stop"), waiting = race([new Way()], 1, stop.signal);
  stop.abort(reason);
  await assert.rejects(waiting.result, reason);
});
