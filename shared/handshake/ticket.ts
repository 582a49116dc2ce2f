/**
 * Resumption tickets (docs/PROTOCOL.md §2.6, SECURITY H8): what a server has to know of a login in order to continue it, sealed
 * so that only the cluster's servers can read it, and carried by the client. Servers keep nothing for it.
 *
 * A ticket proves nothing by being shown, since whoever watches the network sees it: what counts is the first packet under
 * keys that come from its secret, which never travels in clear, and from a fresh X25519 exchange.
 */
import { assert } from "../assert.ts";
import { DecodeError, Reader, Writer } from "../codec/mod.ts";
import { TAG_BYTES } from "../limits.ts";
import type { Primitives } from "../primitives.ts";

/** What seals tickets; made by the balancer, known to every server of the cluster, and to nobody else. */
export interface TicketKey {
  /** 8 bytes, in clear in every ticket: which of the keys it is. */
  readonly id: Uint8Array;
  /** 32 random bytes. */
  readonly key: Uint8Array;
}

/** The keys of now: the newest opens and, once every server has it, seals; the one before still opens. */
export interface TicketKeys {
  readonly sealing: TicketKey;
  readonly opening: readonly TicketKey[];
}

/** The login that a ticket continues. */
export interface TicketLogin {
  readonly user: string;
  /** 16 bytes. */
  readonly device: Uint8Array;
  /** SHA-256 of the session token, 32 bytes: the store says whether it lives. */
  readonly session: Uint8Array;
  /** The user's credential generation when the ticket was made: a raised one makes it worthless. */
  readonly generation: number;
}

/** Everything under a ticket's seal. */
export interface Ticket extends TicketLogin {
  /** 8 bytes: the connection that it was given on, which its use replaces. */
  readonly connectionId: Uint8Array;
  /** 32 bytes: takes the place of what RSA carries. The client derived it too, so it was never sent. */
  readonly secret: Uint8Array;
  readonly issuedSeconds: number;
  readonly expirySeconds: number;
}

/** What a client is given, in ACCEPT or NEW_TICKET: a ticket, and what it must know to make use of it. */
export interface TicketGrant {
  /** How long the client should keep it: whole seconds from now. */
  readonly lifetimeSeconds: number;
  /** How long the server may be silent before the client asks for a sign of life, in milliseconds. */
  readonly watchMs: number;
  /** Opaque to the client. */
  readonly ticket: Uint8Array;
}

/** Makes and opens the tickets of one cluster. */
export class Tickets {
  readonly #primitives: Primitives;
  readonly #keys: () => TicketKeys;

  /** @param keys Asked for every ticket: they change while servers run. */
  constructor(primitives: Primitives, keys: () => TicketKeys) {
    this.#primitives = primitives;
    this.#keys = keys;
  }

  /** 8 bytes: of the key that seals now. */
  get sealingId(): Uint8Array {
    return this.#keys().sealing.id;
  }

  /** Whether this key still is the one that seals. @param id 8 bytes. */
  isSealing(id: Uint8Array): boolean {
    return this.#primitives.equal(this.sealingId, id);
  }

  /** At most {@linkcode SEALED_BYTES_MAX} bytes. */
  seal(login: TicketLogin, fresh: { connectionId: Uint8Array; secret: Uint8Array; nowSeconds: number }): Uint8Array {
    const { connectionId, secret } = fresh, issuedSeconds = Math.floor(fresh.nowSeconds);
    const { sealing } = this.#keys();
    const nonce = this.#primitives.random.bytes(NONCE_BYTES);
    const writer = new Writer(SEALED_BYTES_MAX);
    writer.bytes(exactly(sealing.id, TICKET_KEY_ID_BYTES));
    writer.bytes(nonce);
    writeTicket(writer, {
      ...login,
      connectionId,
      secret,
      issuedSeconds,
      expirySeconds: issuedSeconds + TICKET_LIFETIME_SECONDS,
    });
    const contentBytes = writer.length - HEADER_BYTES;
    writer.zeros(TAG_BYTES);
    const sealed = writer.finish();
    this.#packetKey(sealing, nonce).seal(sealed, HEADER_BYTES, contentBytes, 0);
    return sealed;
  }

