import assert from "node:assert/strict";
import { Sweeper } from "../../../server/store/sweeper.ts";
import { StoreUnavailableError } from "../../../server/store/store.ts";

Deno.test("Sweeper goes on while there is more, looks again every round, and bears a store that is away", async () => {
  const asked: number[] = [], logged: string[] = [], enough = Promise.withResolvers<void>();
  const answers = [true, true, false, new StoreUnavailableError("The leader is gone"), false];
  const sweeper = new Sweeper({
    store: {
      sweep: (nowMs) => {
        const answer = answers[asked.push(nowMs) - 1] ?? false;
        if (asked.length > answers.length) enough.resolve();
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
    nowMs: () => 7,
    logger: { log: (_level, event) => logged.push(event) },
    roundMs: 1,
  });
  sweeper.start();
  sweeper.start();
  await enough.promise;
  await sweeper.stop();
  assert.ok(asked.every((nowMs) => nowMs === 7));
  assert.deepEqual(logged, ["store.sweep-failed"]);
});
