/**
 * Every bound in the system, unit in the name. What happens when one is reached is said where it is enforced and, where a
 * user can meet it, in docs/MANUAL.md. Relations between bounds are asserted at the end.
 */
import { assert } from "./assert.ts";

// Text and messages.
/** UTF-8 bytes of one text message. Refused by the client before sealing (exit code 2). */
export const TEXT_BYTES_MAX = 1 << 20;
/** Bytes of one sealed body in the log: the text, its header, and an RSA wrap for each device. */
export const BODY_BYTES_MAX = TEXT_BYTES_MAX + (64 << 10);
/**
 * Bytes of a commit's body. Where nobody has renewed keys yet, a commit that removes somebody, or renews its author's keys, has 1.2 kB
 * for each device in the group: 1,700 of them fit. So it is the largest row of the log.
 */
export const COMMIT_BODY_BYTES_MAX = 2 << 20;
/** All of a commit: its body, the Welcomes that come with it and their tree. */
export const COMMIT_BYTES_MAX = 8 << 20;
/** Bytes of one protocol message on a stream: a commit is the largest. A larger one closes the connection. */
export const MESSAGE_BYTES_MAX = COMMIT_BYTES_MAX;
/** Characters of a user name. */
export const NAME_CHARS_MAX = 32;
/** Devices one user may have; a further one is refused until an old one is revoked. */
export const DEVICES_PER_USER_MAX = 32;
/** Records that one `read` may ask for, and the bytes of bodies it answers with (at least one record is always given). */
export const READ_RECORDS_MAX = 256;
export const READ_BYTES_MAX = 1 << 20;
/** Messages younger than this are never removed: so long a repeated append is known as one. */
export const RECORD_AGE_MS_MIN = 24 * 3600 * 1000;
/** Receipts that one request hands in, conversations that one asks about, and receipts that one answer holds. */
export const RECEIPTS_MAX = 256;
export const RECEIPTS_PAGE_MAX = 1024;
/** Entries in one page of the user list or of a sync answer. */
export const PAGE_ENTRIES_MAX = 500;
/** Users of one group, and how many of them come or go with one commit. */
export const GROUP_USERS_MAX = 1_000;
/** A group with more members is large: receipts in it take their time, so that all of them together are no flood (PROTOCOL §13). */
export const SMALL_GROUP_USERS_MAX = 64;
/** Welcomes that travel with one commit. */
export const WELCOMES_MAX = 512;
/** A Welcome or an invitation, sealed for one device. */
export const WELCOME_BYTES_MAX = 64 << 10;
/** A group's tree, sealed once for all newcomers of a commit. */
export const TREE_BYTES_MAX = 4 << 20;
/** One-time key packages of a device at the server, and the size of one. */
export const KEY_PACKAGES_MAX = 64;
export const KEY_PACKAGE_BYTES_MAX = 8 << 10;
/** What somebody who asks to be let in may say, and how many such requests are listed at once. */
export const ASK_BYTES_MAX = 4 << 10;
export const ASKS_PAGE_MAX = 64;
export const CERTIFICATE_BYTES_MAX = 4 << 10;
/** One entry of the key log: a certificate with a signature at most. */
export const KEY_ENTRY_BYTES_MAX = CERTIFICATE_BYTES_MAX + (1 << 10);
/** Entries of one page of the key log, and how many of them are asked for by number at once. */
export const KEY_LOG_PAGE_MAX = 4_096;
export const KEY_ENTRIES_MAX = 128;
/** Members of a user's groups who are told at once that the user's keys have changed; others find out at the next message. */
export const ACQUAINTED_MAX = 4_096;
/** Entries of one user in the key log; beyond it only devices can be revoked. */
export const KEY_ENTRIES_PER_USER_MAX = 1_024;
/** What a device that is to be linked leaves at the server, and what it is given; how many wait at once, and for how long. */
export const LINK_OFFER_BYTES_MAX = 1 << 10;
export const LINK_GRANT_BYTES_MAX = 12 << 10;
export const LINKS_MAX = 1_000;
export const LINK_MS = 10 * 60_000;
/** Two devices that compare digits: what they leave one another at once, and how long they have. */
export const LINK_LETTER_BYTES_MAX = 64;
export const LINK_COMPARE_MS = 2 * 60_000;
/** One chunk of an archive of history, sealed: one message of the largest size, or many small ones. */
export const ARCHIVE_CHUNK_BYTES_MAX = TEXT_BYTES_MAX + (64 << 10);
/** An archive's key, sealed by the recovery key. */
export const ARCHIVE_KEY_BYTES_MAX = 256;
/** Homes that write into one archive, each a stream of its own. */
export const ARCHIVE_STREAMS_MAX = 64;
/** Chunks in one answer; their bytes are bounded as those of `read` are. */
export const ARCHIVE_PAGE_MAX = 256;
/** What one user's archive may take unless the operator says otherwise. */
export const ARCHIVE_MIB = 64;
/** UTF-8 bytes of a device's name. */
export const DEVICE_NAME_BYTES_MAX = 128;