  /** What is in it; `undefined` where no key of ours opens it, or its time is over. @param sealed Left as it is. */
  open(sealed: Uint8Array, nowSeconds: number): Ticket | undefined {
    if (sealed.length < HEADER_BYTES + TAG_BYTES || sealed.length > SEALED_BYTES_MAX) return undefined;
    const id = sealed.subarray(0, TICKET_KEY_ID_BYTES), nonce = sealed.subarray(TICKET_KEY_ID_BYTES, HEADER_BYTES);
    const key = this.#keys().opening.find((key) => this.#primitives.equal(key.id, id));
    if (key === undefined) return undefined;
    const packet = sealed.slice();
    const bytes = this.#packetKey(key, nonce).open(packet, HEADER_BYTES, packet.length, 0);
    if (bytes < 0) return undefined;
    const ticket = readTicket(packet.subarray(HEADER_BYTES, HEADER_BYTES + bytes));
    if (ticket === undefined || nowSeconds >= ticket.expirySeconds) return undefined;
    // The second half limits what a clock that was once far ahead has given out.
    return ticket.issuedSeconds > nowSeconds + TICKET_LIFETIME_SECONDS ? undefined : ticket;
  }

  /** A key for each ticket: 16 random bytes may be drawn by many servers for hours without meeting, 12 should not. */
  #packetKey(key: TicketKey, nonce: Uint8Array) {
    const secret = this.#primitives.hkdfExtract(nonce, exactly(key.key, TICKET_KEY_BYTES));
    return this.#primitives.packetKey(
      this.#primitives.hkdfExpand(secret, "fastchat/1 ticket key", 32),
      this.#primitives.hkdfExpand(secret, "fastchat/1 ticket iv", 12),
    );
  }
}

export function encodeGrant(grant: TicketGrant): Uint8Array {
  const writer = new Writer(GRANT_HEADER_BYTES + grant.ticket.length);
  writer.u32(grant.lifetimeSeconds);
  writer.u16(grant.watchMs);
  writer.bytes(grant.ticket);
  return writer.finish();
}

/** `undefined` for what is none. @param bytes Copied. */
export function decodeGrant(bytes: Uint8Array): TicketGrant | undefined {
  if (bytes.length <= GRANT_HEADER_BYTES) return undefined;
  const reader = new Reader(bytes);
  return { lifetimeSeconds: reader.u32(), watchMs: reader.u16(), ticket: reader.bytes(reader.remaining) };
}

function writeTicket(writer: Writer, ticket: Ticket): void {
  const user = new TextEncoder().encode(ticket.user);
  assert(user.length <= USER_BYTES_MAX, `User name is ${user.length} bytes, at most ${USER_BYTES_MAX}`);
  writer.u8(user.length);
  writer.bytes(user);
  writer.bytes(exactly(ticket.device, 16));
  writer.bytes(exactly(ticket.session, 32));
  writer.u48(ticket.generation);
  writer.bytes(exactly(ticket.connectionId, 8));
  writer.bytes(exactly(ticket.secret, 32));
  writer.u48(ticket.issuedSeconds);
  writer.u48(ticket.expirySeconds);
}

/** It opened, so a server of ours wrote it; perhaps one of another version. */
function readTicket(content: Uint8Array): Ticket | undefined {
  try {
    const reader = new Reader(content);
    const ticket = {
      user: new TextDecoder().decode(reader.view(reader.u8())),
      device: reader.bytes(16),
      session: reader.bytes(32),
      generation: reader.u48(),
      connectionId: reader.bytes(8),
      secret: reader.bytes(32),
      issuedSeconds: reader.u48(),
      expirySeconds: reader.u48(),
    };
    reader.finish();
    return ticket;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function exactly(bytes: Uint8Array, length: number): Uint8Array {
  assert(bytes.length === length, `Field is ${bytes.length} bytes, not ${length}`);
  return bytes;
}

export const TICKET_KEY_ID_BYTES = 8;
export const TICKET_KEY_BYTES = 32;
const NONCE_BYTES = 16;
const HEADER_BYTES = TICKET_KEY_ID_BYTES + NONCE_BYTES;
const USER_BYTES_MAX = 32;
const CONTENT_BYTES_MAX = 1 + USER_BYTES_MAX + 16 + 32 + 6 + 8 + 32 + 6 + 6;
export const SEALED_BYTES_MAX = HEADER_BYTES + CONTENT_BYTES_MAX + TAG_BYTES;
const GRANT_HEADER_BYTES = 4 + 2;
/** Seven days (SECURITY H8). The keys behind it live shorter: see shared/cluster/ticket_keys.ts. */
export const TICKET_LIFETIME_SECONDS = 7 * 24 * 3600;
