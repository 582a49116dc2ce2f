/** A slice of `deno task chaos`: servers, leaders, balancers and people are killed while people talk. */
import assert from "node:assert/strict";
import { replayLine } from "../chaos/main.ts";
import { KILLS } from "../chaos/plan.ts";
import { chaos, type ChaosOptions } from "../chaos/run.ts";
import { formatResult } from "../chaos/table.ts";
import { inDirectory } from "../temporary.ts";

Deno.test({
  name: "kill -9 of servers, leaders, balancers and people: nothing is lost, doubled or out of order",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const network = { loss: 0.05, duplicate: 0.02, reorder: 0.05 };
      const options: ChaosOptions = {
        seed,
        messages: 200,
        people: 4,
        servers: 3,
        kinds: KILLS,
        killsEach: 2,
        ...network,
        directory,
      };
      console.log(replayLine(options));
      const result = await chaos(options);
      assert.ok(result.verdict.ok, formatResult(result));
      assert.deepEqual(result.blindTo, []);
      assert.deepEqual(result.kills, { server: 2, leader: 2, balancer: 2, client: 2 });
      assert.equal(result.shown, 200);
      // By the servers' logs: after each leader there was another.
      assert.equal(result.takeovers.length, 2);
      assert.ok(result.takeovers.every(({ leadsMs }) => leadsMs !== undefined), JSON.stringify(result.takeovers));
      assert.ok(result.network.lost > 0, "Nobody's datagrams were lost: they found a way round the network");
    }),
});