/**
 * History that waits at the server for new devices (docs/PROTOCOL.md §20): parts of all bundles for one device, those that it took
 * among them; what waits for one device, in all and of one other user; and what waits of one giver.
 */
export const HISTORY_PARTS_MAX = 256;
export const HISTORY_DEVICE_BYTES_MAX = 32 << 20;
export const HISTORY_PAIR_BYTES_MAX = 8 << 20;
export const HISTORY_GIVER_BYTES_MAX = 64 << 20;
/** Of one bundle: texts and what goes with each. Older messages stay out; the next part begins where one has so much. */
export const HISTORY_BUNDLE_BYTES_MAX = 4 << 20;
export const HISTORY_PART_BYTES = 256 << 10;

// Datagrams and connections (docs/PROTOCOL.md §2, §5).
/** UDP payload bytes. 1,200 passes every path in use (RFC 9000 §14); SECURITY H10 says why we do not probe for more. */
export const DATAGRAM_BYTES = 1200;
/** What an operator may raise it to, and every receiver takes: Ethernet's 1,500 without the headers of IPv6 and UDP. */
export const DATAGRAM_BYTES_MAX = 1452;
/** Bytes of an RFC 5116 tag. */
export const TAG_BYTES = 16;
/** Type byte, connection id, packet number. */
export const PROTECTED_HEADER_BYTES = 1 + 8 + 6;
/** Plaintext bytes one protected packet can carry. */
export const PAYLOAD_BYTES_MAX = DATAGRAM_BYTES - PROTECTED_HEADER_BYTES - TAG_BYTES;
/** Packet numbers stay below this (SECURITY H2). */
export const PACKET_NUMBER_LIMIT = 2 ** 48;
/** Packets under one key before it is updated, and failed opens before the connection ends (SECURITY H2). */
export const PACKETS_PER_KEY_MAX = 2 ** 24;
export const FAILED_OPENS_MAX = 2 ** 20;
export const KEY_AGE_US_MAX = 3600 * 1_000_000;
/**
 * Flow-control windows a receiver offers (bytes). A stream's begins small and grows where its reader keeps up; one that is then not
 * read any more still leaves half of its connection's to the others.
 */
