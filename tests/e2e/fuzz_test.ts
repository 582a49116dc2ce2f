/** A slice of `deno task fuzz`: broken datagrams at real processes while two people chat. */
import assert from "node:assert/strict";
import { fuzz } from "../fuzz/fuzz.ts";

Deno.test("20,000 broken datagrams at live servers harm nobody and earn no more than they bring", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`deno task fuzz --datagrams 20000 --seed ${seed}`);
  const result = await fuzz({ datagrams: 20_000, seed });
  assert.deepEqual(result.problems, []);
  assert(result.delivered > result.sent / 2, `Only ${result.delivered} of ${result.sent} arrived`);
  assert(result.answers > 100, "Nobody was answered: the datagrams are no questions");
  assert(result.messages > 4, "Nobody chatted meanwhile");
});
