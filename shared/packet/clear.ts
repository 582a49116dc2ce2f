/**
 * The packets in clear: LOCATE, LOCATED, INITIAL, RETRY, and ACCEPT with what lies under its seal (docs/PROTOCOL.md §2).
 * Pure layout; what they prove and when they are answered is `handshake/`.
 *
 * Encoding a value outside its bounds is our bug and asserts. Decoding gives `undefined` for anything that is not exactly
 * the packet: these come from anybody, and the only answer to malformed ones is none.
 */
import { assert } from "../assert.ts";
import { DecodeError, Reader, Writer } from "../codec/mod.ts";
import { DATAGRAM_BYTES, TAG_BYTES } from "../limits.ts";
import { PacketType, VERSIONS_MAX } from "./header.ts";
import { CONNECTION_ID_BYTES } from "./protected.ts";

/** §2.1: which server may I talk to? */
export interface Locate {
  readonly version: number;
  /** 16 random bytes that the answer repeats (SECURITY H5). */
  readonly nonce: Uint8Array;
  /** Most wanted first; likewise in all that follow. */
  readonly versions: readonly number[];
  /** Numbers of servers that just failed this client. */
  readonly excluded: readonly number[];
}

/** §2.2: this one. Nothing in it is authenticated; only ACCEPT proves anything. */
export interface Located {
  readonly version: number;
  readonly nonce: Uint8Array;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
  readonly versions: readonly number[];
  readonly serverNumber: number;
  /** Empty: the host that the LOCATE was sent to. */
  readonly host: string;
  /** 0: no server is available now. */
  readonly port: number;
  readonly token: Uint8Array;
  /** RSA-3072 SPKI DER. */
  readonly clusterKey: Uint8Array;
}

/** What {@linkcode Initial.key} is. */
export const KeyKind = { rsa: 0, ticket: 1 } as const;
export type KeyKind = (typeof KeyKind)[keyof typeof KeyKind];

/** §2.3: let us agree on keys. */
export interface Initial {
  readonly version: number;
  readonly versions: readonly number[];
  /** Empty where the client has none: the answer is then a RETRY with one. */
  readonly token: Uint8Array;
  /** X25519, 32 bytes. */
  readonly clientEphemeral: Uint8Array;
  readonly keyKind: KeyKind;
  /** An RSA-OAEP ciphertext, or a ticket. */
  readonly key: Uint8Array;
}

/** Why a server answers RETRY. */
export const RetryReason = { token: 1, version: 2, ticket: 3, busy: 4 } as const;
export type RetryReason = (typeof RetryReason)[keyof typeof RetryReason];

/** §2.4: not like this. */
export interface Retry {
  readonly version: number;
  /** First 16 bytes of SHA-256(INITIAL). */
  readonly echo: Uint8Array;
  readonly reason: RetryReason;
  readonly versions: readonly number[];
  readonly token: Uint8Array;
}

/** §2.5, the part in clear: associated data of the sealed part that follows it. */
export interface AcceptHeader {
  readonly version: number;
  readonly echo: Uint8Array;
  /** 8 bytes. */
  readonly connectionId: Uint8Array;
  /** X25519, 32 bytes. */
  readonly serverEphemeral: Uint8Array;
}

/** A server that a client may go to without asking the balancer. */
export interface ServerEntry {
  readonly number: number;
  /** Empty: the host this client already reached. */
  readonly host: string;
  readonly port: number;
}

/** §2.5, the part under the seal. */
export interface AcceptBody {
  readonly versions: readonly number[];
  /** 16 bytes (SECURITY H4). */
  readonly resetToken: Uint8Array;
  readonly idleTimeoutSeconds: number;
  readonly connectionWindowBytes: number;
  readonly streamWindowBytes: number;
  readonly streamsOpenMax: number;
  /** A new address token for the next time. */
  readonly token: Uint8Array;
  readonly servers: readonly ServerEntry[];
  /** Empty where the server gave none. */
  readonly ticket: Uint8Array;
}

export function encodeLocate(locate: Locate): Uint8Array {
  const writer = begin(PacketType.locate, locate.version);
  writer.bytes(exactly(locate.nonce, NONCE_BYTES));
  writeVersions(writer, locate.versions);
  writer.u8(locate.excluded.length);
  for (const server of locate.excluded) writer.u8(server);
  return padded(writer);
}

export function decodeLocate(datagram: Uint8Array): Locate | undefined {
  if (datagram.length !== DATAGRAM_BYTES) return undefined;
  return decode(datagram, PacketType.locate, (reader, version) => {
    const nonce = reader.bytes(NONCE_BYTES);
    const versions = readVersions(reader);
    const excluded = [...reader.view(reader.u8())];
    return { version, nonce, versions, excluded };
  });
}

export function encodeLocated(located: Located): Uint8Array {
  const writer = begin(PacketType.located, located.version);
  writer.bytes(exactly(located.nonce, NONCE_BYTES));
  writer.bytes(exactly(located.clusterId, CLUSTER_ID_BYTES));
  writeVersions(writer, located.versions);
  writer.u8(located.serverNumber);
  writeHost(writer, located.host);
  writer.u16(located.port);
  writeBytes8(writer, located.token);
  writeBytes16(writer, located.clusterKey);
  return bounded(writer, DATAGRAM_BYTES);
}

