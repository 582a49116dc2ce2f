/**
 * The client's side of the handshake (docs/PROTOCOL.md §2 to §4): a state machine without socket, clock or RSA.
 *
 * ```
 * const handshake = new ClientHandshake({ ... });
 * handshake.provideCiphertext(await oaepEncrypt(key, ...), nowUs);    // for handshake.encryption, while there is one
 * loop: send every pollTransmit(); wait for a datagram (handleDatagram) or nextDeadlineUs() (handleTimeout); until outcome
 * ```
 *
 * Nothing unauthenticated ends it: a forged or broken answer is as if it had never come, and a forged RETRY costs at most
 * one further INITIAL, since an ACCEPT for any INITIAL sent is still taken.
 */
import { assert, unreachable } from "../assert.ts";
import { HANDSHAKE_TIMEOUT_US } from "../limits.ts";
import {
  ACCEPT_HEADER_BYTES,
  type AcceptBody,
  type AcceptHeader,
  chooseVersion,
  decodeAcceptBody,
  decodeAcceptHeader,
  decodeRetry,
  ECHO_BYTES,
  encodeInitial,
  KeyKind,
  PacketType,
  type Retry,
  RetryReason,
  type ServerEntry,
} from "../packet/mod.ts";
import type { KeyAgreement, Primitives } from "../primitives.ts";
import { deriveSecrets } from "./key_schedule.ts";
import {
  type ConnectionSecrets,
  INITIAL_LABEL,
  KEY_SECRET_BYTES,
  RSA_CIPHERTEXT_BYTES,
  type ServerParameters,
} from "./parameters.ts";
import { transcriptHash } from "./transcript.ts";

export interface ClientHandshakeOptions {
  readonly primitives: Primitives;
  /** What this client speaks, most wanted first. */
  readonly versions: readonly number[];
  /** What the cluster speaks according to LOCATED (a claim); default: as if it spoke everything. */
  readonly versionsOfCluster?: readonly number[];
  /** SPKI DER: the pinned key, or the one LOCATED gave at first contact. */
  readonly clusterKey: Uint8Array;
  /** From LOCATED or an earlier ACCEPT; empty where there is none. */
  readonly token: Uint8Array;
  /** Resumes instead of using RSA; where the server does not know it, RSA follows. */
  readonly ticket?: { readonly ticket: Uint8Array; readonly secret: Uint8Array };
  readonly nowUs: number;
  readonly timeoutUs?: number;
}

/** What the caller is to encrypt with RSA-OAEP under the cluster's key. */
export interface Encryption {
  readonly label: string;
  /** 32 bytes. */
  readonly plaintext: Uint8Array;
}

/** The server has proven that it holds the cluster's key. */
export interface Connected {
  readonly type: "connected";
  readonly version: number;
  readonly connectionId: Uint8Array;
  readonly secrets: ConnectionSecrets;
  readonly parameters: ServerParameters;
  readonly resetToken: Uint8Array;
  /** An address token for next time. */
  readonly token: Uint8Array;
  readonly servers: readonly ServerEntry[];
  /** A {@linkcode TicketGrant}; empty where the server gave none. */
  readonly ticket: Uint8Array;
  /** It was the ticket that was taken, not RSA: the server may already know who this is. */
  readonly isResumed: boolean;
}

export interface Failed {
  readonly type: "failed";
  /**
   * - `timeout`: nothing that proves anything came in time.
   * - `busy`, `version`: the same, and something said that it was too busy, or speaks none of our versions.
   * - `downgrade`: the server speaks a version we want more than the one chosen: somebody stripped it (SECURITY H1).
   * - `malformed`: what the true server sealed is not an ACCEPT.
   */
  readonly reason: "timeout" | "busy" | "version" | "downgrade" | "malformed";
}

/** One INITIAL that was sent. */
interface Attempt {
  readonly packet: Uint8Array;
  readonly echo: Uint8Array;
  readonly version: number;
  readonly keyKind: KeyKind;
  readonly keySecret: Uint8Array;
  readonly ephemeral: KeyAgreement;
}

export class ClientHandshake {
  readonly #primitives: Primitives;
  readonly #versions: readonly number[];
  readonly #clusterKey: Uint8Array;
  readonly #endUs: number;
  #ticket: ClientHandshakeOptions["ticket"];
  /** What goes under RSA in the next INITIAL: waits for its ciphertext. */
  #rsaSecret: Uint8Array | undefined;
  #token: Uint8Array;
  #version: number;
  /** Every INITIAL so far, the current one last: at most 1 + {@linkcode RETRIES_MAX}. */
  readonly #attempts: Attempt[] = [];
  #retries = 0;
  #isSendDue = false;
  #lastSentUs = 0;
  #resendUs = 0;
  #waitUs = FIRST_WAIT_US;
  #hint: "timeout" | "busy" | "version" = "timeout";
  #outcome: Connected | Failed | undefined;

