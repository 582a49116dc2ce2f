/**
 * The shape of a home's database, as numbered steps that are never changed once released: a new need is a new step at the end.
 *
 * `PRAGMA user_version` counts the steps a database has seen. They run when a program opens it, in one transaction.
 */
import type { DatabaseSync } from "node:sqlite";
import { FastChatError } from "../errors.ts";

/**
 * How many steps the database has seen; 0 for a new one. Changes nothing.
 *
 * @throws FastChatError where a newer program wrote it.
 */
export function versionOf(db: DatabaseSync, path: string): number {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (version <= MIGRATIONS.length) return version;
  throw new FastChatError(
    `Cannot open ${path}: it has version ${version}, this program knows up to ${MIGRATIONS.length}. Use a newer fastchat`,
  );
}

/** Runs the steps that are missing, whichever program opens it first. @throws FastChatError as {@linkcode versionOf}. */
export function migrate(db: DatabaseSync, path: string): void {
  if (versionOf(db, path) === MIGRATIONS.length) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    const from = versionOf(db, path);
    for (const step of MIGRATIONS.slice(from)) db.exec(step);
    db.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** Step n brings version n to n+1. Never changed once released. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

  -- Cluster keys, by the HOST:PORT that was asked.
  CREATE TABLE servers (
    address TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    -- A key that was shown later and is not the pinned one: what 'trust --server' would accept.
    offered BLOB,
    -- The cluster's key, servers and an address token, for when the balancer does not answer. JSON.
    remembered TEXT
  ) STRICT;

  -- People's identities, pinned at first use.
  CREATE TABLE peers (
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    pinned_ms INTEGER NOT NULL,
    offered BLOB,
    PRIMARY KEY (cluster, name)
  ) STRICT;

  -- What the server last said of people's keys: the protocol's directory entries. Judged by the pins at every use.
  CREATE TABLE directory (name TEXT PRIMARY KEY, entry BLOB NOT NULL) STRICT;

  CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    peer TEXT NOT NULL,
    -- Rows up to here are dealt with. This device begins at 'begins': what is before was not sealed for it.
    cursor INTEGER NOT NULL,
    begins INTEGER NOT NULL,
    -- The last envelope of this device that the server stored.
    sent_counter INTEGER NOT NULL DEFAULT 0,
    sent_hash BLOB NOT NULL DEFAULT (zeroblob(32))
  ) STRICT;

  -- The last envelope received of each device, to see repeats and gaps.
  CREATE TABLE chains (
    conversation TEXT NOT NULL,
    device TEXT NOT NULL,
    counter INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (conversation, device)
  ) STRICT;

  -- Everything that can be shown, in the order it came to this home. 'text' is NULL where it was refused.
  CREATE TABLE messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    device TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    -- Sent by this person: 1 from this home, 2 from another device. Nobody has to be shown those.
    own INTEGER NOT NULL,
    text TEXT,
    reason TEXT,
    -- A refused row that may be read once its sender's new identity is trusted.
    body BLOB,
    UNIQUE (conversation, seq)
  ) STRICT;
  CREATE INDEX messages_id ON messages (id);

  -- What was given to send() and has no place in the log yet. 'place' is its order.
  CREATE TABLE outbox (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL,
    text TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- Once sealed: the same bytes are sent again until their fate is known.
    conversation TEXT,
    counter INTEGER,
    epoch INTEGER,
    body BLOB,
    -- Why it failed for good, until whoever sent it has read that.
    failure TEXT
  ) STRICT;
  `,
  `
  -- What to come back with, instead of RSA and password. Taken out by whoever uses it.
  CREATE TABLE tickets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The HOST:PORT that was asked.
    address TEXT NOT NULL,
    ticket BLOB NOT NULL,
    secret BLOB NOT NULL,
    expires_ms INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- What was handed to scripts that acknowledge by hand, and is not acknowledged. Behind the meta value 'handed' nothing was yet.
  CREATE TABLE deliveries (
    position INTEGER PRIMARY KEY REFERENCES messages (position) ON DELETE CASCADE,
    attempts INTEGER NOT NULL,
    -- The number of the listener that has it, and until when; NULL where nobody has.
    holder INTEGER,
    until_ms INTEGER
  ) STRICT;
  `,
  `
  -- SHA-256 of the row's body, to compare with what others' receipts name.
  ALTER TABLE messages ADD COLUMN hash BLOB;
  -- The same of the row at 'cursor', and what this device has told the server of it.
  ALTER TABLE conversations ADD COLUMN cursor_hash BLOB;
  ALTER TABLE conversations ADD COLUMN said_delivered INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE conversations ADD COLUMN said_read INTEGER NOT NULL DEFAULT 0;

  -- How far devices of others have come. 'since' is the first message of this person that was sealed for the device, 'member'
  -- whose it is: known once it said something.
  CREATE TABLE receipts (
    conversation TEXT NOT NULL,
    device TEXT NOT NULL,
    member TEXT,
    since INTEGER,
    delivered INTEGER NOT NULL DEFAULT 0,
    read INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation, device)
  ) STRICT, WITHOUT ROWID;

  -- What became of messages of this home, in order. Programs are told from the meta value 'states-told' on.
  CREATE TABLE states (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    conversation TEXT,
    recipient TEXT NOT NULL,
    state TEXT NOT NULL,
    delivered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    members INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    reason TEXT
  ) STRICT;
  `,
  `
  -- The identity that this person compared with somebody, and when: verified is whom it still is.
  ALTER TABLE peers ADD COLUMN verified BLOB;
  ALTER TABLE peers ADD COLUMN verified_ms INTEGER;
  `,
  `
  -- What yields the key of this home's vault, each by itself: 'password', 'token', or 'open' (the key as it is).
  CREATE TABLE seals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    sealed BLOB NOT NULL,
    made_ms INTEGER NOT NULL
  ) STRICT;

  -- Secrets of which there is one each, sealed: this device's keys, the session token.
  CREATE TABLE secrets (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;

  -- Where 'text' (or 'reason') is '' and not NULL, it is in here, sealed. So is 'body', as it is.
  ALTER TABLE messages ADD COLUMN sealed BLOB;
  ALTER TABLE outbox ADD COLUMN sealed BLOB;
  -- Until what was there before is sealed, too.
  INSERT INTO meta VALUES ('unsealed', '1');
  `,
  `
  -- Conversations as MLS groups. What a device knows of one, sealed by the vault.
  CREATE TABLE mls_conversations (id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
  -- A group's state (client/e2ee/mls/state.ts), each row under the key of its epoch. A slot is a conversation, or one's own join.
  CREATE TABLE mls_rows (
    slot TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (slot, key)
  ) STRICT, WITHOUT ROWID;
  -- Those keys, sealed by the vault: gone with their epoch. -1 is for what belongs to none.
  CREATE TABLE mls_keys (
    slot TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (slot, epoch)
  ) STRICT, WITHOUT ROWID;
  -- A commit that is on its way to the server, sealed by the vault.
  CREATE TABLE mls_pending (conversation TEXT PRIMARY KEY, request BLOB NOT NULL) STRICT, WITHOUT ROWID;
  -- The rolling hash behind the newest rows.
  CREATE TABLE mls_history (
    conversation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (conversation, seq)
  ) STRICT, WITHOUT ROWID;
  -- Messages that were opened or sealed here, to know a repeat; and how far each device has counted.
  CREATE TABLE mls_seen (
    conversation TEXT NOT NULL,
    device TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (conversation, device, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX mls_seen_seq ON mls_seen (conversation, seq);
  CREATE TABLE mls_chains (
    conversation TEXT NOT NULL,
    device TEXT NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (conversation, device)
  ) STRICT, WITHOUT ROWID;
  -- What this device has sealed and not yet read back: a retry is sealed anew under the same counter.
  CREATE TABLE mls_sent (
    conversation TEXT NOT NULL,
    id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (conversation, id)
  ) STRICT, WITHOUT ROWID;
  -- This device's key packages; of used ones only the reference is left.
  CREATE TABLE mls_key_packages (
    ref TEXT PRIMARY KEY,
    -- 1: at the server or on its way there, 2: used.
    state INTEGER NOT NULL,
    last_resort INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    public BLOB,
    -- Sealed by the vault.
    private BLOB
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Conversations of n members. Kind 1: two people, 'peer' is the other one. Kind 2: a group, 'peer' is empty, and so is 'name'
  -- until this home has joined it. 'ended': this device is no longer in it.
  ALTER TABLE conversations ADD COLUMN kind INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE conversations ADD COLUMN name TEXT NOT NULL DEFAULT '';
  ALTER TABLE conversations ADD COLUMN topic TEXT NOT NULL DEFAULT '';
  ALTER TABLE conversations ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE members (
    conversation TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (conversation, name)
  ) STRICT, WITHOUT ROWID;

  -- Kind 1: what was said. Kind 2: what changed in a group, its 'text' is JSON. In a group 'recipient' is empty.
  ALTER TABLE messages ADD COLUMN kind INTEGER NOT NULL DEFAULT 1;
  -- For whom it is: a conversation, or 'peer' where that is empty.
  ALTER TABLE outbox ADD COLUMN target TEXT;
  -- From this row on nothing is sealed for the device; NULL while it is.
  ALTER TABLE receipts ADD COLUMN until INTEGER;
  `,
  `
  -- The cluster's key log as the server has shown it: whose each entry is, its hash, and the head behind it.
  CREATE TABLE key_log (
    number INTEGER PRIMARY KEY,
    user   TEXT NOT NULL,
    hash   BLOB NOT NULL,
    head   BLOB NOT NULL
  ) STRICT;
  CREATE INDEX key_log_by_user ON key_log (user, number);
  CREATE INDEX key_log_by_head ON key_log (head);

  -- Entries about this person and those they have to do with; 'fault' says why one does not count.
  CREATE TABLE key_entries (
    number INTEGER PRIMARY KEY,
    user   TEXT NOT NULL,
    entry  BLOB NOT NULL,
    fault  TEXT
  ) STRICT;
  CREATE INDEX key_entries_by_user ON key_entries (user, number);

  -- Whom entries are read of, beside everybody in 'peers'.
  CREATE TABLE key_followed (user TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  `,
  `
  -- Whose copy a message is, where it did not come from the log: a name, or '' for this person's own archive. 'own' is 3 then.
  ALTER TABLE messages ADD COLUMN copy_from TEXT;
  `,
  `
  -- How many members of a group have each message of this person (tallies.ts). Negative 'members': it is to be counted.
  CREATE TABLE tallies (
    conversation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    read INTEGER NOT NULL DEFAULT 0,
    members INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (conversation, seq)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO tallies (conversation, seq)
    SELECT messages.conversation, messages.seq FROM messages
    JOIN conversations ON conversations.id = messages.conversation AND conversations.kind = 2
    WHERE messages.own IN (1, 2) AND messages.kind = 1 AND messages.text IS NOT NULL;
  CREATE INDEX receipts_member ON receipts (conversation, member);
  `,
  `
  -- The archive of history that this home writes (archive/archive_book.ts), one row: its stream, how far it has come, and how many
  -- messages are in it. 'position': what stands in 'messages' up to there is in it.
  CREATE TABLE archive_stream (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    stream TEXT NOT NULL,
    chunks INTEGER NOT NULL,
    head BLOB NOT NULL,
    position INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    -- The chunk on its way, sealed by the archive's key: the same bytes are sent until the server has them.
    pending BLOB,
    pending_position INTEGER,
    pending_messages INTEGER
  ) STRICT;
  -- The most that the server has shown of each stream, and how much of that this home's own stream says.
  CREATE TABLE archive_seen (
    stream TEXT PRIMARY KEY,
    chunks INTEGER NOT NULL,
    head BLOB NOT NULL,
    told INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- When this home first saw an entry, by its own clock: whoever was certified by password alone waits from then on.
  ALTER TABLE key_entries ADD COLUMN seen_ms INTEGER;
  UPDATE key_entries SET seen_ms = unixepoch() * 1000;

  -- History that this home is to hand to new devices (copies/gifts.ts).
  CREATE TABLE gifts (
    conversation TEXT NOT NULL,
    user TEXT NOT NULL,
    device TEXT NOT NULL,
    bundle TEXT NOT NULL,
    due_ms INTEGER NOT NULL,
    made_ms INTEGER NOT NULL,
    -- NULL: as far back as the group says.
    since_ms INTEGER,
    up_to INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (conversation, device)
  ) STRICT, WITHOUT ROWID;
  -- Parts of bundles that others handed to this one (copies/receiver.ts).
  CREATE TABLE received_parts (
    giver TEXT NOT NULL,
    bundle TEXT NOT NULL,
    part INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    conversation TEXT NOT NULL,
    user TEXT NOT NULL,
    messages INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (giver, bundle, part)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- When the oldest past epoch of a group ended whose messages it still opens: found without opening anything. 0: not known yet.
  CREATE TABLE mls_past (slot TEXT PRIMARY KEY, ended_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX mls_past_by_end ON mls_past (ended_ms);
  INSERT INTO mls_past (slot, ended_ms)
    SELECT slot, 0 FROM mls_rows WHERE key GLOB 'epoch/*' AND slot NOT LIKE '% %' GROUP BY slot HAVING count(*) > 1;
  `,
];
