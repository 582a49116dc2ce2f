import assert from "node:assert/strict";
import fc from "fast-check";
import { RSA_GRID_MS, RsaPace } from "../../../shared/net/rsa_pace.ts";

/** Runs one decryption in virtual time. @returns When its place was free again, and what it gave. */
async function paced(tookMs: number, jitterByte: number, end: () => Promise<Uint8Array | undefined>) {
  let nowMs = 1234;
  const beginMs = nowMs;
  const pace = new RsaPace({
    random: { bytes: (length) => new Uint8Array(length).fill(jitterByte) },
    nowMs: () => nowMs,
    wait: (ms) => {
      nowMs += ms;
      return Promise.resolve();
    },
  });
  const result = await pace.run(() => {
    nowMs += tookMs;
    return end();
  });
  return { afterMs: nowMs - beginMs, result };
}

const SECRET = new Uint8Array(32).fill(7);
const opened = () => Promise.resolve<Uint8Array | undefined>(SECRET);
/** How a decryption fails: it does not open, or has a wrong length, which is told in the same way; or the platform throws. */
const failures = [() => Promise.resolve(undefined), () => Promise.reject(new Error("OperationError"))];

Deno.test("RsaPace.run() gives what the decryption gave, and nothing where it threw", async () => {
  assert.equal((await paced(3, 0, opened)).result, SECRET);
  for (const failed of failures) assert.equal((await paced(3, 0, failed)).result, undefined);
});

Deno.test("RsaPace.run() ends on a grid plus jitter, the same however the decryption ended (SECURITY H7)", async () => {
  const property = fc.asyncProperty(
    fc.nat(100 << 10),
    fc.nat(255),
    async (took, jitterByte) => {
      // In fractions that a number holds exactly.
      const tookMs = took / 1024;
      const { afterMs } = await paced(tookMs, jitterByte, opened);
      const onGridMs = (Math.floor(tookMs / RSA_GRID_MS) + 1) * RSA_GRID_MS;
      const jitterMs = jitterByte / 256 * RSA_GRID_MS;
      assert.equal(afterMs, onGridMs + jitterMs, `${tookMs} ms`);
      for (const failed of failures) assert.equal((await paced(tookMs, jitterByte, failed)).afterMs, afterMs);
    },
  );
  await fc.assert(property);
});

Deno.test("RsaPace.run() shows no difference between two decryptions of one step of the grid", async () => {
  const [quick, slow] = [await paced(0.125, 40, opened), await paced(RSA_GRID_MS - 0.125, 40, opened)];
  assert.equal(quick.afterMs, slow.afterMs);
});
