/**
 * Every request, response and event between client and server (docs/PROTOCOL.md §7).
 *
 * A stream is an ordered sequence of messages, each behind a varint length. The client opens a stream per request (one
 * request, one response, both ends finish) and one long-lived stream per conversation it sends in (`append`s, answered
 * in order by `stored` or `error`). The server opens one stream per conversation it delivers (`deliver`s) and one for
 * its other events.
 *
 * Tags are forever: a field is never changed, a new need gets a new tag.
 */
import {
  array,
  bool,
  bytes,
  fixedBytes,
  type Infer,
  optional,
  struct,
  text,
  u16,
  u48,
  u8,
  union,
  varint,
} from "../codec/mod.ts";
import {
  BACKUP_BYTES_MAX,
  BODY_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  DEVICES_PER_USER_MAX,
  IDENTITY_KEY_BYTES_MAX,
  PAGE_ENTRIES_MAX,
  READ_RECORDS_MAX,
  RECEIPTS_MAX,
  RECEIPTS_PAGE_MAX,
  SERVERS_MAX,
  WATCH_NAMES_MAX,
} from "../limits.ts";
import { conversationId, deviceId, messageId, nameText, userName } from "./names.ts";

/** How a password was stretched (SECURITY P1). */
export const stretching = struct({
  /** 16 bytes from the server; part of the scrypt salt. */
  salt: fixedBytes(16),
  /** log2 of scrypt's N; r = 8 and p = 1 always. */
  log2N: u8,
});
export type Stretching = Infer<typeof stretching>;

/** A row of a conversation's log as clients see it. */
export const record = struct({
  conversation: conversationId,
  /** From 1, without gaps. */
  seq: varint,
  /** When the server stored it: milliseconds since 1970. */
  timeMs: u48,
  /** Who the server says sent it: for routing only, what the envelope proves is what is shown (SECURITY M2). */
  sender: userName,
  device: deviceId,
  messageId: messageId,
  /** Sealed; begins with a version byte and a kind byte. */
  body: bytes(BODY_BYTES_MAX),
});
export type Record = Infer<typeof record>;

/** What a client hands in to be stored. */
export const append = struct({
  conversation: conversationId,
  messageId: messageId,
  /** The epoch it was sealed for. Direct conversations: sum of both members' device revisions. */
  expectedEpoch: varint,
  body: bytes(BODY_BYTES_MAX),
});
export type Append = Infer<typeof append>;

/** A conversation as its member sees it in the list of all. */
export const conversationHead = struct({
  conversation: conversationId,
  /** 1 = direct. Groups will be 2. */
  kind: u8,
  members: array(userName, 2),
  /** Sequence number of the newest record, 0 where there is none. */
  head: varint,
  /** Records up to and including this one were removed; 0 where all are there. */
  begins: varint,
  /** Where this device begins or last acknowledged: records up to and including it are not for it to read again. */
  cursor: varint,
  epoch: varint,
});
export type ConversationHead = Infer<typeof conversationHead>;

/** One user's public keys: everything needed to seal for all their devices. */
export const directoryEntry = struct({
  name: userName,
  /** RSA-3072 SPKI DER. */
  identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
  /** Rises by one whenever a device is added or revoked. */
  deviceRevision: varint,
  /** Device certificates (docs/PROTOCOL.md §9), signed by the identity key; revoked ones are left out. */
  certificates: array(bytes(CERTIFICATE_BYTES_MAX), DEVICES_PER_USER_MAX),
});
export type DirectoryEntry = Infer<typeof directoryEntry>;

const receiptFields = {
  /** Everything up to this seq is on the device's disk. */
  delivered: varint,
  /** SHA-256 of the body of the record with that seq; 32 zero bytes for 0. */
  hash: fixedBytes(32),
  /** Up to here its person has read; 0 where they do not say. */
  read: varint,
  /** By the device's leaf key (docs/PROTOCOL.md §13): 64 bytes. */
  signature: fixedBytes(64),
};

/** What a device says of a conversation, as it hands it in: who says so, the session tells. */
export const ownReceipt = struct({ conversation: conversationId, ...receiptFields });
export type OwnReceipt = Infer<typeof ownReceipt>;

/** The newest word of one device of a member on a conversation. */
export const receipt = struct({
  conversation: conversationId,
  user: userName,
  device: deviceId,
  ...receiptFields,
});
export type Receipt = Infer<typeof receipt>;

const sessionGrant = {
  /** 32 random bytes; the server keeps their SHA-256. */
  token: fixedBytes(32),
  expiresMs: u48,
  name: userName,
};

