/**
 * The database's shape, as numbered steps that are never changed once released: a new need is a new step.
 *
 * `PRAGMA user_version` counts the steps a database has seen. They run when a leadership begins, in its first transaction.
 */
import type { DatabaseSync } from "node:sqlite";

/** The database was written by a newer program than this one; it is left as it was. */
export class StoreVersionError extends Error {
  override readonly name = "StoreVersionError";
}

/**
 * How many steps the database has seen; 0 for a new one. Changes nothing.
 *
 * @throws StoreVersionError
 */
export function versionOf(database: DatabaseSync, path: string): number {
  const version = database.prepare("PRAGMA user_version").get()!["user_version"] as number;
  if (version <= MIGRATIONS.length) return version;
  throw new StoreVersionError(
    `Cannot open ${path}: it has version ${version} of a newer program, this one knows up to ${MIGRATIONS.length}`,
  );
}

/**
 * Brings the database to this program's version. The caller holds a write transaction, so it is all or nothing.
 *
 * @throws StoreVersionError
 */
export function migrate(database: DatabaseSync, path: string): void {
  for (const step of MIGRATIONS.slice(versionOf(database, path))) database.exec(step);
  database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
}

/**
 * The log is a rowid table with short integer keys in its indexes: 7 µs a row, where `WITHOUT ROWID` or 16-byte keys take
 * 17 to 20. It declares no foreign keys: each would be looked up for every row, and its ids come from rows that the same
 * transaction has just read. `key` is always the 16-byte id that the world knows, `id` the integer it stands for here.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE leadership (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL
  ) STRICT;
  INSERT INTO leadership VALUES (1, 0);

  CREATE TABLE users (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    salt            BLOB    NOT NULL,
    log2_n          INTEGER NOT NULL,
    password_hash   BLOB    NOT NULL,
    identity_key    BLOB    NOT NULL,
    backup          BLOB    NOT NULL,
    device_revision INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE devices (
    id          INTEGER PRIMARY KEY,
    key         BLOB    NOT NULL UNIQUE,
    user        INTEGER NOT NULL REFERENCES users (id),
    certificate BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX devices_by_user ON devices (user);

  CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY,
    device     INTEGER NOT NULL REFERENCES devices (id),
    expires_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX sessions_by_expiry ON sessions (expires_ms);

  CREATE TABLE conversations (
    id    INTEGER PRIMARY KEY,
    key   BLOB    NOT NULL UNIQUE,
    kind  INTEGER NOT NULL,
    epoch INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE members (
    user             INTEGER NOT NULL REFERENCES users (id),
    conversation_key BLOB    NOT NULL,
    conversation     INTEGER NOT NULL REFERENCES conversations (id),
    PRIMARY KEY (user, conversation_key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX members_by_conversation ON members (conversation, user);

  CREATE TABLE log (
    conversation INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    device       INTEGER NOT NULL,
    message_id   BLOB    NOT NULL,
    time_ms      INTEGER NOT NULL,
    body         BLOB    NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX log_by_seq ON log (conversation, seq);
  CREATE UNIQUE INDEX log_by_message ON log (conversation, device, message_id);

  CREATE TABLE cursors (
    device       INTEGER NOT NULL REFERENCES devices (id),
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    seq          INTEGER NOT NULL,
    PRIMARY KEY (device, conversation)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE users ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
  `,
  `
  CREATE TABLE receipts (
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    device       INTEGER NOT NULL REFERENCES devices (id),
    delivered    INTEGER NOT NULL,
    hash         BLOB    NOT NULL,
    read         INTEGER NOT NULL,
    signature    BLOB    NOT NULL,
    PRIMARY KEY (conversation, device)
  ) STRICT, WITHOUT ROWID;
  `,
  // Numbers must not go back when the newest rows of a conversation are removed, so they are no longer asked of the log.
  `
  ALTER TABLE conversations ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE conversations ADD COLUMN begins INTEGER NOT NULL DEFAULT 0;
  UPDATE conversations SET head = coalesce((SELECT max(seq) FROM log WHERE log.conversation = conversations.id), 0);
  `,
  // A log-in looks at its device's sessions.
  `
  CREATE INDEX sessions_by_device ON sessions (device, expires_ms);
  `,
  // Numbers that a restored copy never had, and must not give out. Whoever makes a conversation after a restore need not think of it.
  `
  CREATE TABLE restores (
    base        INTEGER PRIMARY KEY,
    made_ms     INTEGER NOT NULL,
    restored_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE leaps (
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    after        INTEGER NOT NULL,
    upto         INTEGER NOT NULL REFERENCES restores (base),
    PRIMARY KEY (conversation, after)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER conversations_after_restore AFTER INSERT ON conversations WHEN EXISTS (SELECT 1 FROM restores)
  BEGIN
    UPDATE conversations SET head = (SELECT max(base) FROM restores) WHERE id = NEW.id;
    INSERT INTO leaps SELECT NEW.id, 0, max(base) FROM restores;
  END;
  `,
  `
  CREATE TABLE recoveries (
    user       INTEGER PRIMARY KEY REFERENCES users (id),
    proof_hash BLOB    NOT NULL,
    backup     BLOB    NOT NULL,
    made_ms    INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE password_changes (
    user      INTEGER PRIMARY KEY REFERENCES users (id),
    serial    INTEGER NOT NULL,
    what      INTEGER NOT NULL,
    device    BLOB    NOT NULL,
    time_ms   INTEGER NOT NULL,
    statement BLOB    NOT NULL
  ) STRICT;
  `,
  // The key log. Entries for what was there before it are made at the first opening (sqlite/key_log.ts): SQLite cannot hash.
  `
  ALTER TABLE users ADD COLUMN approval INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE devices ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE devices ADD COLUMN approved INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE devices ADD COLUMN name TEXT;
  ALTER TABLE devices ADD COLUMN name_signature BLOB;
  UPDATE devices SET approved = 1 WHERE id IN (SELECT min(id) FROM devices GROUP BY user);
  CREATE TABLE key_log (
    number INTEGER PRIMARY KEY,
    user   INTEGER NOT NULL REFERENCES users (id),
    hash   BLOB    NOT NULL,
    head   BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX key_log_by_user ON key_log (user, number);
  CREATE TABLE key_entries (
    number INTEGER PRIMARY KEY,
    entry  BLOB    NOT NULL
  ) STRICT;
  `,
  // Groups: who is delivered to since when and up to where, what newcomers join by, and what they are added with.
  `
  ALTER TABLE conversations ADD COLUMN newest_commit INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE members ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE members ADD COLUMN until INTEGER;
  CREATE INDEX conversations_ended ON conversations (id) WHERE kind = 0;

  CREATE TABLE trees (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
  ) STRICT;
  CREATE TABLE welcomes (
    conversation  INTEGER NOT NULL REFERENCES conversations (id),
    device        INTEGER NOT NULL REFERENCES devices (id),
    is_invitation INTEGER NOT NULL,
    commit_seq    INTEGER NOT NULL,
    fetched       INTEGER NOT NULL,
    stored_ms     INTEGER NOT NULL,
    tree          INTEGER REFERENCES trees (id),
    body          BLOB    NOT NULL,
    PRIMARY KEY (device, conversation)
  ) STRICT;
  CREATE INDEX welcomes_by_conversation ON welcomes (conversation);
  CREATE INDEX welcomes_by_tree ON welcomes (tree);

  CREATE TABLE asks (
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    device       INTEGER NOT NULL REFERENCES devices (id),
    kind         INTEGER NOT NULL,
    time_ms      INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    PRIMARY KEY (conversation, device)
  ) STRICT;
  CREATE INDEX asks_by_device ON asks (device);
  CREATE INDEX asks_by_age ON asks (time_ms);

  CREATE TABLE key_packages (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES devices (id),
    last_resort INTEGER NOT NULL,
    put_ms      INTEGER NOT NULL,
    body        BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX key_packages_by_device ON key_packages (device, last_resort, id);
  CREATE INDEX key_packages_by_age ON key_packages (put_ms);
  CREATE TABLE taken_packages (
    id               INTEGER PRIMARY KEY,
    taker            INTEGER NOT NULL REFERENCES users (id),
    owner            INTEGER NOT NULL REFERENCES users (id),
    device           INTEGER NOT NULL REFERENCES devices (id),
    conversation_key BLOB    NOT NULL,
    last_resort      INTEGER NOT NULL,
    is_used          INTEGER NOT NULL,
    taken_ms         INTEGER NOT NULL,
    body             BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX taken_packages_by_device ON taken_packages (device, taken_ms);
  CREATE INDEX taken_packages_by_taker ON taken_packages (taker, owner, taken_ms);
  CREATE INDEX taken_packages_by_age ON taken_packages (taken_ms);

  CREATE TRIGGER devices_ended AFTER UPDATE OF ended ON devices WHEN NEW.ended <> 0
  BEGIN
    DELETE FROM key_packages WHERE device = NEW.id;
    DELETE FROM taken_packages WHERE device = NEW.id;
    DELETE FROM welcomes WHERE device = NEW.id;
    DELETE FROM asks WHERE device = NEW.id;
  END;
  `,
  // Devices that wait to be linked; what is here is of no use after minutes.
  `
  CREATE TABLE links (
    place      BLOB    PRIMARY KEY,
    offer      BLOB    NOT NULL,
    user       TEXT,
    device     BLOB,
    sealed     BLOB,
    expires_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  // Archives of history: sealed by their users' homes, a stream for each home. One that was dropped has no user.
  `
  CREATE TABLE archives (
    id            INTEGER PRIMARY KEY,
    user          INTEGER UNIQUE REFERENCES users (id) ON DELETE SET NULL,
    key_id        BLOB    NOT NULL,
    sealed_key    BLOB    NOT NULL,
    recovery_hash BLOB    NOT NULL,
    made_ms       INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX archives_dropped ON archives (id) WHERE user IS NULL;
  CREATE TABLE archive_streams (
    archive   INTEGER NOT NULL REFERENCES archives (id) ON DELETE CASCADE,
    stream    BLOB    NOT NULL,
    chunks    INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    head      BLOB    NOT NULL,
    newest_ms INTEGER NOT NULL,
    PRIMARY KEY (archive, stream)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE archive_chunks (
    archive INTEGER NOT NULL REFERENCES archives (id) ON DELETE CASCADE,
    stream  BLOB    NOT NULL,
    number  INTEGER NOT NULL,
    body    BLOB    NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX archive_chunks_by_number ON archive_chunks (archive, stream, number);
  `,
  // History for new devices, sealed for each: a part that was taken has no body. Numbers are never given out twice.
  `
  CREATE TABLE history_parts (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    device           INTEGER NOT NULL REFERENCES devices (id),
    giver            INTEGER NOT NULL REFERENCES devices (id),
    conversation_key BLOB    NOT NULL,
    bundle           BLOB    NOT NULL,
    part             INTEGER NOT NULL,
    parts            INTEGER NOT NULL,
    stored_ms        INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    body             BLOB,
    UNIQUE (device, giver, bundle, part)
  ) STRICT;
  CREATE INDEX history_parts_by_giver ON history_parts (giver);
  CREATE INDEX history_parts_by_age ON history_parts (stored_ms);
  CREATE TRIGGER devices_ended_history AFTER UPDATE OF ended ON devices WHEN NEW.ended <> 0
  BEGIN
    DELETE FROM history_parts WHERE device = NEW.id OR giver = NEW.id;
  END;
  `,
];
