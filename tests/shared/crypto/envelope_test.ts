import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type EnvelopeFault,
  envelopeHash,
  generateRsaPkcs8,
  importOaepPrivate,
  importOaepPublic,
  NO_PREVIOUS,
  openEnvelope,
  readEnvelope,
  sealEnvelope,
} from "../../../shared/crypto/mod.ts";
import { TEXT_BYTES_MAX } from "../../../shared/limits.ts";
import type { ConversationId, DeviceId, MessageId } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOW_MS, type TestDevice, testKeys } from "../../keys.ts";
import { forgedBody, type ForgedHeader, forgedHeaderBytes, forgeEnvelope, type Forgery } from "./forge_envelope.ts";

const CONVERSATION = "0f".repeat(16) as ConversationId;
const MESSAGE = "aa".repeat(16) as MessageId;
const utf8 = new TextEncoder();

/** From Alice's first device to Bob, with a copy for her second. */
async function seal(text = "hi", change: Partial<Parameters<typeof sealEnvelope>[0]> = {}): Promise<Uint8Array> {
  const { alice, alice2, bob } = await testKeys();
  return await sealEnvelope({
    clusterId: TEST_CLUSTER,
    sender: { identity: alice.identity.fingerprint, device: alice.id, leaf: alice.leaf },
    recipientIdentity: bob.identity.fingerprint,
    devices: [
      { id: bob.id, envelopeKey: await importOaepPublic(bob.envelopeKey) },
      { id: alice2.id, envelopeKey: await importOaepPublic(alice2.envelopeKey) },
    ],
    conversation: CONVERSATION,
    messageId: MESSAGE,
    counter: 1,
    previous: NO_PREVIOUS,
    timeMs: TEST_NOW_MS,
    text,
    ...change,
  });
}

interface OpenAs {
  own?: TestDevice;
  envelopePrivate?: CryptoKey;
  sender?: TestDevice;
  conversation?: ConversationId;
  clusterId?: Uint8Array;
}

/** Opens as Bob what should be from Alice's first device; the text, or why not. */
async function open(body: Uint8Array, as: OpenAs = {}): Promise<{ text: string } | { fault: EnvelopeFault }> {
  const { alice, bob } = await testKeys();
  const own = as.own ?? bob, sender = as.sender ?? alice;
  const read = readEnvelope(body);
  if (!read.ok) return { fault: read.reason };
  const opened = await openEnvelope({
    envelope: read.envelope,
    clusterId: as.clusterId ?? TEST_CLUSTER,
    conversation: as.conversation ?? CONVERSATION,
    own: {
      identity: own.identity.fingerprint,
      device: own.id,
      envelopePrivate: as.envelopePrivate ?? own.envelopePrivate,
    },
    sender: { identity: sender.identity.fingerprint, device: sender.id, leafKey: sender.leaf.publicKey },
  });
  return opened.ok ? { text: opened.content.text } : { fault: opened.reason };
}

/** What an honest device would forge: each test spoils one thing. */
async function honest(): Promise<Forgery> {
  const { alice, alice2, bob } = await testKeys();
  return {
    header: {
      label: "fastchat/envelope/1",
      suite: 1,
      clusterId: TEST_CLUSTER,
      senderIdentity: alice.identity.fingerprint,
      recipientIdentity: bob.identity.fingerprint,
      senderDevice: alice.id,
      devices: [bob.id, alice2.id],
      conversation: CONVERSATION,
      messageId: MESSAGE,
      counter: 1,
      previous: NO_PREVIOUS,
      timeMs: TEST_NOW_MS,
      innerType: 1,
    },
    content: {
      version: 1,
      type: 1,
      messageId: MESSAGE,
      device: alice.id,
      counter: 1,
      timeMs: TEST_NOW_MS,
      text: utf8.encode("hi"),
    },
    envelopeKeys: [bob.envelopeKey, alice2.envelopeKey],
    leaf: alice.leaf,
  };
}

async function forge(spoil: (forgery: Forgery) => void): Promise<Uint8Array> {
  const forgery = await honest();
  spoil(forgery);
  return forgeEnvelope(forgery);
}

Deno.test("sealEnvelope() makes what the recipient and the sender's other device open", async () => {
  const { alice2 } = await testKeys();
  const body = await seal("Grüße, 世界 👋");
  assert.deepEqual(await open(body), { text: "Grüße, 世界 👋" });
  assert.deepEqual(await open(body, { own: alice2 }), { text: "Grüße, 世界 👋" });
  assert.equal(new TextDecoder().decode(body).includes("Grüße"), false);
});

Deno.test("openEnvelope() opens what a second implementation of the text seals", async () => {
  assert.deepEqual(await open(await forge(() => {})), { text: "hi" });
});

