import assert from "node:assert/strict";
import type { UserName } from "../../shared/protocol/mod.ts";
import { Pepper, PepperError } from "../../server/pepper.ts";

const alice = "alice" as UserName, bob = "bob" as UserName;
const key = new Uint8Array(32).fill(1);
const hash = new TextEncoder().encode("$2b$10$something");

Deno.test("Pepper.open() gives back what seal() took, whatever its length", () => {
  const pepper = new Pepper(key);
  for (const length of [0, 1, 60, 16_384]) {
    const plaintext = new Uint8Array(length).fill(5);
    assert.deepEqual(pepper.open("backup", alice, pepper.seal("backup", alice, plaintext)), plaintext);
  }
});

Deno.test("Pepper.open() refuses another user's row, another purpose, another pepper and any changed byte", () => {
  const pepper = new Pepper(key), row = pepper.seal("password", alice, hash);
  assert.throws(() => pepper.open("password", bob, row), PepperError);
  assert.throws(() => pepper.open("backup", alice, row), PepperError);
  assert.throws(() => new Pepper(new Uint8Array(32).fill(2)).open("password", alice, row), PepperError);
  for (let i = 0; i < row.length; i++) {
    const changed = row.slice();
    changed[i]! ^= 1;
    assert.throws(() => pepper.open("password", alice, changed), PepperError);
  }
  for (let length = 0; length < row.length; length++) {
    assert.throws(() => pepper.open("password", alice, row.subarray(0, length)), PepperError);
  }
});

Deno.test("Pepper.seal() shows nothing of the plaintext and never the same twice", () => {
  const pepper = new Pepper(key);
  const rows = [pepper.seal("password", alice, hash), pepper.seal("password", alice, hash)];
  assert.notDeepEqual(rows[0], rows[1]);
  for (const row of rows) assert(!new TextDecoder("latin1").decode(row).includes("$2b$"));
});
