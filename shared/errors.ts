/** Error classes that cross a module's door, and the numeric codes that travel on the wire (docs/PROTOCOL.md §8). */

/** Why a connection ended: travels in CLOSE frames. */
export const CloseCode = {
  /** Nothing wrong: the application is done. */
  none: 0x00,
  /** Our own bug. */
  internal: 0x01,
  flowControl: 0x03,
  streamLimit: 0x04,
  streamState: 0x05,
  finalSize: 0x06,
  frameEncoding: 0x07,
  protocolViolation: 0x0a,
  /** SECURITY H2: too many failed opens, or out of packet numbers. */
  aeadLimit: 0x0f,
  /** This server is stopping: locate again and go elsewhere, at once. */
  goElsewhere: 0x20,
  /** A message that its schema refuses. */
  malformedMessage: 0x21,
  /** The session behind this connection is gone (logged out, device revoked). */
  sessionEnded: 0x22,
  /** Never on the wire: silence for the idle timeout. */
  idle: 0x100,
  /** Never on the wire: the peer proved with a reset token that it no longer knows this connection. */
  reset: 0x101,
  /** Never on the wire: no answer to our INITIAL. */
  handshakeTimeout: 0x102,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** How a connection ended, whoever ended it. */
export interface CloseReason {
  /** A {@linkcode CloseCode}; an unknown number from the peer is kept as it is. */
  readonly code: number;
  /** One short sentence, ours or the peer's (control characters stripped, at most 200 bytes). */
  readonly reason: string;
  readonly byPeer: boolean;
}

/** The peer broke the transport's rules: thrown in decoding, caught in one place, answered by closing. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  constructor(readonly code: CloseCode, message: string, readonly frameType?: number) {
    super(message);
  }
}

/** Why a server refuses a request: travels in `error` responses. */
export const ErrorCode = {
  internal: 1,
  malformed: 2,
  unknownName: 3,
  nameTaken: 4,
  badName: 5,
  badCredentials: 6,
  notAuthenticated: 7,
  /** Not a member, or not allowed. */
  forbidden: 8,
  /** The conversation's epoch moved on (a device was added): refresh, seal anew, send again. */
  staleEpoch: 9,
  tooLarge: 10,
  /** Try again after `retryAfterMs`. */
  busy: 11,
  limit: 12,
  notFound: 13,
  badCertificate: 14,
  /** The store is changing hands; the same request may be sent again. */
  unavailable: 15,
  registrationClosed: 16,
  diskFull: 17,
  /** This device was revoked, for good: said only to who proves to be it. */
  deviceRevoked: 18,
  /** Another device of this user must approve this one first. */
  approvalNeeded: 19,
  /** A request of a kind that this server does not have: whoever asks is newer. */
  unsupported: 20,
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** A request that cannot be granted; carried to the client as it is. Its message is for people and never holds secrets. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  constructor(readonly code: number, message: string, readonly retryAfterMs = 0) {
    super(message);
  }
}
