/** tests/vectors/handshake.json against the program, and against a twin written from docs/PROTOCOL.md with node:crypto. */
import assert from "node:assert/strict";
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
} from "node:crypto";
import { createPrimitives, importOaepPrivate, oaepDecrypt } from "../../../shared/crypto/mod.ts";
import {
  AddressTokens,
  ClientHandshake,
  type DecryptRequest,
  ServerHandshake,
  TokenPurpose,
} from "../../../shared/handshake/mod.ts";
import { decodeAcceptBody } from "../../../shared/packet/mod.ts";
import file from "../../vectors/handshake.json" with { type: "json" };
import { scripted } from "../../vectors/scripted_random.ts";

const { inputs, outputs } = file;
const hex = Uint8Array.fromHex;

Deno.test("handshake vector: both machines reproduce it byte for byte", async () => {
  const client = await createPrimitives({ random: scripted(hex(inputs.keySecret), hex(inputs.clientPrivate)) });
  const server = await createPrimitives({ random: scripted(hex(inputs.serverPrivate)) });
  const tokens = new AddressTokens(server, hex(inputs.tokenKey), hex(inputs.clusterId));
  const { host, nowSeconds } = inputs, clusterKey = hex(inputs.clusterKey);
  assert.equal(tokens.make(TokenPurpose.locate, host, nowSeconds).toHex(), outputs.token);

  const versions = inputs.versionsOffered, token = hex(outputs.token);
  const clientSide = new ClientHandshake({ primitives: client, versions, clusterKey, token, nowUs: 0 });
  assert.equal(clientSide.encryption!.plaintext.toHex(), inputs.keySecret);
  clientSide.provideCiphertext(hex(inputs.ciphertext), 0);
  const initial = clientSide.pollTransmit()!;
  assert.equal(initial.toHex(), outputs.initial);

  const options = { primitives: server, versions: inputs.versionsOfServer, clusterKey, tokens };
  const serverSide = new ServerHandshake(options);
  const action = serverSide.receive(initial, host, nowSeconds);
  assert.equal(action?.type, "decrypt");
  const { request } = action as { request: DecryptRequest };
  const key = await importOaepPrivate(hex(inputs.clusterPkcs8));
  const secret = await oaepDecrypt(key, request.label, request.ciphertext);
  assert.equal(secret?.toHex(), inputs.keySecret);
  const accepted = serverSide.accept(request, secret, {
    host,
    nowSeconds,
    connectionId: hex(inputs.connectionId),
    resetToken: hex(inputs.resetToken),
    parameters: inputs.parameters,
    servers: inputs.servers,
  })!;
  assert.equal(accepted.packet.toHex(), outputs.accept);

  clientSide.handleDatagram(accepted.packet, 1);
  const outcome = clientSide.outcome;
  assert.equal(outcome?.type, "connected");
  if (outcome?.type !== "connected") return;
  for (const name of ["clientSecret", "serverSecret", "bind", "resumption"] as const) {
    assert.equal(accepted.secrets[name].toHex(), outputs[name]);
    assert.equal(outcome.secrets[name].toHex(), outputs[name]);
  }
});

Deno.test("handshake vector: a twin from the document alone gets the same keys and opens ACCEPT", () => {
  const concat = (...parts: string[]) => Buffer.from(parts.join(""), "hex");
  const ascii = (text: string) => Buffer.from(text).toString("hex");
  const accept = outputs.accept;
  const serverEphemeral = accept.slice(2 * 27, 2 * 59), clientEphemeral = outputs.initial.slice(2 * 30, 2 * 62);

  const privateKey = createPrivateKey({
    key: concat("302e020100300506032b656e04220420", inputs.clientPrivate),
    format: "der",
    type: "pkcs8",
  });
  const ownSpki = createPublicKey(privateKey).export({ format: "der", type: "spki" }).toString("hex");
  assert.equal(ownSpki.slice(24), clientEphemeral);
  const peer = createPublicKey({
    key: concat("302a300506032b656e032100", serverEphemeral),
    format: "der",
    type: "spki",
  });
  const shared = diffieHellman({ privateKey, publicKey: peer });
  assert.equal(shared.toString("hex"), outputs.shared);

  const clusterKeyHash = createHash("sha256").update(hex(inputs.clusterKey)).digest("hex");
  const transcript = createHash("sha256").update(concat(
    ascii("fastchat/transcript/1"),
    "01" + "0001" + "0001",
    clusterKeyHash,
    outputs.initial,
    inputs.connectionId,
    serverEphemeral,
  )).digest();
  assert.equal(transcript.toString("hex"), outputs.transcript);

  // HKDF in one step: the salt is the transcript, the input both secrets.
  const inputKey = concat(inputs.keySecret, outputs.shared);
  const expand = (label: string, length: number) =>
    Buffer.from(hkdfSync("sha256", inputKey, transcript, `fastchat/1 ${label}`, length));
  const names = {
    acceptKey: ["accept key", 32],
    acceptIv: ["accept iv", 12],
    clientSecret: ["client", 32],
    serverSecret: ["server", 32],
    bind: ["bind", 32],
    resumption: ["resumption", 32],
  } as const;
  for (const [name, [label, length]] of Object.entries(names)) {
    assert.equal(expand(label, length).toString("hex"), outputs[name as keyof typeof names]);
  }

  const echo = createHash("sha256").update(hex(outputs.initial)).digest("hex").slice(0, 32);
  assert.equal(accept.slice(0, 2 * 59), "05" + "0001" + echo + inputs.connectionId + serverEphemeral);
  const sealed = hex(accept).subarray(59);
  const decipher = createDecipheriv("chacha20-poly1305", expand("accept key", 32), expand("accept iv", 12), {
    authTagLength: 16,
  });
  decipher.setAAD(hex(accept).subarray(0, 59), { plaintextLength: sealed.length - 16 });
  decipher.setAuthTag(sealed.subarray(sealed.length - 16));
  const plaintext = decipher.update(sealed.subarray(0, sealed.length - 16));
  decipher.final();
  const body = decodeAcceptBody(new Uint8Array(plaintext))!;
  assert.equal(body.resetToken.toHex(), inputs.resetToken);
  assert.deepEqual(body.servers, inputs.servers);
  const expiry = (inputs.nowSeconds + 86_400).toString(16).padStart(12, "0");
  const mac = createHmac("sha256", hex(inputs.tokenKey))
    .update(concat(ascii("fastchat/token/1"), "03", expiry, inputs.clusterId, "04c0000207")).digest("hex").slice(0, 32);
  assert.equal(body.token.toHex(), "03" + expiry + mac);
});