/** Client to server. */
export const request = union({
  /** How to stretch the password. For a name that does not exist the answer looks the same (SECURITY P3). */
  stretch: [1, struct({ name: nameText, purpose: u8 /* 1 register, 2 login */ })],
  register: [
    2,
    struct({
      name: nameText,
      stretching,
      /** 43 base64url characters (SECURITY P2). */
      loginSecret: text(43),
      identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
      /** The identity key sealed by the backup key; empty with `--no-server-backup`. */
      backup: bytes(BACKUP_BYTES_MAX),
      certificate: bytes(CERTIFICATE_BYTES_MAX),
      /** The device's Ed25519 signature over "fastchat/bind/1" ‖ transcript hash (SECURITY P6): 64 bytes. */
      deviceProof: fixedBytes(64),
    }),
  ],
  /** An enrolled device proves itself too; a new one leaves `device` out and may then only ask for the backup and enrol. */
  login: [
    3,
    struct({
      name: nameText,
      loginSecret: text(43),
      device: optional(struct({ id: deviceId, proof: fixedBytes(64) })),
    }),
  ],
  /** After a `login` without a device: the sealed identity backup. */
  backup: [4, struct({})],
  /** After a `login` without a device: the identity's RSA-PSS signature over "fastchat/enrol/1" ‖ transcript hash ‖ SHA-256(certificate). */
  enrol: [
    5,
    struct({ certificate: bytes(CERTIFICATE_BYTES_MAX), identityProof: bytes(512), deviceProof: fixedBytes(64) }),
  ],
  /** Back with a session token instead of a password. */
  resume: [6, struct({ name: nameText, token: fixedBytes(32), device: deviceId, proof: fixedBytes(64) })],
  logout: [7, struct({})],
  users: [8, struct({ after: nameText, onlineOnly: bool })],
  directory: [9, struct({ names: array(nameText, 16) })],
  /** Makes the direct conversation with `peer` exist; its id follows from both names (docs/PROTOCOL.md §7.3). */
  openDirect: [10, struct({ peer: nameText })],
  /** All conversations of this user, a page after the given id. */
  sync: [11, struct({ after: optional(conversationId) })],
  read: [12, struct({ conversation: conversationId, after: varint, limit: u16 })],
  /** On a conversation's stream only. */
  append: [13, append],
  /** This device has everything up to `seq`, on its disk. */
  acknowledge: [
    14,
    struct({ cursors: array(struct({ conversation: conversationId, seq: varint }), PAGE_ENTRIES_MAX) }),
  ],
  /** Deliver what is stored from now on. Asked once per connection, before `sync`, so that nothing falls between. */
  subscribe: [15, struct({})],
  /** `acknowledge`, signed: moves this device's cursors and is told to the members. Older ones than the newest change nothing. */
  receipts: [16, struct({ receipts: array(ownReceipt, RECEIPTS_MAX) })],
  /**
   * The newest receipt of each device of all members, of one conversation after the other. Where there are more, one asks again
   * from the last one's conversation on, with its device as `after`.
   */
  receiptsOf: [
    17,
    struct({ conversations: array(conversationId, RECEIPTS_MAX), after: optional(deviceId) }),
  ],
  /**
   * Who of them is here, and from now on when that changes, as hints; also who types. Takes the place of what this connection
   * watched before, and ends after the answer's `ttlMs` unless it is asked again.
   */
  watch: [18, struct({ names: array(nameText, WATCH_NAMES_MAX) })],
});
export type Request = Infer<typeof request>;

/** Server to client, on the stream that asked. */
export const response = union({
  error: [
    0,
    struct({
      code: u16,
      message: text(512),
      retryAfterMs: varint,
      /** staleEpoch: the epoch now */ epoch: varint,
      messageId: optional(messageId),
    }),
  ],
  ok: [1, struct({})],
  stretching: [2, struct({ stretching, clusterId: fixedBytes(16) })],
  session: [3, struct(sessionGrant)],
  /** The password is right, the device is unknown: ask for the backup, then enrol. */
  enrolNeeded: [4, struct({ name: userName })],
  backup: [5, struct({ backup: bytes(BACKUP_BYTES_MAX) })],
  users: [6, struct({ users: array(struct({ name: userName, online: bool }), PAGE_ENTRIES_MAX), more: bool })],
  directory: [7, struct({ entries: array(directoryEntry, 16) })],
  conversation: [8, struct({ head: conversationHead })],
  sync: [9, struct({ heads: array(conversationHead, PAGE_ENTRIES_MAX), more: bool })],
  /** Ascending; `begins` as in the head: where the first ones were removed, the answer begins behind them. */
  records: [10, struct({ records: array(record, READ_RECORDS_MAX), more: bool, begins: varint })],
  /** Committed to disk. A repeated append gets the numbers of the first. */
  stored: [11, struct({ messageId, seq: varint, timeMs: u48 })],
  receipts: [12, struct({ receipts: array(receipt, RECEIPTS_PAGE_MAX), more: bool })],
  /** Those of the watched who are here. */
  presence: [13, struct({ online: array(userName, WATCH_NAMES_MAX), ttlMs: varint })],
});
export type Response = Infer<typeof response>;

/** Server to client, on streams the server opens. */
export const event = union({
  deliver: [1, struct({ record })],
  /** Live delivery was skipped because too much was waiting: read the log after your cursor. */
  behind: [2, struct({ conversation: conversationId, head: varint })],
  /** A user you share a conversation with added or revoked a device: the epoch moved. */
  devicesChanged: [3, struct({ name: userName, conversation: conversationId, epoch: varint })],
  /**
   * The cluster's servers, after `subscribe` and whenever they change: who loses this one goes to another without asking the
   * balancer. An empty host is the one that this client reached.
   */
  servers: [4, struct({ servers: array(struct({ number: u8, host: text(255), port: u16 }), SERVERS_MAX) })],
  /** A member's device has come further in a conversation; one's own other devices are told too. */
  receipt: [5, struct({ receipt })],
});
export type Event = Infer<typeof event>;

export type RequestType = Request["type"];
export type RequestOf<K extends RequestType> = Extract<Request, { type: K }>;
export type ResponseOf<K extends Response["type"]> = Extract<Response, { type: K }>;
