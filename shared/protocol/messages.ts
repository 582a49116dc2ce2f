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
  ARCHIVE_CHUNK_BYTES_MAX,
  ARCHIVE_KEY_BYTES_MAX,
  ARCHIVE_PAGE_MAX,
  ARCHIVE_STREAMS_MAX,
  ASK_BYTES_MAX,
  ASKS_PAGE_MAX,
  BACKUP_BYTES_MAX,
  BODY_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  COMMIT_BODY_BYTES_MAX,
  DEVICE_NAME_BYTES_MAX,
  DEVICES_PER_USER_MAX,
  GROUP_USERS_MAX,
  HISTORY_PARTS_MAX,
  IDENTITY_KEY_BYTES_MAX,
  KEY_ENTRIES_MAX,
  KEY_ENTRY_BYTES_MAX,
  KEY_LOG_PAGE_MAX,
  KEY_PACKAGE_BYTES_MAX,
  KEY_PACKAGES_MAX,
  LINK_GRANT_BYTES_MAX,
  LINK_LETTER_BYTES_MAX,
  LINK_OFFER_BYTES_MAX,
  PAGE_ENTRIES_MAX,
  READ_RECORDS_MAX,
  RECEIPTS_MAX,
  RECEIPTS_PAGE_MAX,
  SERVERS_MAX,
  TREE_BYTES_MAX,
  WATCH_NAMES_MAX,
  WELCOME_BYTES_MAX,
  WELCOMES_MAX,
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
  /** From 1, without gaps but those of a restore (docs/PROTOCOL.md §7.4). */
  seq: varint,
  /** When the server stored it: milliseconds since 1970. */
  timeMs: u48,
  /** Who the server says sent it: for routing only, what the envelope proves is what is shown (SECURITY M2). */
  sender: userName,
  device: deviceId,
  messageId: messageId,
  /** Sealed; begins with a version byte and a kind byte. Only a commit has more than BODY_BYTES_MAX. */
  body: bytes(COMMIT_BODY_BYTES_MAX),
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
  /** 1 = direct, 2 = group. */
  kind: u8,
  /** Of a direct conversation. Who is in a group, its own state says (SECURITY M9). */
  members: array(userName, 2),
  /** Sequence number of the newest record, 0 where there is none. */
  head: varint,
  /** Records up to and including this one were removed; 0 where all are there. */
  begins: varint,
  /** Where this device begins or last acknowledged: records up to and including it are not for it to read again. */
  cursor: varint,
  /**
   * Sequence number of the newest commit (SECURITY M7): what an `append` or a `commit` must name. In a direct conversation that
   * never had one, the sum of both members' device revisions.
   */
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

/** What is handed to one device so that it can join: by a commit that adds it, or for it to join by itself. */
export const welcome = struct({
  device: deviceId,
  /** A sealed envelope for that device (docs/PROTOCOL.md §15). */
  body: bytes(WELCOME_BYTES_MAX),
});
export type Welcome = Infer<typeof welcome>;

/** A device's wish to be let into a conversation. */
export const ask = struct({
  conversation: conversationId,
  user: userName,
  device: deviceId,
  /** 1: a member's device that has no state, or lost it; 2: by an invite link (SECURITY M14). */
  kind: u8,
  body: bytes(ASK_BYTES_MAX),
  timeMs: u48,
});
export type Ask = Infer<typeof ask>;

/** That somebody's credentials changed, for their other devices. */
export const credentialChange = struct({
  /** 1: another password; 2: the account was recovered, with another password; 3: another recovery key. */
  what: u8,
  /** Where it was done. */
  device: deviceId,
  timeMs: u48,
});
export type CredentialChange = Infer<typeof credentialChange>;

