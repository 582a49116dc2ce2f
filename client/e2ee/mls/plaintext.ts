/** What lies inside a sealed message (SECURITY M2, M4): everything about it that must not be the server's word. */
import { bytes, decode, encode, type Infer, struct, u48, u8, varint } from "../../../shared/codec/mod.ts";
import { DecodeError } from "../../../shared/codec/mod.ts";
import { TEXT_BYTES_MAX } from "../../../shared/limits.ts";
import { deviceId, messageId } from "../../../shared/protocol/mod.ts";
import { pad, unpad } from "./padding.ts";
import { view } from "./view.ts";

/** What `content` is. Numbers are forever; a type that a client does not know is shown as needing a newer one. */
export const ContentType = {
  /** UTF-8 text. */
  text: 1,
  /** The sender's user leaves: whoever commits next removes its devices (SECURITY M6). No content. */
  leaveNotice: 2,
} as const;

const PLAINTEXT = struct({
  version: u8,
  type: varint,
  /** The same in every retry, which is sealed anew: receivers drop by it. */
  messageId,
  device: deviceId,
  /** Of this device in this conversation: 1, 2, 3… */
  counter: varint,
  /** When it was written, by the sender's clock. */
  timeMs: u48,
  view,
  content: bytes(TEXT_BYTES_MAX),
});

/** A message's plaintext, without its version. */
export type Plaintext = Omit<Infer<typeof PLAINTEXT>, "version">;

/** Encoded and padded. */
export function encodePlaintext(plaintext: Plaintext): Uint8Array {
  return pad(encode(PLAINTEXT, { version: VERSION, ...plaintext }));
}

/** @throws DecodeError where it is anything but what {@linkcode encodePlaintext} writes, of this version. */
export function decodePlaintext(padded: Uint8Array): Plaintext {
  const content = unpad(padded);
  if (content[0] !== VERSION) throw new DecodeError(`Plaintext is of version ${content[0]}`);
  const { version: _, ...plaintext } = decode(PLAINTEXT, content);
  return plaintext;
}

const VERSION = 1;
