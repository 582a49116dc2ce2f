/** One leaf's two ratchets as a stored row (RFC 9420 §9.1): the next key of each, and those kept for overtaken messages. */
import type { ClientState } from "ts-mls";
import { array, bytes, decode, encode, type Infer, struct, varint } from "../../../shared/codec/mod.ts";

type Ratchets = ClientState["secretTree"][number];

export function encodeRatchet({ handshake, application }: Ratchets): Uint8Array {
  return encode(ROW, { handshake: flat(handshake), application: flat(application) });
}

/** @throws DecodeError where the row is not what {@linkcode encodeRatchet} wrote. */
export function decodeRatchet(row: Uint8Array): Ratchets {
  const { handshake, application } = decode(ROW, row);
  return { handshake: unflat(handshake), application: unflat(application) };
}

function flat({ secret, generation, unusedGenerations }: Ratchets["handshake"]): Infer<typeof RATCHET> {
  const unused = Object.entries(unusedGenerations).map(([number, kept]) => ({
    generation: Number(number),
    secret: kept,
  }));
  return { secret, generation, unused };
}

function unflat({ secret, generation, unused }: Infer<typeof RATCHET>): Ratchets["handshake"] {
  const unusedGenerations = Object.fromEntries(unused.map((kept) => [kept.generation, kept.secret]));
  return { secret, generation, unusedGenerations };
}

const SECRET = bytes(64);
const RATCHET = struct({
  secret: SECRET,
  generation: varint,
  unused: array(struct({ generation: varint, secret: SECRET }), 64),
});
const ROW = struct({ handshake: RATCHET, application: RATCHET });