  constructor(options: ClientHandshakeOptions) {
    assert(options.versions.length > 0, "A client speaks at least one version");
    this.#primitives = options.primitives;
    this.#versions = options.versions;
    this.#clusterKey = options.clusterKey;
    this.#token = options.token;
    this.#ticket = options.ticket;
    this.#version = chooseVersion(options.versions, options.versionsOfCluster ?? options.versions) ??
      options.versions[0]!;
    this.#endUs = options.nowUs + (options.timeoutUs ?? HANDSHAKE_TIMEOUT_US);
    this.#begin(options.nowUs);
  }

  /** What has to be encrypted before the next INITIAL can be sent: at the start and after a RETRY. */
  get encryption(): Encryption | undefined {
    if (this.#outcome || !this.#rsaSecret) return undefined;
    return { label: INITIAL_LABEL, plaintext: this.#rsaSecret };
  }

  /** How it ended. From then on nothing is sent and nothing taken. */
  get outcome(): Connected | Failed | undefined {
    return this.#outcome;
  }

  /** @param ciphertext RSA-OAEP of what {@linkcode encryption} asked for: 384 bytes. */
  provideCiphertext(ciphertext: Uint8Array, nowUs: number): void {
    assert(ciphertext.length === RSA_CIPHERTEXT_BYTES, `Ciphertext is ${ciphertext.length} bytes, not 384`);
    const keySecret = this.#rsaSecret;
    if (this.#outcome || !keySecret) return;
    this.#rsaSecret = undefined;
    this.#attempt({ keyKind: KeyKind.rsa, key: ciphertext, keySecret }, nowUs);
  }

  /** @param datagram Borrowed and left as it is. */
  handleDatagram(datagram: Uint8Array, nowUs: number): void {
    if (this.#outcome) return;
    if (datagram[0] === PacketType.retry) this.#handleRetry(datagram, nowUs);
    else if (datagram[0] === PacketType.accept) this.#handleAccept(datagram);
  }

  handleTimeout(nowUs: number): void {
    if (this.#outcome) return;
    if (nowUs >= this.#endUs) this.#outcome = { type: "failed", reason: this.#hint };
    else if (this.#current && !this.#rsaSecret && nowUs >= this.#resendUs) this.#send(nowUs);
  }

  /** When to call {@linkcode handleTimeout}; `undefined` once there is an outcome. */
  nextDeadlineUs(): number | undefined {
    if (this.#outcome) return undefined;
    return this.#current && !this.#rsaSecret ? Math.min(this.#resendUs, this.#endUs) : this.#endUs;
  }

  /** A datagram to send now, borrowed. Ask until there is none. */
  pollTransmit(): Uint8Array | undefined {
    if (!this.#isSendDue || this.#outcome) return undefined;
    this.#isSendDue = false;
    return this.#current?.packet;
  }

  get #current(): Attempt | undefined {
    return this.#attempts.at(-1);
  }

  /**
   * A ticket needs nobody's help. RSA does, and every INITIAL takes a fresh secret: a server never decrypts one ciphertext
   * twice (SECURITY H7).
   */
  #begin(nowUs: number): void {
    const ticket = this.#ticket;
    if (ticket) this.#attempt({ keyKind: KeyKind.ticket, key: ticket.ticket, keySecret: ticket.secret }, nowUs);
    else this.#rsaSecret = this.#primitives.random.bytes(KEY_SECRET_BYTES);
  }

  /** A new INITIAL with a fresh ephemeral key. */
  #attempt(secret: { keyKind: KeyKind; key: Uint8Array; keySecret: Uint8Array }, nowUs: number): void {
    const ephemeral = this.#primitives.keyAgreement();
    const { keyKind, key, keySecret } = secret;
    const version = this.#version, versions = this.#versions;
    const clientEphemeral = ephemeral.publicKey;
    const packet = encodeInitial({ version, versions, token: this.#token, clientEphemeral, keyKind, key });
    const echo = this.#primitives.sha256(packet).slice(0, ECHO_BYTES);
    this.#attempts.push({ packet, echo, version, keyKind, keySecret, ephemeral });
    this.#waitUs = FIRST_WAIT_US;
    this.#send(nowUs);
  }

  /** The same bytes again: a server answers a repeated INITIAL without any work. */
  #send(nowUs: number): void {
    this.#isSendDue = true;
    this.#lastSentUs = nowUs;
    this.#resendUs = nowUs + this.#waitUs;
    this.#waitUs = Math.min(this.#waitUs * 2, WAIT_US_MAX);
  }

  #handleRetry(datagram: Uint8Array, nowUs: number): void {
    const retry = decodeRetry(datagram);
    const current = this.#current;
    // Only the newest INITIAL's, and once: a duplicate of a RETRY that is being followed asks for nothing new.
    if (!retry || !current || this.#rsaSecret || !this.#primitives.equal(retry.echo, current.echo)) return;
    if (retry.reason === RetryReason.busy) {
      this.#hint = "busy";
      // Counted from the sending, so that a flood of these cannot put the next one off for ever.
      const waitUs = busyWaitUs(retry.token);
      const resendUs = this.#lastSentUs + (waitUs ?? BUSY_WAIT_US);
      this.#resendUs = waitUs === undefined ? Math.max(this.#resendUs, resendUs) : resendUs;
      return;
    }
    if (this.#retries === RETRIES_MAX || !this.#adopt(retry, current)) return;
    this.#retries++;
    this.#begin(nowUs);
  }

  /** Takes over what a RETRY asks for; `false` where following it would change nothing. */
  #adopt(retry: Retry, current: Attempt): boolean {
    switch (retry.reason) {
      case RetryReason.token:
        if (retry.token.length === 0) return false;
        this.#token = retry.token;
        return true;
      case RetryReason.version: {
        const version = chooseVersion(this.#versions, retry.versions);
        if (version === undefined) this.#hint = "version";
        if (version === undefined || version === current.version) return false;
        this.#version = version;
        return true;
      }
      case RetryReason.ticket:
        if (current.keyKind !== KeyKind.ticket) return false;
        this.#ticket = undefined;
        if (retry.token.length > 0) this.#token = retry.token;
        return true;
      case RetryReason.busy:
        return false;
      default:
        return unreachable(retry.reason);
    }
  }

  #handleAccept(datagram: Uint8Array): void {
    const header = decodeAcceptHeader(datagram);
    if (!header) return;
    const attempt = this.#attempts.find(({ echo }) => this.#primitives.equal(echo, header.echo));
    if (!attempt || !this.#versions.includes(header.version)) return;
    const shared = attempt.ephemeral.agree(header.serverEphemeral);
    if (!shared) return;
    const transcript = transcriptHash(this.#primitives, {
      versionsOffered: this.#versions,
      versionChosen: header.version,
      clusterKey: this.#clusterKey,
      initial: attempt.packet,
      connectionId: header.connectionId,
      serverEphemeral: header.serverEphemeral,
    });
    const { keySecret } = attempt;
    const { acceptKey, acceptIv, ...secrets } = deriveSecrets(this.#primitives, { keySecret, shared, transcript });
    const packet = datagram.slice();
    const key = this.#primitives.packetKey(acceptKey, acceptIv);
    const bodyBytes = key.open(packet, ACCEPT_HEADER_BYTES, packet.length, 0);
    if (bodyBytes < 0) return;
    // From here on it is the true server that speaks.
    const body = decodeAcceptBody(packet.subarray(ACCEPT_HEADER_BYTES, ACCEPT_HEADER_BYTES + bodyBytes));
    const isResumed = attempt.keyKind === KeyKind.ticket;
    this.#outcome = body ? this.#judge(header, body, secrets, isResumed) : { type: "failed", reason: "malformed" };
  }

  #judge(
    header: AcceptHeader,
    body: AcceptBody,
    secrets: ConnectionSecrets,
    isResumed: boolean,
  ): Connected | Failed {
    // SECURITY H1: with this list unstripped, a better version would have been chosen.
    if (chooseVersion(this.#versions, body.versions) !== header.version) return { type: "failed", reason: "downgrade" };
    return {
      type: "connected",
      version: header.version,
      connectionId: header.connectionId,
      secrets,
      parameters: {
        idleTimeoutUs: body.idleTimeoutSeconds * 1_000_000,
        connectionWindowBytes: body.connectionWindowBytes,
        streamWindowBytes: body.streamWindowBytes,
        streamsOpenMax: body.streamsOpenMax,
      },
      resetToken: body.resetToken,
      token: body.token,
      servers: body.servers,
      ticket: body.ticket,
      isResumed,
    };
  }
}

/** When to come back, as a busy server says it in the place of a token; nothing authenticates it, so within limits. */
function busyWaitUs(time: Uint8Array): number | undefined {
  if (time.length !== 2) return undefined;
  const waitUs = ((time[0]! << 8) | time[1]!) * 1000;
  return Math.min(WAIT_US_MAX, Math.max(BUSY_WAIT_US_MIN, waitUs));
}

/** RETRYs that are followed (docs/PROTOCOL.md §2.4). */
const RETRIES_MAX = 3;
/** Above most round trips and one queued RSA decryption; a repeat costs the server next to nothing. */
const FIRST_WAIT_US = 250_000;
const WAIT_US_MAX = 2_000_000;
const BUSY_WAIT_US = 1_000_000;
const BUSY_WAIT_US_MIN = 20_000;