export const STREAM_WINDOW_BYTES = 256 << 10;
export const STREAM_WINDOW_BYTES_MAX = 1 << 20;
export const CONNECTION_WINDOW_BYTES = 2 << 20;
/** Streams a peer may have open at once, per direction. Further ones wait for MAX_STREAMS. */
export const STREAMS_OPEN_MAX = 256;
/** Silence after which a connection is dropped, and how often an idle client speaks to keep its NAT open (25 s NATs exist). */
export const IDLE_TIMEOUT_US = 60 * 1_000_000;
export const KEEP_ALIVE_US = 15 * 1_000_000;
/** Packet numbers a receiver remembers, to open each packet once; a multiple of 32. */
export const REPLAY_WINDOW_PACKETS = 4096;
/** How long an acknowledgement may be held back, and the ranges one connection remembers to acknowledge. */
export const ACK_DELAY_US_MAX = 25_000;
export const ACK_RANGES_MAX = 64;
/** Bytes in flight, whatever the congestion controller thinks, and the packets that we keep notes of. */
export const CONGESTION_WINDOW_BYTES_MAX = 4 << 20;
export const PACKETS_IN_FLIGHT_MAX = 32_768;
/** Pieces that wait out of order in all streams of one connection; more than this is not a network's doing and closes it. */
export const PIECES_MAX = 4096;
/** Bytes and number of unreliable hints and tickets that wait in one connection; the oldest hint is dropped. */
export const HINT_BYTES_MAX = 1024;
export const HINTS_QUEUED_MAX = 64;
/** People whose coming and going one connection hears of; a request for more is malformed. */
export const WATCH_NAMES_MAX = 256;
export const TICKET_BYTES_MAX = 1024;
/** UTF-8 bytes of the reason in a CLOSE frame. */
export const CLOSE_REASON_BYTES_MAX = 200;
/** Handshake: the client resends INITIAL with back-off until this; a server forgets an unconfirmed connection after it. */
export const HANDSHAKE_TIMEOUT_US = 10 * 1_000_000;
/** Connections one server holds (slots are 24 bits; this is what memory allows by default). */
export const CONNECTIONS_MAX = 65_536;
/** RSA decryptions in flight and waiting at a server (SECURITY H7). */
export const RSA_IN_FLIGHT_MAX = 2;
export const RSA_QUEUED_MAX = 64;
/** Bytes waiting to be sent to one client before live deliveries to it stop and it is told to read the log instead. */
export const SEND_BUFFER_BYTES_MAX = 1 << 20;

/** What a connection may have under way before anybody logged in on it: the largest sign-up fits twice. */
export const STRANGER_BYTES_MAX = 64 << 10;

// Accounts.
export const PASSWORD_CHARS_MIN = 10;
export const SCRYPT_LOG2_N_MIN = 17;
export const SESSION_DAYS = 30;
/** Sessions one device may have; with a further one the oldest ends. A device of ours has one. */
export const SESSIONS_PER_DEVICE_MAX = 8;
export const BACKUP_BYTES_MAX = 16 << 10;
export const IDENTITY_KEY_BYTES_MAX = 1 << 10;
/** Servers that one balancer may spawn: server numbers are 8 bits (SECURITY H3). */
export const SERVERS_MAX = 128;

assert(
  MESSAGE_BYTES_MAX > BODY_BYTES_MAX && BODY_BYTES_MAX > TEXT_BYTES_MAX,
  "A text fits its body, a body its message",
);
assert(
  COMMIT_BYTES_MAX > COMMIT_BODY_BYTES_MAX + WELCOME_BYTES_MAX + TREE_BYTES_MAX,
  "A commit has room for its tree and for Welcomes beside the largest body",
);
assert(
  COMMIT_BODY_BYTES_MAX >= BODY_BYTES_MAX && COMMIT_BODY_BYTES_MAX > GROUP_USERS_MAX * 1300,
  "A row has room for a commit with new keys for every member of the largest group, on one device each",
);
assert(
  MESSAGE_BYTES_MAX > 16 * DEVICES_PER_USER_MAX * (KEY_PACKAGE_BYTES_MAX + 64) &&
    MESSAGE_BYTES_MAX > WELCOME_BYTES_MAX + TREE_BYTES_MAX + 64,
  "An answer with the largest Welcome, or with every key package asked for, fits a message",
);
assert(
  HISTORY_BUNDLE_BYTES_MAX < HISTORY_PAIR_BYTES_MAX && HISTORY_PAIR_BYTES_MAX < HISTORY_DEVICE_BYTES_MAX &&
    HISTORY_DEVICE_BYTES_MAX <= HISTORY_GIVER_BYTES_MAX,
  "A bundle fits, nobody fills a device's room alone, and one's own devices may",
);
assert(
  STREAM_WINDOW_BYTES <= STREAM_WINDOW_BYTES_MAX && 2 * STREAM_WINDOW_BYTES_MAX <= CONNECTION_WINDOW_BYTES,
  "A stream that nobody reads leaves room to the others of its connection",
);
assert(
  2 * (BACKUP_BYTES_MAX + CERTIFICATE_BYTES_MAX + IDENTITY_KEY_BYTES_MAX) < STRANGER_BYTES_MAX,
  "A sign-up fits what a stranger may have under way",
);
assert(KEEP_ALIVE_US * 2 < IDLE_TIMEOUT_US, "One lost keep-alive does not end an idle connection");