const passwordFields = {
  /** How the new password was stretched: with a salt of its own, and no less work than before. */
  stretching,
  /** Rises with every change of this account's password; from 1. */
  serial: varint,
  /** The identity's word for both (docs/PROTOCOL.md §17). */
  statement: bytes(512),
};

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
  /**
   * Leaves key packages of this device (SECURITY M10): adds one-time ones, and takes the last-resort one in place of the former.
   * Answered by `keyPackageStock`; with nothing in it, it only asks.
   */
  putKeyPackages: [
    19,
    struct({
      oneTime: array(bytes(KEY_PACKAGE_BYTES_MAX), KEY_PACKAGES_MAX),
      lastResort: optional(bytes(KEY_PACKAGE_BYTES_MAX)),
    }),
  ],
  /**
   * One key package of each device of these users but the asking one, for one conversation. Whoever asks again for the same
   * conversation within an hour gets the same ones.
   */
  takeKeyPackages: [20, struct({ conversation: conversationId, names: array(nameText, 16) })],
  /** Makes a group whose only member is this user. The id is random, chosen by the client; repeating it is harmless. */
  createGroup: [21, struct({ conversation: conversationId })],
  /**
   * Appends a commit and hands out what came with it, all or nothing (SECURITY M7); refused with `staleEpoch` unless
   * `lastCommit` is the newest. Users added are delivered to from this row on, users removed up to this row.
   */
  commit: [
    22,
    struct({
      conversation: conversationId,
      messageId,
      /** Sequence number of the newest commit that its author has read, valid or not; 0 for none. */
      lastCommit: varint,
      body: bytes(COMMIT_BODY_BYTES_MAX),
      add: array(nameText, GROUP_USERS_MAX),
      remove: array(nameText, GROUP_USERS_MAX),
      welcomes: array(welcome, WELCOMES_MAX),
      /** The tree that the welcomes need, sealed; empty where there are none. */
      tree: bytes(TREE_BYTES_MAX),
    }),
  ],
  /** Appends a signed leave notice; from that row on nothing is delivered to this user (SECURITY M6). */
  leave: [
    23,
    struct({ conversation: conversationId, messageId, lastCommit: varint, body: bytes(BODY_BYTES_MAX) }),
  ],
  /** The newest Welcome or invitation for this device in a conversation. */
  welcome: [24, struct({ conversation: conversationId })],
  /** Asks the members to let this device in. It waits until one does; a later one of the same device takes its place. */
  ask: [25, struct({ conversation: conversationId, kind: u8, body: bytes(ASK_BYTES_MAX) })],
  /** What waits in conversations of this user, of one of them where it is named, behind a conversation and a device. */
  asks: [
    26,
    struct({
      conversation: optional(conversationId),
      after: optional(struct({ conversation: conversationId, device: deviceId })),
    }),
  ],
  /** A member's answer to an `ask` of kind 1: what that device needs to join by itself, good until the next commit. */
  invite: [
    27,
    struct({ conversation: conversationId, lastCommit: varint, welcome, tree: bytes(TREE_BYTES_MAX) }),
  ],
  /** Takes an `ask` away that is not going to be granted: a member's, or one's own. */
  dropAsk: [28, struct({ conversation: conversationId, device: deviceId })],
  /** To whom the server delivers a group, by name, behind `after`. Answered by `users`, where nobody is said to be online. */
  members: [29, struct({ conversation: conversationId, after: nameText })],
  /** The key log behind its first `after` entries (docs/PROTOCOL.md §16): whose each entry is and its hash, a page. */
  keyLog: [30, struct({ after: varint })],
  /** Entries of the key log by number, from 1. Those that are not there are left out. */
  keyEntries: [31, struct({ numbers: array(varint, KEY_ENTRIES_MAX) })],
  /** Puts a statement about this user into the key log and does what it says: `approve`, `revoke` or `policy`. */
  stateKeys: [32, struct({ statement: bytes(KEY_ENTRY_BYTES_MAX) })],
  /** A new identity, by a `rotate` statement, and its sealed backup, empty where there is none. All other devices end. */
  rotate: [33, struct({ statement: bytes(KEY_ENTRY_BYTES_MAX), backup: bytes(BACKUP_BYTES_MAX) })],
  /** What this person calls this device: for the eyes of their own devices, signed by its leaf key (docs/PROTOCOL.md §16.3). */
  nameDevice: [34, struct({ name: text(DEVICE_NAME_BYTES_MAX), signature: fixedBytes(64) })],
  /** The names of this user's devices. */
  devices: [35, struct({})],
  /** A device that is to be linked leaves what it is (docs/PROTOCOL.md §18), and asks again until it is answered. */
  linkOffer: [42, struct({ place: fixedBytes(32), offer: bytes(LINK_OFFER_BYTES_MAX) })],
  /** What was left at a place, for a device that is to grant it. */
  linkFind: [43, struct({ place: fixedBytes(32) })],
  /** Certifies the device there, stands in for it, and leaves it what it needs. Sent again it changes nothing. */
  linkGrant: [
    44,
    struct({
      place: fixedBytes(32),
      certificate: bytes(CERTIFICATE_BYTES_MAX),
      /** An `approve` statement. */
      approval: bytes(KEY_ENTRY_BYTES_MAX),
      grant: bytes(LINK_GRANT_BYTES_MAX),
    }),
  ],
  /** The first log-in of a device that was linked: without a password. */
  linkLogin: [45, struct({ place: fixedBytes(32), device: deviceId, proof: fixedBytes(64) })],
  /** Makes a recovery key good, and the one before void (docs/PROTOCOL.md §17). */
  setRecovery: [
    36,
    struct({
      proof: fixedBytes(32),
      /** The identity key, sealed by the recovery key. */
      backup: bytes(BACKUP_BYTES_MAX),
      /** The identity's RSA-PSS signature over "fastchat/set-recovery/1" ‖ bind ‖ SHA-256(proof) ‖ SHA-256(backup). */
      identityProof: bytes(512),
    }),
  ],
  /** Without password or device, by the recovery key's proof: answered by `recovery`; then `finishRecovery` may follow. */
  recover: [37, struct({ name: nameText, proof: fixedBytes(32) })],
  /** After a `recover`: another password, and this device enrolled, all or nothing. Answered by `session`. */
  finishRecovery: [
    38,
    struct({
      ...passwordFields,
      loginSecret: text(43),
      /** As in `register`; left out of account where the server keeps no backup for this user. */
      backup: bytes(BACKUP_BYTES_MAX),
      certificate: bytes(CERTIFICATE_BYTES_MAX),
      /** As in `enrol`. */
      identityProof: bytes(512),
      deviceProof: fixedBytes(64),
      /** Whether all other sessions end. */
      endOthers: bool,
    }),
  ],
  /** How one's own password is stretched and what was changed last. Before a session for an enrolled device that proves itself. */
  credentials: [
    39,
    struct({ device: optional(struct({ name: nameText, id: deviceId, proof: fixedBytes(64) })) }),
  ],
  /** Another password: login secret, stretching and backup at once. Sent again after it was done it is `ok` again. */
  changePassword: [
    40,
    struct({
      /** Of the password until now. */
      loginSecret: text(43),
      ...passwordFields,
      newLoginSecret: text(43),
      backup: bytes(BACKUP_BYTES_MAX),
      endOthers: bool,
    }),
  ],
  /**
   * Leaves a part of a bundle of history for a new device (docs/PROTOCOL.md §20): a sealed letter. With `unlessGiven` it is answered
   * by `historyGiven` where somebody else's bundle is there already, or was taken.
   */
  putHistory: [
    46,
    struct({
      conversation: conversationId,
      to: deviceId,
      /** Random, the same for all its parts. */
      bundle: messageId,
      /** From 0, of so many. */
      part: varint,
      parts: varint,
      unlessGiven: bool,
      body: bytes(BODY_BYTES_MAX),
    }),
  ],
  /** What waits for this device behind a number. Answered by `historyParts`. */
  history: [47, struct({ after: varint })],
  /** This device is done with them: it has taken them, or they were no good. */
  dropHistory: [48, struct({ numbers: array(varint, HISTORY_PARTS_MAX), taken: bool })],
  /** The backup sealed by one's password, in a session whose identity key is not at hand. */
  ownBackup: [41, struct({ loginSecret: text(43) })],
  /** Begins this user's archive of history (docs/PROTOCOL.md §21), or seals its key for another recovery key. */
  setArchiveKey: [
    49,
    struct({
      keyId: fixedBytes(16),
      /** The archive's key, sealed by the recovery key. */
      sealed: bytes(ARCHIVE_KEY_BYTES_MAX),
      /** Of the recovery key, as in `recover`. */
      proof: fixedBytes(32),
    }),
  ],
  /** One more chunk of a stream, from 1 without gaps. Sent again it is `ok` again. */
  putArchiveChunk: [
    50,
    struct({
      keyId: fixedBytes(16),
      stream: fixedBytes(16),
      number: varint,
      body: bytes(ARCHIVE_CHUNK_BYTES_MAX),
    }),
  ],
  /** What is there of this user's archive. */
  archive: [51, struct({})],
  /** Chunks of one stream behind a number: a page, empty behind the last. */
  archiveChunks: [52, struct({ stream: fixedBytes(16), after: varint })],
  /** Ends the archive. The identity's RSA-PSS signature is over "fastchat/drop-archive/1" ‖ bind ‖ key id. */
  dropArchive: [53, struct({ keyId: fixedBytes(16), identityProof: bytes(512) })],
  /**
   * Where two devices meet that compare digits (docs/PROTOCOL.md §18.1). With a commitment, in a session of that very user: for two
   * minutes it is found by the name, and the one before is not. Without: finds it. Answered by `linkLetter`.
   */
  linkMeet: [54, struct({ name: nameText, commitment: optional(fixedBytes(32)) })],
  /** Leaves a letter at a place where none lies, and asks for the one that does. */
  linkLetter: [55, struct({ place: fixedBytes(32), letter: optional(bytes(LINK_LETTER_BYTES_MAX)) })],
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
  /** How many one-time packages of this device are left. */
  keyPackageStock: [14, struct({ oneTime: varint, lastResort: bool })],
  /** In the order of the names; a device that left none is missing. */
  keyPackages: [
    15,
    struct({
      packages: array(
        struct({ user: userName, device: deviceId, keyPackage: bytes(KEY_PACKAGE_BYTES_MAX), lastResort: bool }),
        16 * DEVICES_PER_USER_MAX,
      ),
    }),
  ],
  /** `commit` is the row that it belongs to, the newest one there was; empty where there is nothing for this device. */
  welcome: [
    16,
    struct({
      welcome: optional(
        struct({ isInvitation: bool, commit: varint, body: bytes(WELCOME_BYTES_MAX), tree: bytes(TREE_BYTES_MAX) }),
      ),
    }),
  ],
  asks: [17, struct({ asks: array(ask, ASKS_PAGE_MAX), more: bool })],
  /** In order. `length` is that of the whole log, `head` the one behind the last entry given. */
  keyLog: [
    18,
    struct({
      entries: array(struct({ user: userName, hash: fixedBytes(32) }), KEY_LOG_PAGE_MAX),
      head: fixedBytes(32),
      length: varint,
    }),
  ],
  keyEntries: [
    19,
    struct({ entries: array(struct({ number: varint, entry: bytes(KEY_ENTRY_BYTES_MAX) }), KEY_ENTRIES_MAX) }),
  ],
  /** Empty while nobody has granted it. */
  linkGranted: [26, struct({ grant: optional(bytes(LINK_GRANT_BYTES_MAX)) })],
  linkOffer: [27, struct({ offer: bytes(LINK_OFFER_BYTES_MAX) })],
  devices: [
    20,
    struct({
      devices: array(
        struct({ device: deviceId, name: text(DEVICE_NAME_BYTES_MAX), signature: fixedBytes(64) }),
        DEVICES_PER_USER_MAX,
      ),
    }),
  ],
  /** The identity sealed by the recovery key, and the account as it is: what others are shown, and how to stretch. */
  recovery: [
    22,
    struct({
      backup: bytes(BACKUP_BYTES_MAX),
      entry: directoryEntry,
      stretching,
      /** The least work that this server takes for a new password. */
      log2NMin: u8,
      /** Of the password now; 0 since the sign-up. */
      serial: varint,
      keepsBackup: bool,
    }),
  ],
  credentials: [
    23,
    struct({
      stretching,
      /** The least work that this server takes for a new password. */
      log2NMin: u8,
      clusterId: fixedBytes(16),
      identityKey: bytes(IDENTITY_KEY_BYTES_MAX),
      /** Whether the server has a backup that the password opens. */
      keepsBackup: bool,
      /** Since when there is a recovery key; 0 for none. */
      recoveryMs: u48,
      /** The last change of the password; none since the sign-up. */
      password: optional(struct({ serial: varint, statement: bytes(512), change: credentialChange })),
    }),
  ],
  /** Some of what waits, in the order in which it came: there may be more. */
  historyParts: [
    30,
    struct({
      parts: array(
        struct({ number: varint, conversation: conversationId, body: bytes(BODY_BYTES_MAX) }),
        HISTORY_PARTS_MAX,
      ),
    }),
  ],
  historyGiven: [31, struct({})],
  /**
   * Answers `read` where a server restored from a backup has nothing behind `after`: `kept` is the newest number in that backup, up to
   * `begins` none was ever given out by this server, and numbers go on behind it (docs/PROTOCOL.md §7.4).
   */
  restored: [29, struct({ kept: varint, begins: varint, madeMs: u48, restoredMs: u48 })],
  /** An archive of history, without its chunks: no key where there is none. */
  archive: [
    32,
    struct({
      key: optional(
        struct({
          keyId: fixedBytes(16),
          sealed: bytes(ARCHIVE_KEY_BYTES_MAX),
          /** Whether the recovery key that it is sealed for is still the one now. */
          isCurrent: bool,
          madeMs: u48,
        }),
      ),
      streams: array(
        struct({
          stream: fixedBytes(16),
          chunks: varint,
          bytes: varint,
          /** SHA-256 of the newest chunk, and when it came. */
          head: fixedBytes(32),
          newestMs: u48,
        }),
        ARCHIVE_STREAMS_MAX,
      ),
      /** What all chunks may take together; 0 where the server keeps no archives. */
      bytesMax: varint,
    }),
  ],
  /** What lies there, where something does. */
  linkLetter: [34, struct({ letter: optional(bytes(LINK_LETTER_BYTES_MAX)) })],
  /** Ascending. */
  archiveChunks: [
    33,
    struct({ chunks: array(struct({ number: varint, body: bytes(ARCHIVE_CHUNK_BYTES_MAX) }), ARCHIVE_PAGE_MAX) }),
  ],
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
  /** A device wants to be let in: for members who can. */
  asked: [6, struct({ ask })],
  /** There is a Welcome or an invitation for this device. */
  welcomed: [7, struct({ conversation: conversationId })],
  /** This user is no longer delivered to: rows up to `seq` may be read, the one there says why. */
  dismissed: [8, struct({ conversation: conversationId, seq: varint })],
  /** The key log has grown by entries about this user or about somebody they share a conversation with. */
  keyLogGrown: [9, struct({ length: varint })],
  /** One's own credentials changed elsewhere. */
  credentialsChanged: [11, struct({ change: credentialChange })],
  /** There is history for this device. */
  historyWaits: [12, struct({})],
});
export type Event = Infer<typeof event>;

export type RequestType = Request["type"];
export type RequestOf<K extends RequestType> = Extract<Request, { type: K }>;
export type ResponseOf<K extends Response["type"]> = Extract<Response, { type: K }>;
