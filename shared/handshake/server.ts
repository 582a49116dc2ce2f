/**
 * The server's side of the handshake (docs/PROTOCOL.md §2 to §4). Keeps nothing between calls: what an INITIAL needs is in
 * the request it yields, what was answered is for the endpoint to remember.
 *
 * Order of work is the defence (SECURITY H7): size, layout, version, token, length and range of the ciphertext, and only
 * then RSA, which the caller performs and bounds.
 */
import { assert } from "../assert.ts";
import { DATAGRAM_BYTES, TAG_BYTES } from "../limits.ts";
import {
  ACCEPT_HEADER_BYTES,
  chooseVersion,
  decodeInitial,
  ECHO_BYTES,
  encodeAcceptBody,
  encodeAcceptHeader,
  encodeRetry,
  type Initial,
  initialVersion,
  KeyKind,
  RetryReason,
  type ServerEntry,
} from "../packet/mod.ts";
import type { Primitives } from "../primitives.ts";
import { deriveSecrets } from "./key_schedule.ts";
import { type ConnectionSecrets, INITIAL_LABEL, RSA_CIPHERTEXT_BYTES, type ServerParameters } from "./parameters.ts";
import type { Ticket, Tickets } from "./ticket.ts";
import { type AddressTokens, TokenPurpose } from "./token.ts";
import { transcriptHash } from "./transcript.ts";

/** What to do about an INITIAL; `undefined` from {@linkcode ServerHandshake.receive} means: nothing, silently. */
export type InitialAction =
  /** Send these bytes back. Smaller than what came. */
  | { readonly type: "retry"; readonly reason: RetryReason; readonly packet: Uint8Array }
  | { readonly type: "decrypt"; readonly request: DecryptRequest }
  | { readonly type: "resume"; readonly request: ResumeRequest };

/** An INITIAL whose sender's address is proven. Owns its bytes. */
export interface InitialRequest {
  /** 32 hex digits, the same for the same INITIAL bytes: a repeated one gets the stored ACCEPT or nothing (SECURITY H1). */
  readonly key: string;
  /** What the token was made for. */
  readonly tokenPurpose: TokenPurpose;
  readonly versionChosen: number;
  readonly initial: Initial;
  readonly initialBytes: Uint8Array;
  readonly echo: Uint8Array;
}

/** One that is worth an RSA decryption. */
export interface DecryptRequest extends InitialRequest {
  /** 32 hex digits, the same for the same ciphertext: one that was decrypted before must not be again (SECURITY H7). */
  readonly ciphertextKey: string;
  /** For RSA-OAEP with {@linkcode INITIAL_LABEL}: 384 bytes, less than the modulus. */
  readonly ciphertext: Uint8Array;
  readonly label: string;
}

/** One with a ticket that opened: {@linkcode ServerHandshake.accept} can be called at once, with the ticket's secret. */
export interface ResumeRequest extends InitialRequest {
  /** 32 hex digits, the same for the same ticket. */
  readonly ticketKey: string;
  readonly ticket: Ticket;
}

/** What the server puts into ACCEPT. */
export interface AcceptOptions {
  /** The client's IP address: its next token is for this one. */
  readonly host: string;
  readonly nowSeconds: number;
  /** 8 bytes, never given out before. */
  readonly connectionId: Uint8Array;
  /** 16 bytes (SECURITY H4). */
  readonly resetToken: Uint8Array;
  readonly parameters: ServerParameters;
  readonly servers: readonly ServerEntry[];
  /** Makes the client's next ticket around its secret (§4, `resumption`), where it is to get one already. */
  readonly grant?: ((resumption: Uint8Array) => Uint8Array) | undefined;
}

export interface Accepted {
  /** Send it, and keep it: the same INITIAL gets these bytes again while the connection is unconfirmed. */
  readonly packet: Uint8Array;
  readonly version: number;
  readonly secrets: ConnectionSecrets;
}

