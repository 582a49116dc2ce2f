import assert from "node:assert/strict";
import { type PasswordStatement, signPasswordStatement, verifyPasswordStatement } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, testKeys } from "../../keys.ts";

const STATEMENT: PasswordStatement = {
  clusterId: TEST_CLUSTER,
  name: "alice" as UserName,
  stretching: { salt: new Uint8Array(16).fill(3), log2N: 17 },
  serial: 2,
};

Deno.test("verifyPasswordStatement() believes the identity, and no field that was changed", async () => {
  const { aliceIdentity, bobIdentity } = await testKeys();
  const signature = await signPasswordStatement(aliceIdentity.privateKey, STATEMENT);
  const verify = (statement: PasswordStatement, key = aliceIdentity.spki) =>
    verifyPasswordStatement(key, statement, signature);
  assert.equal(await verify(STATEMENT), true);
  const { stretching } = STATEMENT;
  const changed: PasswordStatement[] = [
    { ...STATEMENT, clusterId: new Uint8Array(16) },
    { ...STATEMENT, name: "bob" as UserName },
    { ...STATEMENT, stretching: { ...stretching, salt: new Uint8Array(16) } },
    { ...STATEMENT, stretching: { ...stretching, log2N: 18 } },
    { ...STATEMENT, serial: 3 },
  ];
  for (const statement of changed) assert.equal(await verify(statement), false);
  assert.equal(await verify(STATEMENT, bobIdentity.spki), false);
});
