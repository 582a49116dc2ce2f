/**
 * A server that lies: it holds the cluster's true keys, so clients take it for one of theirs, tells them to stretch their
 * password as it is told to, refuses everything else, and remembers what it was asked.
 */
import { decode, encode } from "../../shared/codec/mod.ts";
import type { ClusterKeys } from "../../shared/cluster/mod.ts";
import { createPrimitives } from "../../shared/crypto/mod.ts";
import { CloseCode, ErrorCode } from "../../shared/errors.ts";
import { type Channel, ChannelServer } from "../../shared/net/mod.ts";
import { type Request, request, type Response, response, type ResponseOf } from "../../shared/protocol/mod.ts";

export class Liar {
  readonly asked: Request[] = [];
  offer: ResponseOf<"stretching">;
  #server: ChannelServer | undefined;

  private constructor(offer: ResponseOf<"stretching">) {
    this.offer = offer;
  }

  static async start(keys: ClusterKeys, offer: ResponseOf<"stretching">): Promise<Liar> {
    const liar = new Liar(offer);
    const { clusterId: id, privateKeyPkcs8, spki, tokenKey, resetKey } = keys;
    liar.#server = await ChannelServer.listen({
      host: "127.0.0.1",
      port: 0,
      serverNumber: 100,
      cluster: { id, privateKeyPkcs8, spki, tokenKey, resetKey },
      primitives: await createPrimitives(),
      servers: () => [],
      onChannel: (channel) => liar.#serve(channel),
    });
    return liar;
  }

  get port(): number {
    return this.#server!.address.port;
  }

  async close(): Promise<void> {
    await this.#server!.close(CloseCode.none, "");
  }

  #serve(channel: Channel): void {
    channel.handler = {
      onStream: (stream) => {
        stream.handler = {
          onMessage: (message) => {
            const asked = decode(request, message);
            this.asked.push(asked);
            stream.send(encode(response, this.#answer(asked)));
            stream.finish();
          },
        };
      },
      onClose() {},
    };
  }

  #answer(asked: Request): Response {
    if (asked.type === "stretch") return this.offer;
    return {
      type: "error",
      code: ErrorCode.badCredentials,
      message: "No",
      retryAfterMs: 0,
      epoch: 0,
      messageId: undefined,
    };
  }
}
