import assert from "node:assert/strict";
import { tellingProgress } from "../../../client/commands/group_progress.ts";
import type { Group } from "../../../client/talk/groups.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const crowd = (count: number) => Array.from({ length: count }, (_, at) => `m${at}` as UserName);

Deno.test("tellingProgress() says how many of very many are in whenever that has changed, and ends with the work", async () => {
  const said: string[] = [], work = Promise.withResolvers<string>(), counts = [0, 0, 200, 200, 400];
  let there = 0;
  const telling = tellingProgress({
    names: crowd(999),
    group: () =>
      ({ address: "#all", members: ["me" as UserName, ...crowd(there)].map((name) => ({ name })) }) as unknown as Group,
    say: (line) => said.push(line),
    pause: () => {
      const next = counts.shift();
      if (next === undefined) work.resolve("done");
      else there = next;
      return Promise.resolve();
    },
  }, work.promise);
  assert.equal(await telling, "done");
  assert.deepEqual(said, ["200 of 999 are in #all", "400 of 999 are in #all"]);
});

Deno.test("tellingProgress() says nothing of a few, and passes on why the work failed", async () => {
  const letting = {
    names: crowd(200),
    group: (): Group => {
      throw new Error("nobody looks");
    },
    say: () => assert.fail(),
    pause: () => Promise.resolve(),
  };
  assert.equal(await tellingProgress(letting, Promise.resolve(1)), 1);
  await assert.rejects(tellingProgress({ ...letting, names: crowd(300) }, Promise.reject(new Error("no"))), /no/);
});
