import assert from "node:assert/strict";
import fc from "fast-check";
import { generatePassphrase, passwordBits, passwordProblem, systemRandom } from "../../../shared/crypto/mod.ts";

Deno.test("passwordProblem() refuses short passwords, counting characters and not bytes", () => {
  assert.match(passwordProblem("xk29vq81m", "alice")!, /9 characters, needs at least 10/);
  assert.match(passwordProblem("", "alice")!, /0 characters/);
  assert.match(passwordProblem("👋🌍🚀", "alice")!, /3 characters/);
});

Deno.test("passwordProblem() refuses what a dictionary tries first, and says what it saw", () => {
  const weak: [string, RegExp][] = [
    ["password123", /common words/],
    ["P4ssw0rd!!!", /common words/],
    ["aaaaaaaaaaaaaaaa", /sequences/],
    ["12345678901234567890", /sequences/],
    ["abcdefghijklmnop", /sequences/],
    ["qwertyuiopasdf", /sequences/],
    ["mallory-mallory", /name/],
    ["Mallory2024", /a year/],
    ["hunter2hunter2hunter2", /repetition/],
    ["incomprehensible", /few words/],
  ];
  for (const [password, why] of weak) assert.match(passwordProblem(password, "mallory") ?? "accepted", why, password);
});

Deno.test("passwordProblem() accepts long and random passwords", () => {
  for (const password of ["xk29vq81mz", "correct horse battery staple", "tr7-Wq.bn2-Lp", "сложный пароль для чата"]) {
    assert.equal(passwordProblem(password, "alice"), undefined, password);
  }
});

Deno.test("passwordBits() gives next to nothing for the same once more", () => {
  fc.assert(fc.property(fc.stringMatching(/^[0-9]{10,30}$/), (digits) => {
    const once = passwordBits(digits, "alice"), twice = passwordBits(digits + digits, "alice");
    assert.ok(once > 0 && twice >= once && twice <= once + 1, `${digits}: ${once}, twice ${twice}`);
  }));
});

Deno.test("passwordBits() takes no time over hostile input", () => {
  assert.ok(passwordBits("ab1".repeat(2_000), "alice") > 0);
});

Deno.test("generatePassphrase() makes four groups that are accepted, spelling all 64 bits", () => {
  const groups = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const passphrase = generatePassphrase(systemRandom);
    assert.match(passphrase, /^(?:[bdfghjklmnprstvz][aiou][bdfghjklmnprstvz][aiou][bdfghjklmnprstvz]-?){4}$/);
    assert.equal(passwordProblem(passphrase, "alice"), undefined);
    groups.add(passphrase);
  }
  assert.equal(groups.size, 200);
});

Deno.test("generatePassphrase() spells proquints as published", () => {
  // arXiv:0901.4016: 127.0.0.1 is lusab-babad, 63.84.220.193 is gutih-tugad.
  const bytes = new Uint8Array([127, 0, 0, 1, 63, 84, 220, 193]);
  assert.equal(generatePassphrase({ bytes: () => bytes }), "lusab-babad-gutih-tugad");
});
