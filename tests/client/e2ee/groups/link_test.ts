/** Invite links and what is proven by them (SECURITY M14). */
import assert from "node:assert/strict";
import { formatLink, type InviteLink, isLinkProof, linkProof, parseLink } from "../../../../client/e2ee/groups/link.ts";
import type { ConversationId, DeviceId } from "../../../../shared/protocol/mod.ts";

const GROUP = "ab".repeat(16) as ConversationId, DEVICE = "01".repeat(16) as DeviceId;
const LINK: InviteLink = {
  cluster: new Uint8Array(32).fill(1),
  server: "chat.example.org:9000",
  group: GROUP,
  invite: "cd".repeat(16),
  secret: new Uint8Array(32).fill(2),
};
const INVITES = { invites: [{ id: LINK.invite, secret: LINK.secret }] };
const ASKER = { group: GROUP, identity: new Uint8Array(32).fill(3), device: DEVICE };

Deno.test("parseLink() reads what formatLink() wrote, with blanks around it", () => {
  assert.deepEqual(parseLink(formatLink(LINK)), LINK);
  assert.deepEqual(parseLink(`  ${formatLink(LINK)}\n`), LINK);
});

Deno.test("parseLink() refuses every link that is cut or has a wrong character", () => {
  const text = formatLink(LINK);
  for (let length = 0; length < text.length; length++) assert.equal(parseLink(text.slice(0, length)), undefined);
  for (let at = 0; at < text.length; at++) {
    const other = text[at] === "A" ? "B" : "A";
    assert.equal(parseLink(text.slice(0, at) + other + text.slice(at + 1)), undefined, `character ${at}`);
  }
  assert.equal(parseLink("https://example.org/"), undefined);
});

Deno.test("isLinkProof() takes the one who made it, with an open link of that group, and nobody else", () => {
  const proof = linkProof(LINK, ASKER);
  assert(isLinkProof(proof, INVITES, ASKER));
  assert(!isLinkProof(proof, { invites: [] }, ASKER), "closed");
  assert(!isLinkProof(proof, { invites: [{ id: LINK.invite, secret: new Uint8Array(32) }] }, ASKER));
  assert(!isLinkProof(proof, INVITES, { ...ASKER, identity: new Uint8Array(32).fill(4) }));
  assert(!isLinkProof(proof, INVITES, { ...ASKER, device: "02".repeat(16) as DeviceId }));
  assert(!isLinkProof(proof, INVITES, { ...ASKER, group: "ac".repeat(16) as ConversationId }));
  for (let at = 0; at < proof.length; at++) assert(!isLinkProof(proof.with(at, proof[at]! ^ 1), INVITES, ASKER));
  assert(!isLinkProof(new Uint8Array(), INVITES, ASKER));
});
