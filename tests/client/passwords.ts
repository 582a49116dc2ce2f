/** Stretched passwords for tests, at a cost that is for tests only. */
import type { PasswordOwner } from "../../client/home/seals.ts";
import { type StretchedPassword, stretchPassword } from "../../shared/crypto/mod.ts";
import type { UserName } from "../../shared/protocol/mod.ts";

const LOG2N = 4;

export const TEST_OWNER: PasswordOwner = {
  clusterId: new Uint8Array(16).fill(1),
  name: "alice" as UserName,
  stretching: { log2N: LOG2N, salt: new Uint8Array(16).fill(2) },
};

export function stretched(password: string, owner: PasswordOwner = TEST_OWNER): Promise<StretchedPassword> {
  return stretchPassword({ ...owner, password, testOnlyLog2NMin: LOG2N });
}
