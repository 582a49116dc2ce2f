/** From two shared secrets and the transcript to one key per direction and purpose (docs/PROTOCOL.md §4). */
import { assert } from "../assert.ts";
import type { Primitives } from "../primitives.ts";

export interface HandshakeSecrets {
  /** Seal ACCEPT's body, packet number 0, and nothing else. */
  readonly acceptKey: Uint8Array;
  readonly acceptIv: Uint8Array;
  /** Generation 0 of what each side's packet keys are derived from. */
  readonly clientSecret: Uint8Array;
  readonly serverSecret: Uint8Array;
  /** What logins sign (SECURITY P6): unlike the transcript it depends on the secrets too. */
  readonly bind: Uint8Array;
  /** Goes with the ticket of this connection; kept sealed and never sent. */
  readonly resumption: Uint8Array;
}

/** Each input has 32 bytes; each output has, except `acceptIv` with 12. */
export function deriveSecrets(primitives: Primitives, inputs: {
  /** What RSA-OAEP carried, or the ticket's secret. */
  readonly keySecret: Uint8Array;
  /** The X25519 result. */
  readonly shared: Uint8Array;
  readonly transcript: Uint8Array;
}): HandshakeSecrets {
  const { keySecret, shared, transcript } = inputs;
  assert(keySecret.length === 32 && shared.length === 32 && transcript.length === 32, "Key inputs have 32 bytes");
  const inputKey = new Uint8Array(64);
  inputKey.set(keySecret);
  inputKey.set(shared, 32);
  const secret = primitives.hkdfExtract(transcript, inputKey);
  const expand = (label: string, length: number) => primitives.hkdfExpand(secret, `fastchat/1 ${label}`, length);
  return {
    acceptKey: expand("accept key", 32),
    acceptIv: expand("accept iv", 12),
    clientSecret: expand("client", 32),
    serverSecret: expand("server", 32),
    bind: expand("bind", 32),
    resumption: expand("resumption", 32),
  };
}
