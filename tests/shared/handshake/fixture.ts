/** A cluster with real keys, and both sides of a handshake driven by hand. */
import assert from "node:assert/strict";
import {
  createPrimitives,
  importOaepPrivate,
  importOaepPublic,
  oaepDecrypt,
  oaepEncrypt,
} from "../../../shared/crypto/mod.ts";
import {
  type Accepted,
  type AcceptOptions,
  AddressTokens,
  ClientHandshake,
  type ClientHandshakeOptions,
  type Connected,
  type DecryptRequest,
  ServerHandshake,
  TokenPurpose,
} from "../../../shared/handshake/mod.ts";
import type { Primitives } from "../../../shared/primitives.ts";
import { testKeys } from "../../keys.ts";

export const HOST = "192.0.2.7";
export const NOW_SECONDS = 1_900_000_000;

export class Cluster {
  readonly tokens: AddressTokens;
  readonly server: ServerHandshake;
  #connections = 0;

  private constructor(
    readonly primitives: Primitives,
    readonly clusterKey: Uint8Array,
    readonly privateKey: CryptoKey,
    readonly publicKey: CryptoKey,
    versions: readonly number[],
  ) {
    this.tokens = new AddressTokens(primitives, primitives.random.bytes(32), primitives.random.bytes(16));
    this.server = new ServerHandshake({ primitives, versions, clusterKey, tokens: this.tokens });
  }

  /** @param who Whose key is the cluster's. */
  static async create(versions: readonly number[] = [1], who: "alice" | "bob" = "alice"): Promise<Cluster> {
    const { pkcs8, spki } = (await testKeys())[who === "alice" ? "aliceIdentity" : "bobIdentity"];
    const privateKey = await importOaepPrivate(pkcs8), publicKey = await importOaepPublic(spki);
    return new Cluster(await createPrimitives(), spki, privateKey, publicKey, versions);
  }

  /** A client that has been to the balancer and now waits for RSA. */
  client(options: Partial<ClientHandshakeOptions> = {}): ClientHandshake {
    return new ClientHandshake({
      primitives: this.primitives,
      versions: [1],
      clusterKey: this.clusterKey,
      token: this.token(),
      nowUs: 0,
      ...options,
    });
  }

  token(host = HOST): Uint8Array {
    return this.tokens.make(TokenPurpose.locate, host, NOW_SECONDS);
  }

  /** Performs the client's RSA and gives the INITIAL that follows from it. */
  async initial(client: ClientHandshake, nowUs = 0): Promise<Uint8Array> {
    const { encryption } = client;
    if (encryption) {
      client.provideCiphertext(await oaepEncrypt(this.publicKey, encryption.label, encryption.plaintext), nowUs);
    }
    const packet = client.pollTransmit();
    assert.ok(packet, "an INITIAL is due");
    assert.equal(client.pollTransmit(), undefined);
    return packet.slice();
  }

  receive(packet: Uint8Array, host = HOST, nowSeconds = NOW_SECONDS): ReturnType<ServerHandshake["receive"]> {
    return this.server.receive(packet, host, nowSeconds);
  }

  /** What must be a decryption. */
  request(packet: Uint8Array): DecryptRequest {
    const action = this.receive(packet);
    assert.equal(action?.type, "decrypt");
    return (action as { request: DecryptRequest }).request;
  }

  /** What must be a RETRY. */
  retry(packet: Uint8Array, host = HOST, nowSeconds = NOW_SECONDS): Uint8Array {
    const action = this.receive(packet, host, nowSeconds);
    assert.equal(action?.type, "retry");
    return (action as { packet: Uint8Array }).packet;
  }

  async accept(packet: Uint8Array, options: Partial<AcceptOptions> = {}): Promise<Accepted> {
    const request = this.request(packet);
    const secret = await oaepDecrypt(this.privateKey, request.label, request.ciphertext);
    const accepted = this.server.accept(request, secret, this.acceptOptions(options));
    assert.ok(accepted, "the INITIAL is accepted");
    return accepted;
  }

  acceptOptions(options: Partial<AcceptOptions> = {}): AcceptOptions {
    return {
      host: HOST,
      nowSeconds: NOW_SECONDS,
      connectionId: new Uint8Array([2, 0, 0, this.#connections++, 1, 2, 3, 4]),
      resetToken: this.primitives.random.bytes(16),
      parameters: {
        idleTimeoutUs: 60_000_000,
        connectionWindowBytes: 2 << 20,
        streamWindowBytes: 256 << 10,
        streamsOpenMax: 256,
      },
      servers: [{ number: 1, host: "", port: 9001 }, { number: 2, host: "chat.example", port: 9002 }],
      ...options,
    };
  }
}

export function connected(client: ClientHandshake): Connected {
  assert.equal(client.outcome?.type, "connected", JSON.stringify(client.outcome));
  return client.outcome as Connected;
}

export function flipped(packet: Uint8Array, at: number, mask = 1): Uint8Array {
  const copy = packet.slice();
  copy[at]! ^= mask;
  return copy;
}