Deno.test("openEnvelope() opens the published vector, with the published steps", async () => {
  const vector = JSON.parse(await Deno.readTextFile(new URL("../../vectors/envelope.json", import.meta.url)));
  const body = Uint8Array.fromHex(vector.body);
  assert.deepEqual(await open(body, { conversation: vector.conversation }), { text: vector.text });
  const read = readEnvelope(body);
  assert.ok(read.ok);
  assert.equal(read.envelope.headerBytes.toHex(), vector.header);
  assert.equal(read.envelope.header.messageId, vector.messageId);
  assert.equal(envelopeHash(body).toHex(), vector.bodySha256);
});

Deno.test("sealEnvelope() keeps any text as it was", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary", maxLength: 200 }), async (text) => {
      assert.deepEqual(await open(await seal(text)), { text });
    }),
    { numRuns: 20 },
  );
  assert.deepEqual(await open(await seal("\ufeffa\0b")), { text: "\ufeffa\0b" });
  assert.deepEqual(await open(await seal("")), { text: "" });
});

Deno.test("sealEnvelope() seals a text of the largest size and refuses one byte more", async () => {
  const text = "é".repeat(TEXT_BYTES_MAX / 2);
  assert.deepEqual(await open(await seal(text)), { text });
  await assert.rejects(seal(text + "a"), RangeError);
});

Deno.test("sealEnvelope() uses a fresh secret each time", async () => {
  const first = readEnvelope(await seal()), second = readEnvelope(await seal());
  assert.ok(first.ok && second.ok);
  assert.deepEqual(first.envelope.headerBytes, second.envelope.headerBytes);
  assert.notDeepEqual(first.envelope.sealed, second.envelope.sealed);
});

Deno.test("openEnvelope() refuses a server that changes any one byte of the header", async () => {
  const body = await seal(), read = readEnvelope(body);
  assert.ok(read.ok);
  const { headerBytes, wraps, sealed } = read.envelope;
  for (let i = 0; i < headerBytes.length; i++) {
    const header = headerBytes.slice();
    header[i]! ^= 1;
    const result = await open(forgedBody({ header, wraps, sealed }));
    assert.ok("fault" in result, `byte ${i} of the header was changed and ${JSON.stringify(result)} came out`);
  }
});

Deno.test("openEnvelope() says precisely why a server's header is refused", async () => {
  const { alice, alice2, bob } = await testKeys();
  const body = await seal(), read = readEnvelope(body);
  assert.ok(read.ok);
  const { wraps, sealed } = read.envelope;
  const expected: [Partial<ForgedHeader>, EnvelopeFault][] = [
    [{ label: "fastchat/envelope/2" }, "malformed"],
    [{ suite: 2 }, "unknown suite"],
    [{ clusterId: new Uint8Array(16) }, "other cluster"],
    [{ senderIdentity: bob.identity.fingerprint }, "other sender"],
    [{ recipientIdentity: new Uint8Array(32) }, "not for this identity"],
    [{ recipientIdentity: alice.identity.fingerprint }, "not for this identity"],
    [{ senderDevice: "11".repeat(16) }, "other sender device"],
    [{ senderDevice: alice2.id }, "malformed"],
    [{ devices: [alice2.id, bob.id] }, "key does not unwrap"],
    [{ devices: [bob.id, bob.id] }, "malformed"],
    [{ devices: [bob.id] }, "malformed"],
    [{ devices: ["22".repeat(16), alice2.id] }, "not for this device"],
    [{ conversation: "33".repeat(16) }, "other conversation"],
    [{ messageId: "44".repeat(16) }, "content does not open"],
    [{ counter: 2 }, "content does not open"],
    [{ counter: 0 }, "malformed"],
    [{ previous: new Uint8Array(32).fill(1) }, "content does not open"],
    [{ timeMs: TEST_NOW_MS + 1 }, "content does not open"],
    [{ innerType: 2 }, "content does not open"],
  ];
  for (const [change, fault] of expected) {
    const header = forgedHeaderBytes({ ...(await honest()).header, ...change });
    assert.deepEqual(await open(forgedBody({ header, wraps, sealed })), { fault }, JSON.stringify(change));
  }
});

Deno.test("openEnvelope() refuses an insider whose signed content differs from the header", async () => {
  const cases: [(forgery: Forgery) => void, EnvelopeFault][] = [
    [(forgery) => forgery.content.version = 2, "unknown content"],
    [(forgery) => forgery.content.type = 2, "unknown content"],
    [(forgery) => forgery.header.innerType = 2, "content differs from header"],
    [(forgery) => forgery.content.messageId = "bb".repeat(16), "content differs from header"],
    [(forgery) => forgery.content.device = "bb".repeat(16), "content differs from header"],
    [(forgery) => forgery.content.counter = 2, "content differs from header"],
    [(forgery) => forgery.content.timeMs++, "content differs from header"],
    [(forgery) => forgery.content.text = new Uint8Array([0x61, 0xff]), "malformed"],
    [(forgery) => forgery.content.text = new Uint8Array(TEXT_BYTES_MAX + 1), "malformed"],
    [(forgery) => forgery.secretBytes = 31, "key does not unwrap"],
    [(forgery) => forgery.envelopeKeys.pop(), "malformed"],
    [(forgery) => forgery.version = 2, "unknown version"],
    [(forgery) => forgery.kind = 2, "unknown kind"],
  ];
  for (const [spoil, fault] of cases) assert.deepEqual(await open(await forge(spoil)), { fault }, String(spoil));
});