export function decodeLocated(datagram: Uint8Array): Located | undefined {
  if (datagram.length > DATAGRAM_BYTES) return undefined;
  return decode(datagram, PacketType.located, (reader, version) => {
    const located = {
      version,
      nonce: reader.bytes(NONCE_BYTES),
      clusterId: reader.bytes(CLUSTER_ID_BYTES),
      versions: readVersions(reader),
      serverNumber: reader.u8(),
      host: readHost(reader),
      port: reader.u16(),
      token: reader.bytes(reader.u8()),
      clusterKey: reader.bytes(reader.u16()),
    };
    reader.finish();
    return located;
  });
}

export function encodeInitial(initial: Initial): Uint8Array {
  const writer = begin(PacketType.initial, initial.version);
  writeVersions(writer, initial.versions);
  writeBytes8(writer, initial.token);
  writer.bytes(exactly(initial.clientEphemeral, EPHEMERAL_BYTES));
  writer.u8(initial.keyKind);
  writeBytes16(writer, initial.key);
  return padded(writer);
}

/** @param datagram Exactly 1,200 bytes; what is kept of it is copied. */
export function decodeInitial(datagram: Uint8Array): Initial | undefined {
  if (datagram.length !== DATAGRAM_BYTES) return undefined;
  return decode(datagram, PacketType.initial, (reader, version) => ({
    version,
    versions: readVersions(reader),
    token: reader.bytes(reader.u8()),
    clientEphemeral: reader.bytes(EPHEMERAL_BYTES),
    keyKind: oneOf(KEY_KINDS, reader.u8(), "key kind"),
    key: reader.bytes(reader.u16()),
  }));
}

/**
 * The version of an INITIAL whose layout may be another than ours: all that a server must understand to answer RETRY
 * with the versions it speaks.
 */
export function initialVersion(datagram: Uint8Array): number | undefined {
  if (datagram.length !== DATAGRAM_BYTES || datagram[0] !== PacketType.initial) return undefined;
  return (datagram[1]! << 8) | datagram[2]!;
}

export function encodeRetry(retry: Retry): Uint8Array {
  const writer = begin(PacketType.retry, retry.version);
  writer.bytes(exactly(retry.echo, ECHO_BYTES));
  writer.u8(retry.reason);
  writeVersions(writer, retry.versions);
  writeBytes8(writer, retry.token);
  return bounded(writer, RETRY_BYTES_MAX);
}

export function decodeRetry(datagram: Uint8Array): Retry | undefined {
  if (datagram.length > RETRY_BYTES_MAX) return undefined;
  return decode(datagram, PacketType.retry, (reader, version) => {
    const retry = {
      version,
      echo: reader.bytes(ECHO_BYTES),
      reason: oneOf(RETRY_REASONS, reader.u8(), "reason"),
      versions: readVersions(reader),
      token: reader.bytes(reader.u8()),
    };
    reader.finish();
    return retry;
  });
}

/** {@linkcode ACCEPT_HEADER_BYTES} bytes; the sealed part goes behind them. */
export function encodeAcceptHeader(header: AcceptHeader): Uint8Array {
  const writer = begin(PacketType.accept, header.version);
  writer.bytes(exactly(header.echo, ECHO_BYTES));
  writer.bytes(exactly(header.connectionId, CONNECTION_ID_BYTES));
  writer.bytes(exactly(header.serverEphemeral, EPHEMERAL_BYTES));
  return writer.finish();
}

/** Reads the clear part of a whole ACCEPT; its sealed part is `datagram` from {@linkcode ACCEPT_HEADER_BYTES} on. */
export function decodeAcceptHeader(datagram: Uint8Array): AcceptHeader | undefined {
  if (datagram.length < ACCEPT_HEADER_BYTES + TAG_BYTES || datagram.length > DATAGRAM_BYTES) return undefined;
  return decode(datagram, PacketType.accept, (reader, version) => ({
    version,
    echo: reader.bytes(ECHO_BYTES),
    connectionId: reader.bytes(CONNECTION_ID_BYTES),
    serverEphemeral: reader.bytes(EPHEMERAL_BYTES),
  }));
}

/**
 * The plaintext of the sealed part. Servers that no longer fit the datagram are left out from the end of the list: it is
 * a convenience, and a client that finds none of them asks the balancer.
 */
export function encodeAcceptBody(body: AcceptBody): Uint8Array {
  const writer = new Writer(DATAGRAM_BYTES);
  writeVersions(writer, body.versions);
  writer.bytes(exactly(body.resetToken, RESET_TOKEN_BYTES));
  writer.u16(body.idleTimeoutSeconds);
  writer.varint(body.connectionWindowBytes);
  writer.varint(body.streamWindowBytes);
  writer.varint(body.streamsOpenMax);
  writeBytes8(writer, body.token);
  const room = ACCEPT_BODY_BYTES_MAX - writer.length - 1 - 2 - body.ticket.length;
  const servers = fitting(body.servers, room);
  writer.u8(servers.length);
  for (const server of servers) {
    writer.u8(server.number);
    writeHost(writer, server.host);
    writer.u16(server.port);
  }
  writeBytes16(writer, body.ticket);
  return bounded(writer, ACCEPT_BODY_BYTES_MAX);
}