export class ServerHandshake {
  readonly #primitives: Primitives;
  readonly #versions: readonly number[];
  readonly #clusterKey: Uint8Array;
  readonly #modulus: Uint8Array;
  readonly #tokens: AddressTokens;
  readonly #tickets: Pick<Tickets, "open"> | undefined;

  /**
   * @param options.clusterKey RSA-3072 SPKI DER with the exponent 65,537: 422 bytes.
   * @param options.versions Most wanted first.
   * @param options.tickets Without them no ticket is known.
   */
  constructor(options: {
    readonly primitives: Primitives;
    readonly versions: readonly number[];
    readonly clusterKey: Uint8Array;
    readonly tokens: AddressTokens;
    readonly tickets?: Pick<Tickets, "open"> | undefined;
  }) {
    this.#primitives = options.primitives;
    this.#versions = options.versions;
    this.#clusterKey = options.clusterKey;
    this.#modulus = modulusOf(options.clusterKey);
    this.#tokens = options.tokens;
    this.#tickets = options.tickets;
  }

  /**
   * Decides about one datagram whose first byte says INITIAL.
   *
   * @param datagram Borrowed.
   * @param host The sender's IP address.
   */
  receive(datagram: Uint8Array, host: string, nowSeconds: number): InitialAction | undefined {
    const version = initialVersion(datagram);
    if (version === undefined) return undefined;
    if (!this.#versions.includes(version)) return this.#retry(datagram, RetryReason.version, EMPTY);
    const initial = decodeInitial(datagram);
    if (!initial || !initial.versions.includes(version)) return undefined;
    const tokenPurpose = this.#tokens.check(initial.token, host, nowSeconds);
    if (tokenPurpose === undefined) {
      return this.#retry(datagram, RetryReason.token, this.#tokens.make(TokenPurpose.retry, host, nowSeconds));
    }
    if (initial.keyKind === KeyKind.ticket) {
      const ticket = this.#tickets?.open(initial.key, nowSeconds);
      // The client comes back with RSA, and with the token that it has.
      if (ticket === undefined) return this.unknownTicket(datagram, initial.token);
      const ticketKey = this.#digest(initial.key).toHex();
      return { type: "resume", request: { ...this.#request(datagram, initial, tokenPurpose), ticketKey, ticket } };
    }
    if (!this.#isCiphertext(initial.key)) return undefined;
    const ciphertext = { ciphertext: initial.key, ciphertextKey: this.#digest(initial.key).toHex() };
    const request = this.#request(datagram, initial, tokenPurpose);
    return { type: "decrypt", request: { ...request, ...ciphertext, label: INITIAL_LABEL } };
  }

  /**
   * ACCEPT and the connection's secrets, or `undefined` where the INITIAL is to be forgotten: one silent path for a
   * ciphertext that does not open, a secret of a wrong length and an X25519 key of low order.
   *
   * @param keySecret What RSA-OAEP gave back for the request's ciphertext, or the ticket's secret.
   */
  accept(request: InitialRequest, keySecret: Uint8Array | undefined, options: AcceptOptions): Accepted | undefined {
    if (keySecret?.length !== 32) return undefined;
    const ephemeral = this.#primitives.keyAgreement();
    const shared = ephemeral.agree(request.initial.clientEphemeral);
    if (!shared) return undefined;
    const transcript = transcriptHash(this.#primitives, {
      versionsOffered: request.initial.versions,
      versionChosen: request.versionChosen,
      clusterKey: this.#clusterKey,
      initial: request.initialBytes,
      connectionId: options.connectionId,
      serverEphemeral: ephemeral.publicKey,
    });
    const { acceptKey, acceptIv, ...secrets } = deriveSecrets(this.#primitives, { keySecret, shared, transcript });
    const header = encodeAcceptHeader({
      version: request.versionChosen,
      echo: request.echo,
      connectionId: options.connectionId,
      serverEphemeral: ephemeral.publicKey,
    });
    const body = this.#acceptBody(options, options.grant?.(secrets.resumption) ?? EMPTY);
    const packet = new Uint8Array(header.length + body.length + TAG_BYTES);
    packet.set(header);
    packet.set(body, header.length);
    this.#primitives.packetKey(acceptKey, acceptIv).seal(packet, ACCEPT_HEADER_BYTES, body.length, 0);
    return { packet, version: request.versionChosen, secrets };
  }

  /**
   * The answer to an INITIAL there is no room for.
   *
   * @param initialBytes 1,200 bytes.
   * @param waitMs After which time the client should send it again, where that is known: at most 65,535.
   */
  busy(initialBytes: Uint8Array, waitMs?: number): Uint8Array {
    const time = waitMs === undefined ? EMPTY : new Uint8Array([waitMs >>> 8, waitMs & 0xff]);
    return this.#retry(initialBytes, RetryReason.busy, time).packet;
  }

  /** The answer to a ticket that is none: go on with RSA. @param token The client's own, or a new one. */
  unknownTicket(initialBytes: Uint8Array, token: Uint8Array): InitialAction & { type: "retry" } {
    return this.#retry(initialBytes, RetryReason.ticket, token);
  }

  #retry(datagram: Uint8Array, reason: RetryReason, token: Uint8Array): InitialAction & { type: "retry" } {
    const version = this.#versions.find((own) => own === initialVersion(datagram)) ?? this.#versions[0]!;
    const echo = this.#digest(datagram);
    return { type: "retry", reason, packet: encodeRetry({ version, echo, reason, versions: this.#versions, token }) };
  }

  #request(datagram: Uint8Array, initial: Initial, tokenPurpose: TokenPurpose): InitialRequest {
    const echo = this.#digest(datagram);
    return {
      key: echo.toHex(),
      tokenPurpose,
      // The client's order decides among what we speak; at least the INITIAL's own version is in both lists.
      versionChosen: chooseVersion(initial.versions, this.#versions)!,
      initial,
      initialBytes: datagram.slice(),
      echo,
    };
  }

  #acceptBody(options: AcceptOptions, ticket: Uint8Array): Uint8Array {
    const { parameters } = options;
    return encodeAcceptBody({
      versions: this.#versions,
      resetToken: options.resetToken,
      idleTimeoutSeconds: Math.floor(parameters.idleTimeoutUs / 1_000_000),
      connectionWindowBytes: parameters.connectionWindowBytes,
      streamWindowBytes: parameters.streamWindowBytes,
      streamsOpenMax: parameters.streamsOpenMax,
      token: this.#tokens.make(TokenPurpose.newToken, options.host, options.nowSeconds),
      servers: options.servers,
      ticket,
    });
  }

  /** RFC 8017 §7.1.2: of the modulus' length and less than the modulus. */
  #isCiphertext(key: Uint8Array): boolean {
    if (key.length !== RSA_CIPHERTEXT_BYTES) return false;
    const at = key.findIndex((byte, index) => byte !== this.#modulus[index]);
    return at >= 0 && key[at]! < this.#modulus[at]!;
  }

  #digest(bytes: Uint8Array): Uint8Array {
    return this.#primitives.sha256(bytes).slice(0, ECHO_BYTES);
  }
}

/** The modulus in an RSA-3072 SPKI (RFC 8017 appendix A.1.1), whose DER has one layout for one size and exponent. */
function modulusOf(spki: Uint8Array): Uint8Array {
  const prefix = spki.subarray(0, SPKI_PREFIX.length), suffix = spki.subarray(prefix.length + RSA_CIPHERTEXT_BYTES);
  assert(
    prefix.toHex() === SPKI_PREFIX.toHex() && suffix.toHex() === SPKI_EXPONENT,
    "A cluster key is RSA-3072 with the exponent 65,537",
  );
  return spki.slice(prefix.length, prefix.length + RSA_CIPHERTEXT_BYTES);
}

const EMPTY = new Uint8Array(0);
const SPKI_PREFIX = Uint8Array.fromHex("308201a2300d06092a864886f70d01010105000382018f003082018a0282018100");
const SPKI_EXPONENT = "0203010001";
assert(RSA_CIPHERTEXT_BYTES < DATAGRAM_BYTES / 2, "A ciphertext fits an INITIAL with room to spare");
