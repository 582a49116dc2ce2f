/** Stretches a password here: the floor that tests may lower, and how a new password is stretched. */
import { type StretchedPassword, stretchPassword, systemRandom } from "../../shared/crypto/mod.ts";
import { SCRYPT_LOG2_N_MIN } from "../../shared/limits.ts";
import type { Stretching, UserName } from "../../shared/protocol/mod.ts";

/** FASTCHAT_TEST_ONLY_SCRYPT_LOG2N makes tests quick and passwords weak: never set it anywhere else. */
export function testOnlyFloor(): number | undefined {
  try {
    const text = Deno.env.get("FASTCHAT_TEST_ONLY_SCRYPT_LOG2N");
    return text === undefined || !/^\d{1,2}$/.test(text) ? undefined : Number(text);
  } catch {
    // A program that uses the library need not grant us its environment.
    return undefined;
  }
}

/**
 * How a new password is stretched: with a salt of its own, never less than any before.
 *
 * @param log2Ns What it was, here and by the server's word, and the least that the server takes.
 */
export function newStretching(...log2Ns: readonly number[]): Stretching {
  const log2N = Math.max(testOnlyFloor() ?? SCRYPT_LOG2_N_MIN, ...log2Ns);
  return { salt: systemRandom.bytes(16), log2N };
}

/** @throws StretchingRefused where it would be too cheap, or more than is sensible. */
export function stretchNew(
  options: {
    readonly password: string;
    readonly clusterId: Uint8Array;
    readonly name: UserName;
    readonly stretching: Stretching;
  },
): Promise<StretchedPassword> {
  const testOnlyLog2NMin = testOnlyFloor();
  return stretchPassword({ ...options, ...(testOnlyLog2NMin !== undefined && { testOnlyLog2NMin }) });
}