Deno.test("openEnvelope() refuses what another device signed, even one that could read it", async () => {
  const { bob, alice2 } = await testKeys();
  for (const other of [bob, alice2]) {
    assert.deepEqual(await open(await forge((forgery) => forgery.leaf = other.leaf)), { fault: "bad signature" });
  }
});

Deno.test("openEnvelope() refuses the wrong device, recipient, sender, conversation and cluster", async () => {
  const { alice, alice2, bob } = await testKeys();
  const body = await seal();
  assert.deepEqual(await open(body, { own: { ...bob, id: "55".repeat(16) as DeviceId } }), {
    fault: "not for this device",
  });
  assert.deepEqual(
    await open(body, { own: { ...bob, identity: { ...bob.identity, fingerprint: new Uint8Array(32) } } }),
    {
      fault: "not for this identity",
    },
  );
  assert.deepEqual(await open(body, { sender: bob }), { fault: "other sender" });
  assert.deepEqual(await open(body, { sender: alice2 }), { fault: "other sender device" });
  assert.deepEqual(await open(body, { sender: { ...alice, leaf: alice2.leaf } }), { fault: "bad signature" });
  assert.deepEqual(await open(body, { conversation: "66".repeat(16) as ConversationId }), {
    fault: "other conversation",
  });
  assert.deepEqual(await open(body, { clusterId: new Uint8Array(16) }), { fault: "other cluster" });
  const stranger = await importOaepPrivate(await generateRsaPkcs8());
  assert.deepEqual(await open(body, { envelopePrivate: stranger }), { fault: "key does not unwrap" });
});

Deno.test("openEnvelope() refuses swapped, repeated and foreign wraps", async () => {
  const { alice2 } = await testKeys();
  const read = readEnvelope(await seal()), other = readEnvelope(await seal());
  assert.ok(read.ok && other.ok);
  const { headerBytes: header, wraps: [bobs, alices], sealed } = read.envelope;
  assert.ok(bobs && alices);
  assert.deepEqual(await open(forgedBody({ header, wraps: [alices, bobs], sealed })), { fault: "key does not unwrap" });
  // Bob's own is in its place, and still the envelope is another one.
  assert.deepEqual(await open(forgedBody({ header, wraps: [bobs, bobs], sealed })), { fault: "content does not open" });
  const foreign = [other.envelope.wraps[0]!, alices];
  assert.deepEqual(await open(forgedBody({ header, wraps: foreign, sealed })), { fault: "content does not open" });
  const copy = { own: alice2 };
  assert.deepEqual(await open(forgedBody({ header, wraps: [alices, bobs], sealed }), copy), {
    fault: "key does not unwrap",
  });
});

Deno.test("openEnvelope() refuses a change anywhere in wraps and ciphertext", async () => {
  const body = await seal("a text of some length"), read = readEnvelope(body);
  assert.ok(read.ok);
  const wrapsAt = body.length - read.envelope.sealed.length - 1 - 2 * 384;
  for (let i = wrapsAt; i < body.length; i += 11) {
    const changed = body.slice();
    changed[i]! ^= 0x80;
    assert.ok("fault" in await open(changed), `byte ${i} was changed`);
  }
});

Deno.test("readEnvelope() refuses every truncation, trailing bytes and longer varints", async () => {
  const body = await seal("hi");
  assert.deepEqual(readEnvelope(new Uint8Array()), { ok: false, reason: "malformed" });
  for (let length = 1; length < body.length; length++) {
    assert.deepEqual(readEnvelope(body.subarray(0, length)), { ok: false, reason: "malformed" }, `${length} bytes`);
  }
  assert.deepEqual(readEnvelope(new Uint8Array([...body, 0])), { ok: false, reason: "malformed" });
  // The header's length once more in four bytes instead of two: the same envelope, but another hash.
  const longer = new Uint8Array([1, 1, 0x80, 0, body[2]! & 0x3f, body[3]!, ...body.subarray(4)]);
  assert.deepEqual(readEnvelope(longer), { ok: false, reason: "malformed" });
});

Deno.test("readEnvelope() answers any bytes with an envelope or a reason", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
    const input = new Uint8Array([1, 1, ...bytes]);
    assert.equal(readEnvelope(input).ok, false);
  }));
});
