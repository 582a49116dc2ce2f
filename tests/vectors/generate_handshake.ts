/**
 * Writes handshake.json anew: `deno run -A tests/vectors/generate_handshake.ts`. One whole handshake from fixed inputs, for
 * whoever writes a second implementation of docs/PROTOCOL.md §2 to §4.
 *
 * RSA-OAEP is randomized, so its ciphertext is an input like the others and differs from run to run.
 */
import { createPrimitives, importOaepPublic, oaepEncrypt, x25519FromPrivate } from "../../shared/crypto/mod.ts";
import {
  AddressTokens,
  ClientHandshake,
  deriveSecrets,
  ServerHandshake,
  TokenPurpose,
  transcriptHash,
} from "../../shared/handshake/mod.ts";
import { testKeys } from "../keys.ts";
import { scripted } from "./scripted_random.ts";

const { aliceIdentity } = await testKeys();
const sequence = (first: number, length: number) => Uint8Array.from({ length }, (_, index) => first + index);

const clusterId = sequence(0xc0, 16), tokenKey = sequence(0x20, 32);
const keySecret = sequence(0x40, 32), clientPrivate = sequence(0x60, 32), serverPrivate = sequence(0x80, 32);
const host = "192.0.2.7", nowSeconds = 1_900_000_000;
const versionsOffered = [1], versionsOfServer = [1];
const connectionId = Uint8Array.fromHex("0500000aa1b2c3d4"), resetToken = sequence(0xe0, 16);
const parameters = {
  idleTimeoutUs: 60_000_000,
  connectionWindowBytes: 2 << 20,
  streamWindowBytes: 256 << 10,
  streamsOpenMax: 256,
};
const servers = [{ number: 5, host: "", port: 9006 }, { number: 6, host: "chat.example", port: 9007 }];

const client = await createPrimitives({ random: scripted(keySecret, clientPrivate) });
const server = await createPrimitives({ random: scripted(serverPrivate) });
const tokens = new AddressTokens(server, tokenKey, clusterId);
const token = tokens.make(TokenPurpose.locate, host, nowSeconds);
const clusterKey = aliceIdentity.spki;

const clientSide = new ClientHandshake({ primitives: client, versions: versionsOffered, clusterKey, token, nowUs: 0 });
const { label, plaintext } = clientSide.encryption!;
const ciphertext = await oaepEncrypt(await importOaepPublic(clusterKey), label, plaintext);
clientSide.provideCiphertext(ciphertext, 0);
const initial = clientSide.pollTransmit()!;

const serverSide = new ServerHandshake({ primitives: server, versions: versionsOfServer, clusterKey, tokens });
const action = serverSide.receive(initial, host, nowSeconds);
if (action?.type !== "decrypt") throw new Error("The INITIAL was not taken");
const options = { host, nowSeconds, connectionId, resetToken, parameters, servers };
const accepted = serverSide.accept(action.request, keySecret, options)!;

const clientPair = x25519FromPrivate(clientPrivate), serverPair = x25519FromPrivate(serverPrivate);
const shared = clientPair.agree(serverPair.publicKey)!;
const transcript = transcriptHash(client, {
  versionsOffered,
  versionChosen: 1,
  clusterKey,
  initial,
  connectionId,
  serverEphemeral: serverPair.publicKey,
});
const secrets = deriveSecrets(client, { keySecret, shared, transcript });

const hex = (values: Record<string, Uint8Array>) =>
  Object.fromEntries(Object.entries(values).map(([name, bytes]) => [name, bytes.toHex()]));
const vector = {
  source: "docs/PROTOCOL.md, sections 2 to 4; made by tests/vectors/generate_handshake.ts",
  inputs: {
    ...hex({ clusterPkcs8: aliceIdentity.pkcs8, clusterKey, clusterId, tokenKey }),
    ...hex({ keySecret, ciphertext, clientPrivate, serverPrivate, connectionId, resetToken }),
    host,
    nowSeconds,
    versionsOffered,
    versionsOfServer,
    parameters,
    servers,
  },
  outputs: hex({ token, initial, transcript, shared, ...secrets, accept: accepted.packet }),
};
const path = new URL("./handshake.json", import.meta.url);
await Deno.writeTextFile(path, JSON.stringify(vector, null, 2) + "\n");
