import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { directConversationId } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";

const CLUSTER = new Uint8Array(16).fill(0xc1);
const names = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,31}$/).map((name) => name as UserName);

Deno.test("directConversationId() is docs/PROTOCOL.md §7.3", () => {
  const text = createHash("sha256").update("fastchat/direct/1").update(CLUSTER).update("\x05alice\x03bob").digest(
    "hex",
  );
  assert.equal(directConversationId(CLUSTER, "alice" as UserName, "bob" as UserName), text.slice(0, 32));
});

Deno.test("directConversationId() is the same from both sides and another for every other pair and cluster", () => {
  fc.assert(fc.property(names, names, names, (a, b, c) => {
    const id = directConversationId(CLUSTER, a, b);
    assert.equal(directConversationId(CLUSTER, b, a), id);
    assert.notEqual(directConversationId(new Uint8Array(16), a, b), id);
    if (c !== b && c !== a) assert.notEqual(directConversationId(CLUSTER, a, c), id);
  }));
});

Deno.test("directConversationId() cannot be confused by moving letters between names", () => {
  const id = (a: string, b: string) => directConversationId(CLUSTER, a as UserName, b as UserName);
  assert.notEqual(id("ab", "c"), id("a", "bc"));
  assert.notEqual(id("a", "a"), id("aa", "a"));
});
