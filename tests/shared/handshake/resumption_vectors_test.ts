/** tests/vectors/resumption.json against the program, and against a twin written from docs/PROTOCOL.md with node:crypto. */
import assert from "node:assert/strict";
import { createDecipheriv, createHash, createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from "node:crypto";
import { decodeAcceptBody } from "../../../shared/packet/mod.ts";
import file from "../../vectors/resumption.json" with { type: "json" };
import { resume } from "../../vectors/resumption_exchange.ts";

const { inputs, outputs } = file;

Deno.test("resumption vector: both sides compute it, byte for byte", async () => {
  const again = await resume(inputs);
  assert.deepEqual(again.outputs, outputs);
  assert.ok(again.outcome.isResumed);
  assert.equal(again.ticket.user, inputs.user);
  assert.equal(again.ticket.generation, inputs.generation);
  assert.equal(again.outcome.secrets.resumption.toHex(), outputs.resumption);
});

Deno.test("resumption vector: a twin from the document alone opens ticket, ACCEPT and the next ticket", () => {
  const u48 = (value: number) => value.toString(16).padStart(12, "0");
  const content = (connectionId: string, secret: string) =>
    "05" + ascii("alice") + inputs.device + inputs.session + u48(inputs.generation) + connectionId + secret +
    u48(inputs.nowSeconds) + u48(inputs.nowSeconds + 604_800);
  const opened = openTicket(outputs.ticket);
  assert.equal(opened, content(inputs.earlierConnectionId, inputs.earlierResumption));
  assert.equal(outputs.ticket.slice(0, 48), inputs.ticketKeyId + inputs.ticketNonce);

  // INITIAL: type, version, one version, token of 23 bytes, ephemeral, kind 1, the ticket, zeros.
  const length = (outputs.ticket.length / 2).toString(16).padStart(4, "0");
  const clientEphemeral = outputs.initial.slice(2 * 30, 2 * 62);
  const initial = "030001" + "010001" + "17" + outputs.token + clientEphemeral + "01" + length + outputs.ticket;
  assert.equal(outputs.initial, initial.padEnd(2400, "0"));

  const serverEphemeral = outputs.accept.slice(2 * 27, 2 * 59);
  const shared = diffieHellman({
    privateKey: createPrivateKey({
      key: bytes("302e020100300506032b656e04220420", inputs.clientPrivate),
      format: "der",
      type: "pkcs8",
    }),
    publicKey: createPublicKey({
      key: bytes("302a300506032b656e032100", serverEphemeral),
      format: "der",
      type: "spki",
    }),
  });
  const transcript = createHash("sha256").update(bytes(
    ascii("fastchat/transcript/1"),
    "01" + "0001" + "0001",
    createHash("sha256").update(bytes(inputs.clusterKey)).digest("hex"),
    outputs.initial,
    inputs.connectionId,
    serverEphemeral,
  )).digest();
  // The ticket's secret stands where RSA's would.
  const inputKey = bytes(inputs.earlierResumption, shared.toString("hex"));
  const expand = (label: string, length: number) =>
    Buffer.from(hkdfSync("sha256", inputKey, transcript, `fastchat/1 ${label}`, length));
  assert.equal(expand("client", 32).toString("hex"), outputs.clientSecret);
  assert.equal(expand("server", 32).toString("hex"), outputs.serverSecret);
  assert.equal(expand("bind", 32).toString("hex"), outputs.bind);
  assert.equal(expand("resumption", 32).toString("hex"), outputs.resumption);
  const body = open(expand("accept key", 32), expand("accept iv", 12), outputs.accept, 59);
  const { ticket } = decodeAcceptBody(Uint8Array.fromHex(body))!;
  assert.equal(ticket.toHex(), outputs.grant);
  assert.equal(outputs.grant.slice(0, 12), "00093a80" + "012c");
  assert.equal(openTicket(outputs.grant.slice(12)), content(inputs.connectionId, outputs.resumption));
});

/** key id <8> ‖ nonce <16> ‖ sealed: the key is HKDF with the nonce as salt. */
function openTicket(ticket: string): string {
  const nonce = ticket.slice(16, 48);
  const expand = (label: string, length: number) =>
    Buffer.from(hkdfSync("sha256", bytes(inputs.ticketKey), bytes(nonce), `fastchat/1 ticket ${label}`, length));
  return open(expand("key", 32), expand("iv", 12), ticket, 24);
}

function open(key: Buffer, iv: Buffer, packet: string, headerBytes: number): string {
  const all = bytes(packet), tagAt = all.length - 16;
  const decipher = createDecipheriv("chacha20-poly1305", key, iv, { authTagLength: 16 });
  decipher.setAAD(all.subarray(0, headerBytes), { plaintextLength: tagAt - headerBytes });
  decipher.setAuthTag(all.subarray(tagAt));
  const plaintext = decipher.update(all.subarray(headerBytes, tagAt)).toString("hex");
  decipher.final();
  return plaintext;
}

function bytes(...parts: string[]): Buffer {
  return Buffer.from(parts.join(""), "hex");
}

function ascii(text: string): string {
  return Buffer.from(text).toString("hex");
}
