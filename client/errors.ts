/** What the library throws for people: each class with the exit code that the command line documents for it. */

/** As for wrong usage: without the answer there is nothing that could be done. */
export const ABANDONED_EXIT_CODE = 2;

/** Base of all; `exitCode` 1 means a fault of ours. */
export class FastChatError extends Error {
  override readonly name: string = "FastChatError";
  readonly exitCode: number = 1;
}

/** Something the caller gave is wrong: a bad name, an empty text, a home that is somebody else's. */
export class UsageError extends FastChatError {
  override readonly name = "UsageError";
  override readonly exitCode = 2;
}

/** The person left a question unanswered. They know: there is nothing to say. */
export class AbandonedError extends FastChatError {
  override readonly name = "AbandonedError";
  override readonly exitCode = ABANDONED_EXIT_CODE;

  constructor() {
    super("");
  }
}

/** Nobody answers, or the answers do not arrive. */
export class CannotReachError extends FastChatError {
  override readonly name: string = "CannotReachError";
  override readonly exitCode = 3;
}

/** What to look at where nobody answers. */
export const REACH_HINT =
  "Is fastchat-balancer running there, are host and port right, and do all firewalls in between let UDP through, " +
  "to the balancer's port and to those of its servers?";

/** Nobody is there at all: worth saying at once, rather than after more of the same. */
export class NoAnswerError extends CannotReachError {}

/** No valid password or session. */
export class NotAuthenticatedError extends FastChatError {
  override readonly name = "NotAuthenticatedError";
  override readonly exitCode = 4;
}

/** This device was revoked by another one of the same person: nothing that is here opens the account again. */
export class DeviceRevokedError extends NotAuthenticatedError {}

/** This device counts for nothing until another one of the same person approves it. */
export class ApprovalNeededError extends NotAuthenticatedError {}

/** The server does not take this name with this password: worth asking a person again. */
export class WrongPasswordError extends NotAuthenticatedError {}

/** The server has no account of this name with this recovery key. */
export class WrongRecoveryKeyError extends NotAuthenticatedError {}

/** The server understood and says no: unknown name, taken name, a limit. */
export class RefusedError extends FastChatError {
  override readonly name = "RefusedError";
  override readonly exitCode = 5;

  /** @param code An `ErrorCode` of shared/errors.ts. */
  constructor(message: string, readonly code: number, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The home is sealed, and nobody has unlocked it. */
export class LockedError extends FastChatError {
  override readonly name = "LockedError";
  override readonly exitCode = 8;

  constructor(message = LOCKED) {
    super(message);
  }
}

/** Whose key is another than the pinned one, and which it is. */
export interface KeyChange {
  /** What changed its key: a server (`HOST:PORT`), or a person (a name). */
  readonly kind: "server" | "peer";
  readonly subject: string;
  /** As people compare them: `SHA256:…`. */
  readonly pinned: string;
  readonly offered: string;
  /** The pinned key had been compared with that person. */
  readonly wasVerified?: boolean;
  /** The key log shows how the pinned key, or one behind it, has signed the new one. */
  readonly isSigned?: boolean;
}

/** A pinned key is not the one that was shown now. Nothing goes on until a person says so. */
export class KeyChangedError extends FastChatError {
  override readonly name = "KeyChangedError";
  override readonly exitCode = 6;

  constructor(readonly change: KeyChange, message: string = keyChangedText(change)) {
    super(message);
  }
}

/** The server does not show one key log to everybody, or not for long (SECURITY M13). Nothing goes on until a person says so. */
export class KeyLogError extends FastChatError {
  override readonly name = "KeyLogError";
  override readonly exitCode = 6;
}

/** The time the caller gave is over. */
export class TimedOutError extends FastChatError {
  override readonly name = "TimedOutError";
  override readonly exitCode = 7;
}

function keyChangedText({ kind, subject, pinned, offered, wasVerified, isSigned }: KeyChange): string {
  if (isSigned) {
    return `${subject} has a new key, signed with the one you know${
      wasVerified ? " and had verified" : ""
    }: it was ${pinned}, ` +
      `now it is ${offered}. Whoever had taken the old key could have done that too, so nothing is sent until you agree. ` +
      `To compare: fastchat verify ${subject}; to accept: fastchat trust ${subject}`;
  }
  if (wasVerified) {
    return `WARNING: the key of ${subject}, which you had verified, is not what the server shows now. It was ${pinned}, ` +
      `shown is ${offered}. Unless ${subject} has made a new identity, somebody is in between: ask in person or by phone. ` +
      `Nothing is sent to ${subject}. To compare: fastchat verify ${subject}; to accept: fastchat trust ${subject}`;
  }
  const who = kind === "server" ? `server ${subject}` : subject;
  const command = kind === "server" ? `fastchat trust --server ${subject}` : `fastchat trust ${subject}`;
  return `The key of ${who} changed: it was ${pinned}, now ${offered} is shown. Somebody may be in between. ` +
    `If you know why it changed and the new fingerprint is right, accept it with: ${command}`;
}

/** The digits that somebody gave are not those of the keys here: a key is not the one that it should be. */
export class NumberDiffersError extends FastChatError {
  override readonly name = "NumberDiffersError";
  override readonly exitCode = 6;
}

const LOCKED = "This home is locked. Unlock it with the password (FASTCHAT_PASSWORD or --password-file), " +
  "by an agent for the whole session (fastchat agent), or with a token file (fastchat token create FILE, then --token-file FILE)";
