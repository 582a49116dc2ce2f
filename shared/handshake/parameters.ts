/** What a completed handshake fixes for the connection that follows. */
import type { HandshakeSecrets } from "./key_schedule.ts";

/** What the server allows the client to send, and how long silence may last. */
export interface ServerParameters {
  /** Travels as whole seconds, at most 65,535. */
  readonly idleTimeoutUs: number;
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
  /** Streams the client may open before the first MAX_STREAMS. */
  readonly streamsOpenMax: number;
}

/** The keys that outlive the handshake; `acceptKey` and `acceptIv` do not. */
export type ConnectionSecrets = Omit<HandshakeSecrets, "acceptKey" | "acceptIv">;

/** RSA-OAEP's label for what an INITIAL carries. */
export const INITIAL_LABEL = "fastchat/initial/1";
/** Bytes of an RSA-3072 ciphertext, and of the secret in it. */
export const RSA_CIPHERTEXT_BYTES = 384;
export const KEY_SECRET_BYTES = 32;