export function decodeAcceptBody(plaintext: Uint8Array): AcceptBody | undefined {
  return guarded(() => {
    const reader = new Reader(plaintext);
    const body = {
      versions: readVersions(reader),
      resetToken: reader.bytes(RESET_TOKEN_BYTES),
      idleTimeoutSeconds: reader.u16(),
      connectionWindowBytes: reader.varint(),
      streamWindowBytes: reader.varint(),
      streamsOpenMax: reader.varint(),
      token: reader.bytes(reader.u8()),
      servers: Array.from({ length: reader.u8() }, () => ({
        number: reader.u8(),
        host: readHost(reader),
        port: reader.u16(),
      })),
      ticket: reader.bytes(reader.u16()),
    };
    reader.finish();
    return body;
  });
}

function begin(type: PacketType, version: number): Writer {
  const writer = new Writer(DATAGRAM_BYTES);
  writer.u8(type);
  writer.u16(version);
  return writer;
}

function decode<T>(
  datagram: Uint8Array,
  type: PacketType,
  fields: (reader: Reader, version: number) => T,
): T | undefined {
  if (datagram[0] !== type) return undefined;
  return guarded(() => {
    const reader = new Reader(datagram, 1);
    return fields(reader, reader.u16());
  });
}

/** Malformed is a value here: who sent it is unknown, so there is nobody to tell. */
function guarded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function padded(writer: Writer): Uint8Array {
  assert(writer.length <= DATAGRAM_BYTES, `Packet is ${writer.length} bytes, at most ${DATAGRAM_BYTES}`);
  writer.zeros(DATAGRAM_BYTES - writer.length);
  return writer.finish();
}

function bounded(writer: Writer, bytesMax: number): Uint8Array {
  assert(writer.length <= bytesMax, `Packet is ${writer.length} bytes, at most ${bytesMax}`);
  return writer.finish();
}

function exactly(bytes: Uint8Array, length: number): Uint8Array {
  assert(bytes.length === length, `Field is ${bytes.length} bytes, not ${length}`);
  return bytes;
}

function writeVersions(writer: Writer, versions: readonly number[]): void {
  assert(versions.length >= 1 && versions.length <= VERSIONS_MAX, "A list of versions has 1 to 16 entries");
  writer.u8(versions.length);
  for (const version of versions) writer.u16(version);
}

function readVersions(reader: Reader): number[] {
  const count = reader.u8();
  if (count < 1 || count > VERSIONS_MAX) throw new DecodeError(`List has ${count} versions`);
  return Array.from({ length: count }, () => reader.u16());
}

function writeHost(writer: Writer, host: string): void {
  assert(HOST.test(host), "A host is at most 255 visible ASCII characters");
  writer.u8(host.length);
  for (let i = 0; i < host.length; i++) writer.u8(host.charCodeAt(i));
}

function readHost(reader: Reader): string {
  const host = String.fromCharCode(...reader.view(reader.u8()));
  if (!HOST.test(host)) throw new DecodeError("Host is not visible ASCII");
  return host;
}

function writeBytes8(writer: Writer, bytes: Uint8Array): void {
  writer.u8(bytes.length);
  writer.bytes(bytes);
}

function writeBytes16(writer: Writer, bytes: Uint8Array): void {
  writer.u16(bytes.length);
  writer.bytes(bytes);
}

function fitting(servers: readonly ServerEntry[], room: number): readonly ServerEntry[] {
  let count = 0, bytes = 0;
  while (count < servers.length && count < 0xff) {
    bytes += 1 + 1 + servers[count]!.host.length + 2;
    if (bytes > room) break;
    count++;
  }
  return servers.slice(0, count);
}

function oneOf<T extends number>(allowed: readonly T[], value: number, what: string): T {
  if (!allowed.includes(value as T)) throw new DecodeError(`Unknown ${what} ${value}`);
  return value as T;
}

const NONCE_BYTES = 16;
const CLUSTER_ID_BYTES = 16;
const EPHEMERAL_BYTES = 32;
const RESET_TOKEN_BYTES = 16;
export const ECHO_BYTES = 16;
export const RETRY_BYTES_MAX = 120;
/** Type, version, echo, connection id, ephemeral. */
export const ACCEPT_HEADER_BYTES = 1 + 2 + ECHO_BYTES + CONNECTION_ID_BYTES + EPHEMERAL_BYTES;
const ACCEPT_BODY_BYTES_MAX = DATAGRAM_BYTES - ACCEPT_HEADER_BYTES - TAG_BYTES;
const HOST = /^[\x21-\x7e]{0,255}$/;
const KEY_KINDS: readonly KeyKind[] = Object.values(KeyKind);
const RETRY_REASONS: readonly RetryReason[] = Object.values(RetryReason);
